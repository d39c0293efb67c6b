"""Named timers. Most are armed for half a minute and disarmed within milliseconds, so arming and
disarming those costs one dictionary's work each: only what is due soon is kept in order.
"""

import heapq
from collections.abc import Callable, Hashable
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
SLACK = 64
"""Entries that may be void before the heap is made anew."""
SOON_S = 1.0
"""Timers due within this are in the heap, so the others are gone through at most that often."""


class Timers(Generic[T]):
    """When what is wanted. Times are seconds on the caller's clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._armed: dict[T, int] = {}
        """Those in the heap, with the serial number of the entry that counts."""
        self._later: dict[T, float] = {}
        """The others, and when they are due."""
        self._look_at: float | None = None
        """Not after the first of those."""
        self._serial = count()

    def __len__(self) -> int:
        return len(self._armed) + len(self._later)

    def arm(self, timer: T, now: float, delay_s: float) -> None:
        """Due `delay_s` after `now`; replaces the time it was armed for before."""
        at = now + delay_s
        if delay_s <= SOON_S:
            if self._later:
                self._later.pop(timer, None)
            self._arm_soon(timer, at)
            return
        if self._armed:
            self._armed.pop(timer, None)
        self._later[timer] = at
        if self._look_at is None or at < self._look_at:
            self._look_at = at

    def _arm_soon(self, timer: T, at: float) -> None:
        serial = self._armed[timer] = next(self._serial)
        heapq.heappush(self._heap, (at, serial, timer))
        if len(self._heap) > 2 * len(self._armed) + SLACK:
            armed = self._armed
            self._heap = [entry for entry in self._heap if armed.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def disarm(self, timer: T) -> None:
        """Not wanted any more; harmless when it is not armed."""
        if self._later.pop(timer, None) is None:
            self._armed.pop(timer, None)

    def disarm_all(self, those: Callable[[T], bool]) -> None:
        """None of `those` is wanted any more."""
        for timer in [timer for timer in (*self._armed, *self._later) if those(timer)]:
            self.disarm(timer)

    def due(self, now: float) -> T | None:
        """The next timer that is due, disarmed; None when there is none."""
        if self._look_at is not None and self._look_at <= now:
            self._sort(now)
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, serial, timer = heapq.heappop(heap)
            if self._armed.get(timer) == serial:
                del self._armed[timer]
                return timer
        return None

    def _sort(self, now: float) -> None:
        """Move to the heap what has become due soon."""
        later = self._later
        soon = now + SOON_S
        for timer in [timer for timer, at in later.items() if at <= soon]:
            self._arm_soon(timer, later.pop(timer))
        self._look_at = min(later.values(), default=None)

    def next_timeout(self) -> float | None:
        """When `due` is to be asked, at the latest when it has something; None when nothing is
        armed."""
        if not self._later:
            self._look_at = None
        heap = self._heap
        while heap and self._armed.get(heap[0][2]) != heap[0][1]:
            heapq.heappop(heap)
        if not heap:
            return self._look_at
        at = heap[0][0]
        return at if self._look_at is None or at < self._look_at else self._look_at
