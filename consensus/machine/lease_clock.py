"""The clocks' part in reads: until when leases and grants run. Pure; see
`consensus.core.engine.reads`.

A lease is counted from when its question left, by the holder's clocks, of which the one that
counted more is believed, and shortened by what two clocks may differ in rate. Its grantors count
from when the question came, which is later, in full, and until each of their clocks has.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from consensus.core.engine.group import Group
from consensus.core.numbers import RANK_MASK
from consensus.core.types import Handle, Timer
from consensus.machine.instant import Instant, Span

CLOCK_RATE_BOUND = 0.01
"""How much faster one clock that nobody slews may run than another. Quartz stays below 0.1 %; what
is beyond this bound could make a read old by as much as the excess."""
SLEW_BOUND = 0.1
"""How much faster a clock may run that is being set right: what a grant is lengthened by where
there is no other, in a durable group that began elsewhere."""
GRANT_LOOK_S = 0.001
"""How soon a grant is looked at again, at least, whose timer fired before all clocks counted it."""

_OVER = Span(Instant(0.0, 0.0, 0.0), -inf)


class ReadReady(NamedTuple):
    """A read is done if `span` runs by clocks that are looked at now (None: it is done)."""

    handle: Handle
    span: Span | None
    asks: bool = False
    """The lease is being asked for again: that is to be carried out."""


class LeaseClock:
    """When the questions of one group left and came, and until when what they led to runs."""

    __slots__ = ("_asked", "_asked_at", "_begun", "_grants", "_number", "_renewed", "span")

    def __init__(self) -> None:
        self._asked = 0
        self._asked_at = _OVER.since
        self._number = 0
        self._renewed = True
        """The lease has been asked for again, or there is none."""
        self._begun: dict[Handle, Span] = {}
        self._grants: dict[int, tuple[Timer, Span]] = {}
        """By rank of the holder, the last grant's timer, and how long that runs."""
        self.span = _OVER
        """The lease of the last answered question."""

    # -- the holder --------------------------------------------------------------------------

    def asked(self, number: int, now: Instant) -> None:
        """The question leaves no earlier than now."""
        self._asked = number
        self._asked_at = now

    def granted(self, number: int, lease_s: float) -> None:
        """A quorum answered it."""
        if number == self._asked:
            self._number = number
            self.span = Span(self._asked_at, lease_s * (1 - CLOCK_RATE_BOUND))
            self._renewed = False

    def span_of(self, number: int) -> Span:
        """How long the lease of this question runs, or ran."""
        return self.span if number == self._number else _OVER

    def leased(self, number: int, now: Instant | None) -> Span | None:
        """The lease of this question, if it runs. `now`: None where the clocks are missing, so
        that there are no leases."""
        if not number or now is None:
            return None
        span = self.span_of(number)
        return span if span.runs(now) else None

    def begin(self, group: Group, now: Instant | None) -> ReadReady | Handle:
        """Begin a read: what is done at once, or the handle of what takes a while.

        Raises `GroupClosed`, `GroupSuspended`, `GroupBusy`.
        """
        span = self.leased(group.lease, now)
        asks = span is not None and now is not None and self._renew(group, span, now)
        if (span is not None or group.always_leased) and group.caught_up:
            return ReadReady(0, span, asks)
        handle = group.read(span is not None)
        if span is not None:
            self._begun[handle] = span
        return handle

    def _renew(self, group: Group, span: Span, now: Instant) -> bool:
        """In the second half of a lease, have it asked for again; whether it was just now."""
        if self._renewed or now.most_s(span.since) < span.length_s / 2:
            return False
        group.renew_lease()
        self._renewed = True  # Once is enough: the lane loses nothing.
        return True

    def ready(self, handle: Handle, number: int) -> ReadReady:
        """The engine says that the read is done, if the lease of that question runs."""
        span = self._begun.pop(handle, None)
        if not number:
            return ReadReady(handle, None)
        return ReadReady(handle, span or self.span_of(number))

    def cancel(self, handle: Handle) -> None:
        """Nobody waits for the read any more."""
        self._begun.pop(handle, None)

    # -- the grantor -------------------------------------------------------------------------

    def grants(self, timer: Timer, length_s: float, now: Instant) -> None:
        """The timer of a grant is armed, no earlier than its question came."""
        self._grants[timer.key & RANK_MASK] = timer, Span(now, length_s)

    def left_s(self, timer: Timer, now: Instant) -> float:
        """The timer of a grant fires: how long to wait on, 0 if the grant is over. Of a grant that
        another one has replaced nobody asks any more."""
        last, span = self._grants.get(timer.key & RANK_MASK, (timer, _OVER))
        left_s = span.left_s(now) if last == timer else 0.0
        return max(left_s, GRANT_LOOK_S) if left_s > 0 else 0.0
