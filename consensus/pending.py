"""Callers who wait for the outcomes of their own proposals."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from consensus.core.types import Outcome
from consensus.decision import Decision, OutcomeUnknown
from transport.loop import Waiter

K = TypeVar("K", bound=Hashable)


class _Pending:
    __slots__ = ("decision", "error", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.decision: Decision | None = None
        self.error: Exception | None = None


class PendingOutcomes(Generic[K]):
    """By ticket, or whatever else tells proposals apart."""

    def __init__(self, new_waiter: Callable[[], Waiter]) -> None:
        self._new_waiter = new_waiter
        self._waiting: dict[K, _Pending] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, key: K) -> None:
        """A proposal was made whose outcome `wait` will be called for, before anything else."""
        self._waiting[key] = _Pending(self._new_waiter())

    async def wait(self, key: K) -> Decision:
        """The outcome that was expected. Raises what it was failed with.

        A caller that is cancelled leaves the proposal standing, and nothing behind.
        """
        pending = self._waiting[key]
        try:
            await pending.waiter.wait()
        finally:
            del self._waiting[key]
        if pending.error is not None:
            raise pending.error
        assert pending.decision is not None  # It is set before the waiter is.
        return pending.decision

    def wants(self, key: K) -> bool:
        """Whether somebody waits for it."""
        return key in self._waiting

    def settle(self, key: K, decision: Decision) -> None:
        """The outcome is known, or it is known that it never will be."""
        pending = self._waiting.get(key)
        if pending is None:
            return
        if decision.outcome is Outcome.UNKNOWN:
            pending.error = OutcomeUnknown("cut off before the outcome was known")
        else:
            pending.decision = decision
        pending.waiter.set()

    def fail(self, key: K, error: Exception) -> None:
        """Whoever waits for it gets this error."""
        pending = self._waiting.get(key)
        if pending is not None and pending.decision is None and pending.error is None:
            pending.error = error
            pending.waiter.set()

    def fail_all(self, error: Callable[[], Exception], of: Callable[[K], bool]) -> None:
        """Whoever waits for one of these gets an error of his own."""
        for key in list(self._waiting):
            if of(key):
                self.fail(key, error())
