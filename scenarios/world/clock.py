"""Virtual time: a heap of events, executed in order of time, then of scheduling."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

__all__ = ["Clock", "Handle", "TimeStandsStill"]

EVENTS_PER_INSTANT_MAX = 100_000
"""More events than this at one instant are a loop that never lets time pass."""


class TimeStandsStill(RuntimeError):
    """Something schedules itself again and again at one instant: a defect of what is simulated."""


class Handle:
    """One scheduled action, which can be cancelled."""

    __slots__ = ("action", "arguments", "time_s")

    def __init__(self, time_s: float, action: Callable[..., Any], arguments: tuple[Any, ...]):
        self.time_s = time_s
        self.action: Callable[..., Any] | None = action
        self.arguments = arguments

    def cancel(self) -> None:
        """The action will not run. Without effect once it has run."""
        self.action = None
        self.arguments = ()


class Clock:
    """Seconds of simulated time, starting at `now`. Nothing here reads a real clock."""

    __slots__ = ("_events_here", "_heap", "_sequence", "now")

    def __init__(self, now: float = 0.0):
        self.now = now
        self._heap: list[tuple[float, int, Handle]] = []
        self._sequence = 0
        self._events_here = 0

    def at(self, time_s: float, action: Callable[..., Any], *arguments: Any) -> Handle:
        """Runs `action(*arguments)` at `time_s`, or at once in order if that is already past."""
        handle = Handle(max(time_s, self.now), action, arguments)
        self._sequence += 1
        heapq.heappush(self._heap, (handle.time_s, self._sequence, handle))
        return handle

    def after(self, delay_s: float, action: Callable[..., Any], *arguments: Any) -> Handle:
        """Runs `action(*arguments)` in `delay_s` seconds."""
        return self.at(self.now + delay_s, action, *arguments)

    def next_time(self) -> float | None:
        """When the next event is due, or None if nothing is scheduled."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def step(self, until_s: float = float("inf")) -> bool:
        """Runs the next event if it is due by `until_s`; False if there was none.

        Raises TimeStandsStill after EVENTS_PER_INSTANT_MAX events without time passing.
        """
        heap = self._heap
        while heap and heap[0][0] <= until_s:
            time_s, _, handle = heapq.heappop(heap)
            action = handle.action
            if action is None:
                continue
            if time_s > self.now:
                self.now = time_s
                self._events_here = 0
            self._events_here += 1
            if self._events_here > EVENTS_PER_INSTANT_MAX:
                raise TimeStandsStill(f"{EVENTS_PER_INSTANT_MAX} events at {self.now} s: {action}")
            handle.action = None
            action(*handle.arguments)
            return True
        return False

    def advance(self, until_s: float) -> None:
        """Time passes to `until_s` without events; those due before must have run."""
        if until_s > self.now:
            self.now = until_s
            self._events_here = 0
