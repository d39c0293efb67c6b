"""How much work the responder asks for (HR28), and who goes first (HR27).

P3s whose puzzle is solved wait in a bounded queue: the greatest effort first, but those from ranges
with a high load behind all others. The effort asked for follows what waits: when the queue had to
be trimmed it becomes what would have made the efforts seen fit what was handled; when the queue was
nearly empty it falls by a third.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from transport.core.constants import EFFORT_INTERVAL_S, EFFORT_MAX, WAITING_LOW_FRACTION

_T = TypeVar("_T")


class TokenBucket:
    """An allowance that refills at a rate and never exceeds a burst."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate_per_s: float, burst: int, now: float) -> None:
        self._rate = rate_per_s
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Use one token if there is one."""
        self._refill(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def next_at(self) -> float:
        """When the next token will be there; in the past if there is one."""
        # A hair late rather than early: an early timer would fire for nothing.
        return self._at + max(0.0, 1.0 - self._tokens) / self._rate + 1e-6

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now


class WaitingRoom(Generic[_T]):
    """At most `size_max` waiting: the least load first, then the greatest effort, then the
    longest wait."""

    __slots__ = ("_arrivals", "_heap", "peak", "size_max")

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self.peak = 0
        self._arrivals = 0
        self._heap: list[tuple[int, int, int, _T]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, effort: int, item: _T, load: int = 0) -> list[_T]:
        """Add one; returns those that had to go: the lesser half, if it was full."""
        self._arrivals += 1
        heapq.heappush(self._heap, (load, -effort, self._arrivals, item))
        self.peak = max(self.peak, len(self._heap))
        if len(self._heap) <= self.size_max:
            return []
        self._heap.sort()
        keep = max(1, self.size_max // 2)
        trimmed = [entry[3] for entry in self._heap[keep:]]
        del self._heap[keep:]
        return trimmed

    def pop(self) -> _T:
        return heapq.heappop(self._heap)[3]


class EffortController:
    """The effort asked for, once an interval following what the last one saw."""

    __slots__ = ("_effort_min", "_handled", "_interval_end", "_seen", "_strained", "effort")

    def __init__(self, effort_min: int, now: float) -> None:
        self._effort_min = min(effort_min, EFFORT_MAX)
        self.effort = self._effort_min
        self._seen = 0
        self._handled = 0
        self._strained = False
        self._interval_end = now + EFFORT_INTERVAL_S

    def saw(self, effort: int) -> None:
        """A P3 with a solution of this effort came."""
        self._seen += effort

    def handled(self) -> None:
        """A P3 got its Diffie-Hellman."""
        self._handled += 1

    def strained(self) -> None:
        """The queue was trimmed, or a table is full."""
        self._strained = True

    @property
    def interval_end(self) -> float:
        return self._interval_end

    @property
    def is_idle(self) -> bool:
        """Nothing to follow: the effort is at its least and nobody strains it."""
        return self.effort == self._effort_min and not self._strained

    def update(self, now: float, peak: int, size_max: int) -> bool:
        """End the interval if it is over; `peak` is the most that waited in it.

        An interval that ends late counts once: the load of a stall is not known.
        """
        if now < self._interval_end:
            return False
        if self._strained:
            needed = self._seen // max(1, self._handled)
            self.effort = min(EFFORT_MAX, max(self.effort + 1, needed))
        elif peak <= size_max * WAITING_LOW_FRACTION:
            self.effort = max(self._effort_min, self.effort * 2 // 3)
        self._seen = 0
        self._handled = 0
        self._strained = False
        self._interval_end = now + EFFORT_INTERVAL_S
        return True
