"""What the frames of a payload that opened do to the peer they belong to."""

from __future__ import annotations

from typing import NamedTuple

from transport.core import frames
from transport.core.errors import WireError
from transport.core.establish import key_update, migration, promotion
from transport.core.events import PathMoved, Reason
from transport.core.frames import LANE, LANE_ACK, LANE_KIND_MASK
from transport.core.peer import deliver, mailbox, relay, teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.types import Address

__all__ = ["Relayed", "take_frames_untrusted"]

_named = tuple.__new__  # what a named tuple's own constructor calls, without the call around it
_REKEYING = (frames.REKEY_ASK, frames.REKEY_FIRST, frames.REKEY_SECOND)
_HOLDING = (*_REKEYING, frames.RELAY, frames.RELAYED, frames.TICKET)
"""Kinds that hold something of more than a number."""
_ONCE = (frames.CHALLENGE, frames.MOVABLE)
"""Kinds that cost this side something each time, a hash or a datagram: one of each counts."""


class Relayed(NamedTuple):
    """What a relay has brought, which is received again as if it had come by itself."""

    key: bytes
    """Whose it is, says the relay."""
    datagram: bytes


def take_frames_untrusted(
    context: Context,
    peer: Peer,
    presence: Presence,
    payload: bytes,
    offset: int,
    address: Address | None,
    now: float,
) -> Relayed | None:
    """Act on the frames from `offset` on. `address` is None if a relay has brought them. Returns
    what is to be received again."""
    end = len(payload)
    lane = presence.lane
    seen: tuple[int, ...] = ()
    relayed: Relayed | None = None
    try:
        while offset < end:
            kind = payload[offset]
            family = kind & LANE_KIND_MASK
            if family == LANE:
                # Of an old life of the lane: its presence only drains.
                if lane is peer.lane:
                    deliver.take_packet_untrusted(context, peer, presence, payload, offset, now)
                return None
            if family == LANE_ACK:
                offset = lane.receive_ack_untrusted(payload, offset, now)
                continue
            if kind == frames.MESSAGE:
                offset = mailbox.receive_untrusted(context, peer, presence, payload, offset, now)
                continue
            kind, value, stop, offset = frames.control_untrusted(payload, offset)
            if kind in _HOLDING:
                relayed = _held(context, peer, presence, kind, payload, value, stop, address, now)
            elif kind not in seen:
                _control(context, peer, presence, kind, value, address, now)
            if kind in _ONCE:
                seen = (*seen, kind)
            if presence.erased:
                return None  # what follows CLOSE would act on a peer that may be gone
    except WireError:
        deliver.broken(context, peer, presence, now)
    if lane is peer.lane:
        deliver.lane_moved(context, peer, presence)
    return relayed


def _held(
    context: Context,
    peer: Peer,
    presence: Presence,
    kind: int,
    payload: bytes,
    start: int,
    stop: int,
    address: Address | None,
    now: float,
) -> Relayed | None:
    """A frame of `_HOLDING`, what it holds from `start` to `stop`."""
    held = payload[start:stop]
    if kind in _REKEYING:
        key_update.receive_untrusted(context, peer, presence, kind, held, now)
    elif kind == frames.TICKET:
        context.take_ticket_untrusted(peer.key, presence.handshake_hash, held, now)
    elif address is not None:  # nothing is relayed twice
        key = payload[start - frames.KEY_SIZE : start]
        if kind == frames.RELAYED:
            return _named(Relayed, (key, held))
        relay.passes_untrusted(context, peer, key, held, now)
    return None


def _control(
    context: Context,
    peer: Peer,
    presence: Presence,
    kind: int,
    value: int,
    address: Address | None,
    now: float,
) -> None:
    if kind == frames.PING:
        detour = peer.detour
        if address is not None and detour is not None and detour.cut:
            # It tries the direct path: the answer must not take the other one.
            presence.direct(address, frames.pong(value))
        else:
            presence.say(frames.pong(value))
    elif kind == frames.PONG:
        if presence.ponged_untrusted(value, now) and address is not None:
            relay.direct_answer(context, peer, now)
    elif kind == frames.MOVABLE:
        migration.expect(context, peer, presence)
    elif kind == frames.CHALLENGE:
        if address is not None:
            _challenged(presence, value, address)
    elif kind == frames.ECHO:
        if address is not None and presence.path.echoed(value, address, now):
            _moved(context, peer, presence, now)
    elif kind == frames.MESSAGE_ACK:
        mailbox.receive_ack_untrusted(context, peer, presence, value, now)
    elif kind == frames.CLOSE:
        _closed_by_peer(context, peer, presence, value, now)


def _challenged(presence: Presence, token: int, address: Address) -> None:
    """Echo what the newest datagram asks, if it came from where the peer is or may be.

    A recording sent from elsewhere is answered to nobody.
    """
    path = presence.path
    if presence.opener.newest and address in (path.address, path.candidate):
        presence.direct(address, frames.echo(token))


def _moved(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """The peer has shown another address of its own."""
    peer.rtt.reset()
    if presence is not peer.current:
        return
    if not presence.bulk_told:
        # It has moved on purpose, and this is the first address known to be its own.
        promotion.tell_bulk(context, peer, presence)
        presence.key_update_wanted = True
        presence.key_update_at = now
    context.events.append(PathMoved(peer.key, presence.address))


def _closed_by_peer(
    context: Context, peer: Peer, presence: Presence, reason: int, now: float
) -> None:
    was_current = presence is peer.current
    teardown.discard(context, peer, presence)
    if not was_current:
        return
    if reason == Reason.REPLACED:
        for other in peer.former:
            if other.closed_reason is None and other.lane is peer.lane:
                # Crossed handshakes which the two sides judged differently: one is left.
                promotion.revive(context, peer, other, now)
                return
    teardown.down(context, peer, reason, now)
