"""Names for what passes between the parts of the transport."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import NamedTuple

from transport.core.errors import LocalError

Address = tuple[str, int]
"""Numeric IPv4 or IPv6 host, and UDP port: where to send, never who it is."""

RandomBytes = Callable[[int], bytes]
"""Returns that many unpredictable bytes; the pure cores draw from nothing else."""


class Transmit(NamedTuple):
    """A datagram and where to send it."""

    data: bytes
    address: Address


class Ways(Flag):
    """How a message may travel."""

    DIRECT = auto()
    """To the peer's own address."""
    RELAYED = auto()
    """By way of a common peer, where there is one (`Peers.relays`)."""
    RETRANSMIT = auto()
    """More than once, until it is acknowledged. Without it, one that is lost has an unknown fate
    after one timer."""
    ANY = DIRECT | RELAYED | RETRANSMIT


class Outcome(Enum):
    """What became of a message, as far as its sender knows."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    """The peer's node has it. That says nothing about an answer."""
    REPLIED = "replied"
    FAILED = "failed"
    """It has not been sent at all."""
    UNKNOWN = "unknown"
    """It was sent and nothing came back: it may have arrived or not."""


@dataclass(frozen=True, slots=True)
class Message:
    """What goes from a key to a key, with up to three references to other messages."""

    kind: int
    """16 bits, the application's."""
    body: bytes
    in_regards_to: bytes | None = None
    in_reply_to: bytes | None = None
    reply_to: bytes | None = None
    """Names of messages, 32 bytes each."""

    @property
    def references(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The three of them, in the order in which they are encoded."""
        return self.in_regards_to, self.in_reply_to, self.reply_to


class Delivery:
    """One message on its way; `Peers` changes it, the caller reads it."""

    __slots__ = ("_deadline", "_reply_deadline", "name", "outcome", "peer", "reason")

    def __init__(
        self, peer: bytes, name: bytes, deadline: float | None, reply_deadline: float | None
    ) -> None:
        self.peer = peer
        self.name = name
        """What a reply refers to."""
        self.outcome = Outcome.PENDING
        self.reason = 0
        """With `FAILED` and `UNKNOWN`: a `Reason`, or 0 if time ran out."""
        self._deadline = deadline
        self._reply_deadline = reply_deadline

    @property
    def known_by(self) -> float:
        """When the outcome will be known at the latest: of an answer, if one is awaited.

        In seconds of the caller's clock. Raises `LocalError` if nothing bounds it.
        """
        due = self.due
        if due is None:
            raise LocalError("this message waits without limit")
        return due

    @property
    def due(self) -> float | None:
        """As `known_by`; None if nothing bounds it, or nothing is awaited any more."""
        if self.outcome is Outcome.SUCCEEDED:
            return self._reply_deadline
        return self._deadline if self.outcome is Outcome.PENDING else None

    def __repr__(self) -> str:
        return f"Delivery({self.name.hex()[:16]}, {self.outcome.value})"
