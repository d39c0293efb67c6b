"""Shows that each patch of libutp is needed: builds without it and runs its test, which must fail.

    python -m tests.utp_native.without            every patch but the hooks the others need
    python -m tests.utp_native.without 04 17      these

One line a patch; the status is 1 if a test passes without its patch. A patch whose absence ends the
process counts as a failure too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from utp_native import build, patch

PATCHES = Path(build.__file__).parent / "patches"
TIMEOUT_S = 600


def fails_without(name: str, test: str) -> str | None:
    """What pytest says of the test without the patch; None if it passes."""
    variables = {"UTP_NATIVE_MODULE": str(build.build_variant(without=[name]))}
    if "test_bottleneck" in test:
        variables = {"UTP_BOTTLENECK_MODULE": str(build.build_bottleneck(without=[name]))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode == 0:
        return None
    errors = [line[2:].strip() for line in done.stdout.splitlines() if line.startswith("E ")]
    return errors[0] if errors else f"the process ended with {done.returncode}"


def main(names: Sequence[str]) -> int:
    """The command."""
    needless = 0
    for each in patch.load_all(PATCHES)[1:]:
        if names and not each.name.startswith(tuple(names)):
            continue
        said = fails_without(each.name, each.test)
        needless += said is None
        print(f"{each.name}: {said or 'ITS TEST PASSES WITHOUT IT'}", flush=True)
    return 1 if needless else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
