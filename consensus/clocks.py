"""The clocks of this machine that leases are counted by."""

from __future__ import annotations

import time

from consensus.machine.instant import Clocks, Instant

_NAMES = ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW")


def lease_clocks() -> Clocks | None:
    """Reads them; None where the system lacks one, as all but Linux do."""
    numbers: list[int | None] = [getattr(time, name, None) for name in _NAMES]
    boot, awake, raw = numbers
    if boot is None or awake is None or raw is None:
        return None
    read = time.clock_gettime

    def clocks() -> Instant:
        return Instant(read(boot), read(awake), read(raw))

    try:
        clocks()
    except OSError:
        return None
    return clocks
