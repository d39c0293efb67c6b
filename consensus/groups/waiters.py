"""Callers who wait for what comes of something they asked for: an outcome, a read."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from transport.event_loop import Waiter

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class _Waiting(Generic[R]):
    __slots__ = ("error", "result", "settled", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.settled = False
        self.result: R
        """Set before the waiter is, unless there is an error."""
        self.error: Exception | None = None


class Waiters(Generic[K, R]):
    """By handle, or whatever else tells them apart."""

    def __init__(self, new_waiter: Callable[[], Waiter]) -> None:
        self._new_waiter = new_waiter
        self._waiting: dict[K, _Waiting[R]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, key: K) -> None:
        """Something was asked for whose result `wait` will be called for, before anything else."""
        self._waiting[key] = _Waiting(self._new_waiter())

    async def wait(self, key: K) -> R:
        """The result that was expected. Raises what it was failed with.

        A caller that is cancelled leaves what it asked for standing, and nothing behind here.
        """
        waiting = self._waiting[key]
        try:
            await waiting.waiter.wait()
        finally:
            del self._waiting[key]
        if waiting.error is not None:
            raise waiting.error
        return waiting.result

    def settle(self, key: K, result: R) -> None:
        """The result is known. The first one counts."""
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.settled:
            waiting.settled = True
            waiting.result = result
            waiting.waiter.set()

    def fail(self, key: K, error: Exception) -> None:
        """Whoever waits for it gets this error, unless the result is known."""
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.settled:
            waiting.settled = True
            waiting.error = error
            waiting.waiter.set()

    def fail_all(
        self, error: Callable[[], Exception], of: Callable[[K], bool] = lambda _: True
    ) -> None:
        """Whoever waits for one of these gets an error of his own."""
        for key in list(self._waiting):
            if of(key):
                self.fail(key, error())
