"""The command, where nobody is taken for gone because a busy machine does not run it for a while.

    python -m tests.support.patient demo --members 3 ...

It is the user's but for two numbers: how long a member may be silent, and how long a step of the
demonstration may take. The members' processes are started by this module too.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from consensus import config
from quorate.cli import main
from quorate.cli.demo import member, story
from tests.support.waiting import PATIENCE_S
from transport.core.config import TransportConfig
from transport.endpoint import config_here

SUSPICION_S = 3.0
_open_process = anyio.open_process
MEMBER = "--member"


def patient_here() -> TransportConfig:
    """What nodes are tuned to that are not told."""
    return replace(config_here(), suspicion_s=SUSPICION_S)


async def start_patient(command: list[str], **options: Any) -> Any:
    """A member's process: the same arguments, by this module."""
    _, _, _, *arguments = command
    own = [sys.executable, "-m", "tests.support.patient", MEMBER, *arguments]
    return await _open_process(own, cwd=Path(__file__).parents[2], **options)


if __name__ == "__main__":
    patient = (
        (config, "config_here", patient_here),
        (anyio, "open_process", start_patient),
        (story, "STEP_TIMEOUT_S", PATIENCE_S),
    )
    for module, name, value in patient:
        setattr(module, name, value)
    if sys.argv[1] == MEMBER:
        sys.exit(member.main(sys.argv[2:]))
    sys.exit(main.main(sys.argv[1:]))
