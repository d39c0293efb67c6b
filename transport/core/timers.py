"""One heap of wake-ups for all peers.

A wake-up that has become too early is not removed: whoever is woken looks at its own deadlines
and asks again. Each sleeper keeps the times it already has in the heap, which only ever descend,
so that asking for a later time costs nothing and no sleeper fills the heap.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

__all__ = ["Sleeper", "Timers"]


class Sleeper(Protocol):
    """What can be woken."""

    wakeups: list[float]
    """Its times in the heap, descending; empty at first, and `Timers`' alone."""


S = TypeVar("S", bound=Sleeper)


class Timers(Generic[S]):
    """Wake-ups in seconds of the caller's clock; O(log n) to add and to take."""

    __slots__ = ("_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, S]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    def wake(self, sleeper: S, at: float) -> None:
        """Wake `sleeper` at `at` or before."""
        wakeups = sleeper.wakeups
        if wakeups and wakeups[-1] <= at:
            return
        wakeups.append(at)
        self._serial += 1
        heappush(self._heap, (at, self._serial, sleeper))

    def next_timeout(self) -> float | None:
        """When the next wake-up is."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> S | None:
        """Take the next sleeper whose time has come."""
        heap = self._heap
        if not heap or heap[0][0] > now:
            return None
        sleeper = heappop(heap)[2]
        sleeper.wakeups.pop()
        return sleeper
