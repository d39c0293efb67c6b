"""Callers who wait until what they read is no older than their question."""

from __future__ import annotations

from collections.abc import Callable

from consensus.core.types import Ticket
from transport.loop import Waiter


class _Pending:
    __slots__ = ("error", "until", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.until: float | None = None
        self.error: Exception | None = None


class Reading:
    """The reads of one group, by ticket."""

    def __init__(self, new_waiter: Callable[[], Waiter]) -> None:
        self._new_waiter = new_waiter
        self._waiting: dict[Ticket, _Pending] = {}

    def expect(self, ticket: Ticket) -> None:
        """A read has begun for which `wait` will be called, before anything else."""
        self._waiting[ticket] = _Pending(self._new_waiter())

    async def wait(self, ticket: Ticket) -> float | None:
        """Until when the read is good, or None: for good. Raises what it was failed with."""
        pending = self._waiting[ticket]
        try:
            await pending.waiter.wait()
        finally:
            del self._waiting[ticket]
        if pending.error is not None:
            raise pending.error
        return pending.until

    def ready(self, ticket: Ticket, until: float | None) -> None:
        """The engine and the lease say that it is done."""
        pending = self._waiting.get(ticket)
        if pending is not None:
            pending.until = until
            pending.waiter.set()

    def fail(self, error: Callable[[], Exception]) -> None:
        """All of them get an error of their own."""
        for pending in self._waiting.values():
            pending.error = error()
            pending.waiter.set()
