"""Where a sealed datagram enters, whatever brought it: by itself, a relay, a move, a P4."""

from __future__ import annotations

from transport.core.dispatch.frames_in import Relayed, take_frames_untrusted
from transport.core.errors import WireError
from transport.core.establish import accept, migration
from transport.core.establish.connect import Answer
from transport.core.events import Heard
from transport.core.frames import LANE, LANE_KIND_MASK
from transport.core.peer import deliver, relay, teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.types import Address

__all__ = ["receive_moved_untrusted", "receive_untrusted", "take_answer_untrusted"]


def receive_untrusted(
    context: Context,
    peer: Peer,
    presence: Presence,
    datagram: bytes,
    address: Address | None,
    now: float,
) -> bool:
    """Take a sealed datagram of `presence`. False: it does not open, nothing has changed.

    `address` is None if a relay has brought it: that says nothing about the path.
    """
    opener = presence.opener
    try:
        payload = opener.open_untrusted(datagram)
    except WireError:
        return False
    path = presence.path
    if address is not None and (address != path.address or path.candidate is not None):
        path.arrived(address, len(datagram), opener.newest, peer.rtt.timeout_s(), now)
        peer.changed = True
    if presence is not peer.current or not presence.confirmed:
        peer.changed = True
        if not accept.opened_elsewhere(context, peer, presence, payload, now):
            return True
    liveness = peer.liveness
    liveness.heard_at = now
    if liveness.probed_since is not None and liveness.heard(now):
        peer.changed = True
        context.events.append(Heard(peer.key, presence.incarnation))
        peer.lane.sender.resume(now)
    if payload and payload[0] & LANE_KIND_MASK == LANE and presence.lane is peer.lane:
        deliver.take_packet_untrusted(context, peer, presence, payload, 0, now)
    else:
        peer.changed = True
        relayed = take_frames_untrusted(context, peer, presence, payload, 0, address, now)
        if relayed is not None:
            _receive_relayed_untrusted(context, peer, relayed, now)
    return True


def _receive_relayed_untrusted(context: Context, via: Peer, relayed: Relayed, now: float) -> None:
    """Receive again what `via` has brought: once, as nothing is relayed twice."""
    origin = relay.origin_untrusted(context, via, *relayed)
    if origin is not None and receive_untrusted(context, *origin, relayed.datagram, None, now):
        relay.opened(context, via, *origin, now)


def receive_moved_untrusted(
    context: Context, data: bytes, address: Address, now: float
) -> Peer | None:
    """Take a datagram under an id that is no presence's. The peer, if it has moved; None if nobody
    has, or it does not open, and nothing has changed."""
    found = migration.follow_untrusted(context, data, address, now)
    if found is None:
        return None
    peer, presence = found
    if not receive_untrusted(context, peer, presence, data, address, now):
        teardown.discard(context, peer, presence)
        return None
    migration.followed(context, data)
    return peer


def take_answer_untrusted(
    context: Context, peer: Peer, answer: Answer, size: int, address: Address, now: float
) -> None:
    """Act on what a P4 of `size` bytes holds besides the handshake."""
    relayed = take_frames_untrusted(
        context, peer, answer.presence, answer.payload, answer.offset, address, now
    )
    if relayed is not None:
        _receive_relayed_untrusted(context, peer, relayed, now)
    # What P3 carried has arrived, or P4 would not be there.
    peer.lane.sender.resume(answer.attempt.started_at)
    if peer.current is answer.presence and address not in answer.attempt.targets:
        # P4 tells who, and a copy of it comes from anywhere: this has to echo a challenge.
        answer.presence.path.arrived(address, size, True, peer.rtt.timeout_s(), now)
