"""Clocks of another process, which stand for a while if they are said to."""

from __future__ import annotations

import os
import time
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
SLEPT = {time.CLOCK_MONOTONIC, time.CLOCK_MONOTONIC_RAW}
"""What does not count while a machine sleeps."""
SLEWED = {time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME}
"""What may run slower while it is set right."""
_CLOCKS, _SIZE = 16, 8


def shared_s() -> float:
    """A clock that all processes of this machine share, also those that are said to have slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Stood:
    """For how long the clocks of a process have stood: a file that its library looks into."""

    def __init__(self, path: Path) -> None:
        self._ns = 0
        self._path = path
        path.write_bytes(bytes(_CLOCKS * _SIZE))

    def environment(self, library: Path) -> dict[str, str]:
        """What the process has to be started with."""
        return {"LD_PRELOAD": str(library), "STOOD": str(self._path)}

    def sleep(self, seconds: float) -> None:
        """The machine has slept so long. The process must have been stopped for longer, or its
        clocks would go back."""
        self._ns += int(1e9 * seconds)
        file = os.open(self._path, os.O_WRONLY)
        for clock in SLEPT:
            os.pwrite(file, self._ns.to_bytes(_SIZE, "little"), clock * _SIZE)
        os.close(file)
