"""What the frames of a payload that opened do to the relation they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.errors import WireError
from transport.core.establish import key_update, migration, promotion
from transport.core.events import LaneRelieved, PathMoved, Reason
from transport.core.frames import LANE, LANE_ACK, LANE_KIND_MASK
from transport.core.peer import mailbox, relay
from transport.core.peer.context import Table
from transport.core.presence.presence import Presence
from transport.core.types import Address

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = ["broken", "lane_moved", "take_frames_untrusted"]

_REKEYING = (frames.REKEY_ASK, frames.REKEY_FIRST, frames.REKEY_SECOND)
_RELAYING = (frames.RELAY, frames.RELAYED)


def take_frames_untrusted(
    table: Table,
    relation: Relation,
    presence: Presence,
    payload: bytes,
    offset: int,
    address: Address | None,
    now: float,
) -> None:
    """Act on the frames from `offset` on. `address` is None if a relay has brought them."""
    end = len(payload)
    lane = presence.lane
    challenged = movable = False
    try:
        while offset < end:
            kind = payload[offset]
            family = kind & LANE_KIND_MASK
            if family == LANE:
                # Of an old life of the lane: its presence only drains.
                if lane is relation.lane:
                    relation.take_packet_untrusted(presence, payload, offset, now)
                return
            if family == LANE_ACK:
                offset = lane.receive_ack_untrusted(payload, offset, now)
                continue
            if kind == frames.MESSAGE:
                offset = mailbox.receive_untrusted(table, relation, presence, payload, offset, now)
                continue
            kind, value, stop, offset = frames.control_untrusted(payload, offset)
            if kind in _REKEYING:
                message = payload[value:stop]
                key_update.receive_untrusted(table, relation, presence, kind, message, now)
            elif kind in _RELAYING:
                if address is not None:  # nothing is relayed twice
                    _relay(table, relation, kind, payload, value, now)
            elif kind == frames.TICKET:
                ticket = payload[value:stop]
                table.take_ticket_untrusted(relation.peer, presence.handshake_hash, ticket, now)
            elif kind == frames.MOVABLE:
                if not movable:
                    movable = True  # a hash each: one for a datagram is enough
                    migration.expect(table, presence)
            elif kind == frames.CHALLENGE:
                if not challenged and address is not None:
                    challenged = True
                    _challenged(presence, value, address)
            else:
                _control(table, relation, presence, kind, value, address, now)
            if presence.erased:
                return  # what follows CLOSE would act on a relation that may be gone
    except WireError:
        broken(relation, presence, now)
    if lane is relation.lane:
        lane_moved(table, relation, presence)


def lane_moved(table: Table, relation: Relation, presence: Presence) -> None:
    """Something may have been acknowledged."""
    sender = relation.lane.sender
    presence.lane_acknowledged(sender.unacknowledged)
    if sender.full and sender.relieved():
        table.events.append(LaneRelieved(relation.peer))


def broken(relation: Relation, presence: Presence, now: float) -> None:
    """The peer broke the rules under authentic keys: end it, and say so."""
    relation.changed = True
    if presence is relation.current:
        relation.close(Reason.PROTOCOL, now)
    else:
        relation.discard(presence)


def _relay(
    table: Table, relation: Relation, kind: int, payload: bytes, offset: int, now: float
) -> None:
    key, datagram = payload[offset - frames.KEY_SIZE : offset], payload[offset:]
    if kind == frames.RELAY:
        relay.passes_untrusted(table, relation, key, datagram, now)
    else:
        relay.relayed_untrusted(table, relation, key, datagram, now)


def _challenged(presence: Presence, token: int, address: Address) -> None:
    """Echo what the newest datagram asks, if it came from where the peer is or may be.

    A recording sent from elsewhere is answered to nobody.
    """
    path = presence.path
    if presence.opener.newest and address in (path.address, path.candidate):
        presence.direct(address, frames.echo(token))


def _control(
    table: Table,
    relation: Relation,
    presence: Presence,
    kind: int,
    value: int,
    address: Address | None,
    now: float,
) -> None:
    if kind == frames.PING:
        detour = relation.detour
        if address is not None and detour is not None and detour.cut:
            # It tries the direct path: the answer must not take the other one.
            presence.direct(address, frames.pong(value))
        else:
            presence.say(frames.pong(value))
    elif kind == frames.PONG:
        if presence.ponged_untrusted(value, now) and address is not None:
            relay.direct_answer(table, relation, now)
    elif kind == frames.ECHO:
        if address is not None and presence.path.echoed(value, address, now):
            relation.rtt.reset()
            if presence is relation.current and not presence.bulk_told:
                # It has moved on purpose, and this is the first address known to be its own.
                promotion.tell_bulk(table, relation, presence)
                presence.renew_wanted = True
                presence.renew_at = now
            if presence is relation.current:
                table.events.append(PathMoved(relation.peer, presence.address))
    elif kind == frames.MESSAGE_ACK:
        mailbox.receive_ack_untrusted(table, relation, presence, value, now)
    elif kind == frames.CLOSE:
        _closed_by_peer(table, relation, presence, value, now)


def _closed_by_peer(
    table: Table, relation: Relation, presence: Presence, reason: int, now: float
) -> None:
    was_current = presence is relation.current
    relation.discard(presence)
    if not was_current:
        return
    if reason == Reason.REPLACED:
        for other in relation.former:
            if other.closed_reason is None and other.lane is relation.lane:
                # Crossed handshakes which the two sides judged differently: one is left.
                promotion.revive(table, relation, other, now)
                return
    relation.down(reason, now)
