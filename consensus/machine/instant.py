"""Moments by the clocks that a lease is counted by, and how much time is between two of them.

No clock of a machine counts right whatever happens: one that counts sleep is slewed while it is set
right (by chrony up to 83,333 ppm), one that is not slewed stands while the machine sleeps. So time
is counted twice, and whoever asks says on which side it may err. Pure: see `consensus.clocks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Instant(NamedTuple):
    """What this machine's clocks said at one moment, in seconds; only differences mean anything."""

    boot_s: float
    """CLOCK_BOOTTIME: slewed, and counts sleep."""
    awake_s: float
    """CLOCK_MONOTONIC: the same without sleep, so that the two tell how long the machine slept."""
    raw_s: float
    """CLOCK_MONOTONIC_RAW: not slewed, and does not count sleep."""

    def most_s(self, since: Instant) -> float:
        """What has passed, or more: what a holder counts (D55)."""
        boot_s = self.boot_s - since.boot_s
        slept_s = max(boot_s - (self.awake_s - since.awake_s), 0.0)
        return max(boot_s, self.raw_s - since.raw_s + slept_s)

    def least_s(self, since: Instant) -> float:
        """What has passed, or less: what a grantor counts."""
        return min(self.boot_s - since.boot_s, self.raw_s - since.raw_s)


Clocks = Callable[[], Instant]
"""What this machine's clocks say now."""


class Span(NamedTuple):
    """So many seconds from an instant on."""

    since: Instant
    length_s: float

    def runs(self, now: Instant) -> bool:
        """It is certainly not over."""
        return now.most_s(self.since) < self.length_s

    def left_s(self, now: Instant) -> float:
        """How long it may still run; 0 or less once it is certainly over."""
        return self.length_s - now.least_s(self.since)
