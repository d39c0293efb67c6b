"""What the table of peers tells its user, and why presences end."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from transport.core.types import Address, Delivery, Message, Outcome

__all__ = [
    "APPLICATION_REASON_MAX",
    "BulkClosed",
    "BulkPlane",
    "ConnectFailed",
    "DeliveryKnown",
    "EntriesReceived",
    "Event",
    "Heard",
    "LaneRelieved",
    "LinkCut",
    "LinkHealed",
    "MessageReceived",
    "PathMoved",
    "PeerStatus",
    "PlaneKeys",
    "PresenceDown",
    "PresenceUp",
    "Reason",
    "Silent",
]

APPLICATION_REASON_MAX = 127
"""Reasons up to this one belong to the user of `close`; the transport's own begin above."""


class Reason(IntEnum):
    """Why a presence ended or did not come about. The first group travels in CLOSE."""

    IDLE = 128
    """Nobody kept it and nothing was said for `idle_timeout_s`."""
    REPLACED = 129
    """A newer presence of the same two incarnations took its place and has drained it."""
    PROTOCOL = 130
    """The other side broke the rules of the frames."""
    FORGOTTEN = 131
    """The other side's user forgot this peer."""
    RESTARTED = 132
    """The other side's lane began anew: another incarnation, or it had forgotten us."""
    LIMIT = 133
    """The keys were used three times as long or as much as they may be."""

    SILENT = 160
    """Nothing was heard for `silence_max_s` although it was probed."""
    UNCONFIRMED = 161
    """No datagram opened under the new keys within `unconfirmed_s`."""
    NO_ANSWER = 162
    """The attempt to connect ran out of time."""


@dataclass(frozen=True, slots=True)
class PresenceUp:
    """Entries can pass in both directions."""

    peer: bytes
    incarnation: int
    """The peer's: one life of it."""
    address: Address
    initiator: bool
    """This side asked for the presence."""
    restarted: bool
    """The lane began anew although there had been one: what it still held is gone."""


@dataclass(frozen=True, slots=True)
class PresenceDown:
    """The presence ended; a lane that is kept waits for the next one."""

    peer: bytes
    incarnation: int
    reason: int
    """A `Reason`, or at most 127 as either side's user said in `close`."""


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """An attempt to connect has ended without a presence."""

    peer: bytes
    reason: int


class EntriesReceived(NamedTuple):
    """What one datagram brought, in the lane's order.

    A named tuple, because one is made for nearly every datagram and a frozen dataclass takes
    three times as long to make.
    """

    peer: bytes
    incarnation: int
    entries: list[tuple[int, bytes]]
    """Group number and entry."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Probed and unheard for `suspicion_s`."""

    peer: bytes
    incarnation: int


@dataclass(frozen=True, slots=True)
class Heard:
    """It speaks again after `Silent`."""

    peer: bytes
    incarnation: int


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A message of the presence, handed up once."""

    peer: bytes
    incarnation: int
    name: bytes
    """What a reply names in `in_reply_to`."""
    message: Message


@dataclass(frozen=True, slots=True)
class DeliveryKnown:
    """What became of a message: told for each change, the last one is final."""

    peer: bytes
    delivery: Delivery
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class LinkCut:
    """The peer is reached by way of a relay only, for as long as it takes; it is not silent."""

    peer: bytes
    incarnation: int


@dataclass(frozen=True, slots=True)
class LinkHealed:
    """The peer is reached directly again, or no relay may be used any more."""

    peer: bytes
    incarnation: int


@dataclass(frozen=True, slots=True)
class LaneRelieved:
    """After `LaneFull`: the backlog has fallen below half its bounds."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class PlaneKeys:
    """What the bulk path needs to seal and open; no key shows in its repr."""

    receive_cid: bytes
    send_cid: bytes
    suite: int
    send_key: bytes = field(repr=False)
    send_header_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    receive_header_key: bytes = field(repr=False)
    address: Address = ("", 0)
    initiator: bool = False
    """This side numbers its channels evenly."""


@dataclass(frozen=True, slots=True)
class BulkPlane:
    """Keys for bulk data. They take the place of the peer's earlier ones, if there were any."""

    peer: bytes
    incarnation: int
    plane: PlaneKeys


@dataclass(frozen=True, slots=True)
class PathMoved:
    """The peer has shown that it is reached at another address now."""

    peer: bytes
    address: Address


@dataclass(frozen=True, slots=True)
class BulkClosed:
    """The keys of the peer's bulk plane are void: its presence is down."""

    peer: bytes


Event = (
    PresenceUp
    | PresenceDown
    | ConnectFailed
    | EntriesReceived
    | Silent
    | Heard
    | MessageReceived
    | DeliveryKnown
    | LinkCut
    | LinkHealed
    | LaneRelieved
    | BulkPlane
    | PathMoved
    | BulkClosed
)


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A snapshot of one peer."""

    up: bool
    """There is a presence entries can pass through now."""
    incarnation: int | None
    address: Address | None
    rtt_s: float | None
    """Smoothed round trip; None before the first measurement."""
    clock_offset_s: float | None
    """The peer's `Peers.clock` minus this side's `now`, as the handshake measured it; None where it
    could not."""
    silent: bool
    relayed: bool
    """It is reached by way of a relay only."""
    heard_at: float
    """When a datagram of it was opened last, on the caller's clock."""
    backlog_bytes: int
    """Entries not acknowledged, in bytes."""
    backlog_entries: int
