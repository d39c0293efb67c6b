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
_FAR_S = 4_096.0
"""What is later is woken by then, and asks again."""


class Sleeper(Protocol):
    """What can be woken. The two fields are `Timers`' alone to change."""

    wake_at: float
    """The earliest wake-up that stands; infinite: none."""
    wakeups: tuple[float, ...]
    """The later ones that stand, descending: a later wish finds one that serves it."""


S = TypeVar("S", bound=Sleeper)


class Timers(Generic[S]):
    """Wake-ups in seconds of the caller's clock."""

    __slots__ = ("_heap", "_ripe", "_ripe_at", "_serial", "_slots", "_wheel")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, S]] = []
        self._serial = 0
        self._wheel: dict[float, list[S]] = {}  # by when the slot begins
        self._slots: list[float] = []  # those of the wheel, a heap
        self._ripe: list[S] = []  # of the slot that has begun
        self._ripe_at = 0.0

    def __len__(self) -> int:
        return len(self._heap) + len(self._ripe) + sum(map(len, self._wheel.values()))

    def wake(self, sleeper: S, at: float, now: float) -> None:
        """Wake `sleeper` at `at` or before."""
        if sleeper.wake_at <= at:
            return
        if at - now < _NEAR_S:
            self._serial += 1
            heappush(self._heap, (at, self._serial, sleeper))
        else:
            at = int(min(at, now + _FAR_S) * _SLOTS_PER_S) / _SLOTS_PER_S
            if sleeper.wake_at <= at:
                return
            sleepers = self._wheel.get(at)
            if sleepers is None:
                self._wheel[at] = [sleeper]
                heappush(self._slots, at)
            else:
                sleepers.append(sleeper)
        if sleeper.wake_at != inf:
            sleeper.wakeups = (*sleeper.wakeups, sleeper.wake_at)
        sleeper.wake_at = at

    def next_timeout(self) -> float | None:
        """When the next wake-up is."""
        if self._ripe:
            return self._ripe_at
        heap = self._heap
        slots = self._slots
        if not heap:
            return slots[0] if slots else None
        at = heap[0][0]
        return slots[0] if slots and slots[0] < at else at

    def due(self, now: float) -> S | None:
        """Take the next sleeper whose time has come."""
        heap = self._heap
        if heap and heap[0][0] <= now:
            at, _, sleeper = heappop(heap)
            _woken(sleeper, at)
            return sleeper
        if not self._ripe:
            slots = self._slots
            if not slots or slots[0] > now:
                return None
            self._ripe_at = heappop(slots)
            self._ripe = self._wheel.pop(self._ripe_at)
        sleeper = self._ripe.pop()
        _woken(sleeper, self._ripe_at)
        return sleeper


def _woken(sleeper: Sleeper, at: float) -> None:
    wakeups = sleeper.wakeups
    if at != sleeper.wake_at:
        sleeper.wakeups = tuple(each for each in wakeups if each != at)
    elif wakeups:
        sleeper.wake_at = wakeups[-1]
        sleeper.wakeups = wakeups[:-1]
    else:
        sleeper.wake_at = inf
