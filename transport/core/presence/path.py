"""Where a peer is reached, and how that changes: docs/protocol/presence.md, section 4.

Another address is believed only when it has echoed a sealed challenge (PR6). Until then it gets at
most three times the bytes that came from it. The address before is asked as well: if it answers, it
wins (PR7), because then the datagram from elsewhere was a copy somebody forwarded.
"""

from __future__ import annotations

from transport.core.constants import AMPLIFICATION_MAX
from transport.core.types import Address, RandomBytes

__all__ = ["CHALLENGES_MAX", "Path"]

CHALLENGES_MAX = 4
"""Challenges to one candidate, and to the address before it."""


def _token(random: RandomBytes) -> int:
    return int.from_bytes(random(8), "big")


class Path:
    """The address of one presence and at most one that would like to take its place."""

    __slots__ = (
        "_hold_s",
        "_old_token",
        "_previous",
        "_random",
        "_rejected",
        "_rejected_until",
        "_retry_s",
        "_token",
        "address",
        "candidate",
        "challenges",
        "next_at",
        "received",
        "sent",
        "unsettled",
        "use_candidate",
    )

    def __init__(self, address: Address, random: RandomBytes, hold_s: float) -> None:
        self.address = address
        self._random = random
        self._hold_s = hold_s
        self.candidate: Address | None = None
        self.received = 0
        """Bytes that opened from the candidate."""
        self.sent = 0
        """Bytes sent to it."""
        self.use_candidate = False
        """The newest datagram came from the candidate: replies go there."""
        self.unsettled = False
        """The peer moved on purpose and this address has not echoed a challenge: nothing goes
        anywhere but what answers, within the bound, and nothing to where the peer was."""
        self.challenges = 0
        self.next_at: float | None = None
        """When the challenges are due again."""
        self._token: int | None = None
        self._old_token: int | None = None
        self._previous: Address | None = None  # where the path was before it moved
        self._rejected: Address | None = None
        self._rejected_until = 0.0
        self._retry_s = 0.0

    def idle(self, now: float) -> bool:
        """Nothing but the address has to be remembered."""
        return (
            self.candidate is None
            and self.next_at is None
            and self._previous is None
            and now >= self._rejected_until
        )

    def arrived(
        self, address: Address, size: int, newest: bool, retry_s: float, now: float
    ) -> None:
        """A datagram of `size` bytes opened that came from `address`."""
        if address == self.address:
            if newest:
                self.use_candidate = False
            if self.unsettled:
                self.received += size
                if self.next_at is None and newest:
                    self.challenges = 0
                    self.next_at = now
            return
        if address == self.candidate:
            self.received += size
            if newest:
                self.use_candidate = True
            return
        if not newest:
            return  # a late one from where the peer was before
        self.candidate = address
        self.received = size
        self.sent = 0
        self.use_candidate = True
        if address == self._rejected and now < self._rejected_until:
            # Replies only: the old path has won already.
            self._token = self._old_token = self.next_at = None
            return
        self._token = _token(self._random)
        self._old_token = _token(self._random)
        self._previous = None
        self.challenges = 0
        self._retry_s = retry_s
        self.next_at = now

    def unsettle(self, retry_s: float, now: float) -> None:
        """The peer is heard under ids it has moved to, from here: have the address echo a challenge
        before anything else goes there. The one before is not asked: it must not see these ids."""
        self.unsettled = True
        self.candidate = self.address
        self._token = _token(self._random)
        self._retry_s = retry_s
        self.next_at = now

    def challenges_due(self, now: float) -> list[tuple[Address, int]]:
        """The challenges to send now: where, and their tokens."""
        if self.next_at is None or self.next_at > now:
            return []
        if self.challenges >= CHALLENGES_MAX:
            self.next_at = None
            self.candidate = self.address if self.unsettled else None
            self._previous = None
            self.use_candidate = False
            return []
        self.challenges += 1
        self.next_at = now + self._retry_s
        self._retry_s *= 2
        due = []
        if self._old_token is not None:
            due.append((self._previous or self.address, self._old_token))
        if self.candidate is not None and self._token is not None:
            due.append((self.candidate, self._token))
        return due

    def echoed(self, token: int, address: Address, now: float) -> bool:
        """An echo came from `address`. Returns True if that moves the path."""
        if token == self._token and address == self.candidate:
            self._previous = None if self.unsettled else self.address
            if self.unsettled:
                self.next_at = None
            self.address = address
            self.candidate = None
            self.use_candidate = False
            self.unsettled = False
            self._token = None
            return True
        if token != self._old_token or address != (self._previous or self.address):
            return False
        # The address before is alive: it wins, also when the other one has answered first.
        moved = self._previous is not None
        self._rejected = self.address if moved else self.candidate
        self._rejected_until = now + self._hold_s
        self.address = address
        self.unsettled = False
        self._previous = None
        self._token = self._old_token = self.next_at = None
        return moved

    def target(self, size: int) -> Address:
        """Where a datagram of `size` bytes goes; counts it against an unvalidated address."""
        if self.use_candidate and self.candidate is not None and self.may_send(size):
            self.sent += size
            return self.candidate
        return self.address

    def takes(self, address: Address, size: int) -> bool:
        """Whether `address` may get a datagram of `size` bytes of its own; counts it."""
        if address == self.candidate:
            allowed = self.may_send(size)
            if allowed:
                self.sent += size
            return allowed
        return address in (self.address, self._previous)

    def may_send(self, size: int) -> bool:
        """Whether the candidate may get `size` bytes more."""
        return self.sent + size <= AMPLIFICATION_MAX * self.received
