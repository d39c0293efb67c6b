"""Wake-ups of all peers: a heap for what is near, a wheel for what is far.

A wake-up that has become too early is not removed: whoever is woken looks at its own deadlines
and asks again. So asking for a later time costs nothing, and a peer that is heard all the time
touches no timer. What is due within a second stands in a heap, at its exact time; what is later
stands in the wheel's slot of a quarter second in which it falls and is woken when that begins, a
little early. A hundred thousand idle peers are in the wheel: adding and taking one is O(1) there.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import Generic, Protocol, TypeVar

__all__ = ["Sleeper", "Timers"]

_NEAR_S = 1.0
_SLOTS_PER_S = 4
_SLOT_S = 1 / _SLOTS_PER_S  # a power of two: a slot's beginning is exact
_SLOTS_MAX = 1_024
"""What is later than the wheel's 256 s is woken at its end, and asks again."""


class Sleeper(Protocol):
    """What can be woken. The three fields are `Timers`' alone to change."""

    wake_at: float
    """The earliest wake-up that stands; infinite: none."""
    wakeups: tuple[float, ...]
    """Its times in the heap, descending."""
    slot: int
    """Its earliest slot in the wheel; 0: none."""


S = TypeVar("S", bound=Sleeper)


class Timers(Generic[S]):
    """Wake-ups in seconds of the caller's clock, which begins after 0."""

    __slots__ = ("_due", "_heap", "_serial", "_slots", "_wheel")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, S]] = []
        self._serial = 0
        self._wheel: dict[int, list[S]] = {}
        self._slots: list[int] = []  # those in the wheel that hold anything, a heap
        self._due: list[S] = []  # of a slot that has begun

    def __len__(self) -> int:
        return len(self._heap) + len(self._due) + sum(map(len, self._wheel.values()))

    def wake(self, sleeper: S, at: float, now: float) -> None:
        """Wake `sleeper` at `at` or before."""
        if sleeper.wake_at <= at:
            return
        if at - now < _NEAR_S:
            sleeper.wake_at = at
            sleeper.wakeups = (*sleeper.wakeups, at)
            self._serial += 1
            heappush(self._heap, (at, self._serial, sleeper))
            return
        slot = min(int(at * _SLOTS_PER_S), int(now * _SLOTS_PER_S) + _SLOTS_MAX)
        sleeper.wake_at = slot * _SLOT_S
        sleeper.slot = slot
        sleepers = self._wheel.get(slot)
        if sleepers is None:
            sleepers = self._wheel[slot] = []
            heappush(self._slots, slot)
        sleepers.append(sleeper)

    def next_timeout(self) -> float | None:
        """When the next wake-up is."""
        if self._due:
            return 0.0
        at = self._heap[0][0] if self._heap else inf
        if self._slots:
            at = min(at, self._slots[0] * _SLOT_S)
        return None if at == inf else at

    def due(self, now: float) -> S | None:
        """Take the next sleeper whose time has come."""
        heap = self._heap
        if heap and heap[0][0] <= now:
            sleeper = heappop(heap)[2]
            sleeper.wakeups = sleeper.wakeups[:-1]
            self._settle(sleeper)
            return sleeper
        while True:
            while self._due:
                sleeper = self._due.pop()
                if sleeper.slot and sleeper.slot * _SLOT_S <= now:
                    sleeper.slot = 0
                    self._settle(sleeper)
                    return sleeper
            if not self._slots or self._slots[0] * _SLOT_S > now:
                return None
            self._due = self._wheel.pop(heappop(self._slots))

    def _settle(self, sleeper: S) -> None:
        near = sleeper.wakeups[-1] if sleeper.wakeups else inf
        sleeper.wake_at = min(near, sleeper.slot * _SLOT_S) if sleeper.slot else near
