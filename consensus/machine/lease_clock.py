"""The clock's part in reads: until when a lease runs. Pure; see `consensus.core.engine.reads`.

A lease is counted from when its question left, by the holder's clock, and shortened by what two
clocks may differ in rate. Its grantors count from when the question came, which is later, and in
full.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from consensus.core.engine.group import Group
from consensus.core.types import Handle

CLOCK_RATE_BOUND = 0.01
"""How much faster one clock may run than another. Quartz and the slewing of NTP stay below 0.1 %;
what is beyond this bound could make a read old by as much as the excess."""


class ReadReady(NamedTuple):
    """A read is done if the clock, looked at now, is before `until` (None: it is done)."""

    handle: Handle
    until: float | None
    asks: bool = False
    """The lease is being asked for again: that is to be carried out."""


class LeaseClock:
    """When the questions of one group left, and until when their leases run."""

    __slots__ = ("_asked", "_asked_at", "_begun", "_number", "_renew_at", "until")

    def __init__(self) -> None:
        self._asked = 0
        self._asked_at = 0.0
        self._number = 0
        self._renew_at = inf
        self._begun: dict[Handle, float] = {}
        self.until = -inf
        """When the lease of the last answered question ends, in seconds of the caller's clock."""

    def asked(self, number: int, now: float) -> None:
        """The question leaves no earlier than now."""
        self._asked = number
        self._asked_at = now

    def granted(self, number: int, lease_s: float) -> None:
        """A quorum answered it."""
        if number == self._asked:
            self._number = number
            self.until = self._asked_at + lease_s * (1 - CLOCK_RATE_BOUND)
            self._renew_at = self._asked_at + lease_s / 2

    def until_of(self, number: int) -> float:
        """When the lease of this question ends, or ended."""
        return self.until if number == self._number else -inf

    def begin(self, group: Group, now: float) -> ReadReady | Handle:
        """Begin a read: what is done at once, or the handle of what takes a while.

        Raises `GroupClosed`, `GroupSuspended`, `GroupBusy`.
        """
        number = group.lease
        until = self.until_of(number) if number else -inf
        leased = now < until
        asks = leased and now >= self._renew_at
        if asks:
            group.renew_lease()
            self._renew_at = until  # Once is enough: the lane loses nothing.
        if (leased or group.always_leased) and group.caught_up:
            return ReadReady(0, until if leased else None, asks)
        handle = group.read(leased)
        if leased:
            self._begun[handle] = until
        return handle

    def ready(self, handle: Handle, number: int) -> ReadReady:
        """The engine says that the read is done, if the lease of that question runs."""
        until = self._begun.pop(handle, None)
        if not number:
            return ReadReady(handle, None)
        return ReadReady(handle, self.until_of(number) if until is None else until)

    def cancel(self, handle: Handle) -> None:
        """Nobody waits for the read any more."""
        self._begun.pop(handle, None)
