"""Named timers in one heap, which is kept about as small as what is armed."""

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
SLACK = 64
"""Entries that may be void before the heap is made anew."""


class Timers(Generic[T]):
    """When what is wanted. Times are seconds on the caller's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._armed: dict[T, int] = {}
        self._serial = count()

    def __len__(self) -> int:
        return len(self._armed)

    def arm(self, timer: T, at: float) -> None:
        """Due at `at`; replaces the time it was armed for before."""
        serial = self._armed[timer] = next(self._serial)
        heapq.heappush(self._heap, (at, serial, timer))
        # Most timers are disarmed long before they are due: without this the heap would hold
        # every one of the last half minute.
        if len(self._heap) > 2 * len(self._armed) + SLACK:
            armed = self._armed
            self._heap = [entry for entry in self._heap if armed.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def disarm(self, timer: T) -> None:
        """Not wanted any more; harmless when it is not armed."""
        self._armed.pop(timer, None)

    def due(self, now: float) -> T | None:
        """The next timer that is due, disarmed; None when there is none."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, serial, timer = heapq.heappop(heap)
            if self._armed.get(timer) == serial:
                del self._armed[timer]
                return timer
        return None

    def next_timeout(self) -> float | None:
        """When `due` has something; None when nothing is armed."""
        heap = self._heap
        while heap and self._armed.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None
