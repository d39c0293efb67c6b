"""A disk with room for so many steps, for a process that runs with the library of `room.c`."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from tests.support.preload import ROOT

SOURCE = Path(__file__).with_suffix(".c")
KILLED = 7
"""What a process that was killed returns."""


def run(library: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module with the library preloaded."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "LD_PRELOAD": str(library)},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


def room_for(steps: int, *, killed: bool = False) -> None:
    """From here on there is room for so many steps; -1: without end."""
    ctypes.CDLL(None).room_for(ctypes.c_long(steps), ctypes.c_int(killed))


def room_hit() -> bool:
    """Some step found none since `room_for`."""
    return bool(ctypes.CDLL(None).room_hit())
