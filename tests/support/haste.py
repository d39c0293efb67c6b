"""Endpoints on real sockets whose time a test moves on, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable

import anyio.lowlevel
import pytest

from transport import event_loop
from transport.event_loop import Loop, Waiter

STEP_S = 0.04
"""Less than what a machine takes for having been stopped itself (`quick_probe_s`)."""


class HastenedLoop:
    """The running event loop, by a clock that is ahead of it."""

    def __init__(self, real: Loop, haste: Haste) -> None:
        self._real = real
        self._haste = haste
        self._due: tuple[float, Callable[[], None]] | None = None
        self.cheap_turns = real.cheap_turns
        self.call_soon = real.call_soon
        self.waiter: Callable[[], Waiter] = real.waiter
        self.run = real.run

    def time(self) -> float:
        """Seconds, on the clock that is ahead."""
        return self._real.time() + self._haste.ahead_s

    def call_at(self, when: float | None, callback: Callable[[], None]) -> None:
        """As of a loop."""
        self._due = None if when is None else (when, callback)
        self._real.call_at(None if when is None else when - self._haste.ahead_s, self._call)

    def _call(self) -> None:
        if self._due is not None:
            (_, callback), self._due = self._due, None
            callback()

    def rearm(self) -> None:
        """The clock is further ahead."""
        if self._due is not None:
            self.call_at(*self._due)


class Haste:
    """Of all endpoints that are made while it is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead_s = 0.0
        self._loops: list[HastenedLoop] = []
        current = event_loop.current

        def hastened() -> HastenedLoop:
            self._loops.append(HastenedLoop(current(), self))
            return self._loops[-1]

        monkeypatch.setattr("transport.endpoint.event_loop.current", hastened)

    async def pass_until(self, true: Callable[[], object]) -> None:
        """Let time pass, in small steps in which everybody does what is due, until it is true."""
        while not true():
            self.ahead_s += STEP_S
            for each in self._loops:
                each.rearm()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()

    async def pass_by(self, seconds: float) -> None:
        """Let so much time pass."""
        end_s = self.ahead_s + seconds
        await self.pass_until(lambda: self.ahead_s >= end_s)


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> Haste:
    """For tests with endpoints."""
    return Haste(monkeypatch)
