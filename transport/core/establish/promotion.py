"""What follows from a handshake on both sides: lives of the lane, and which presence is current.

The first data and the reply begin with a LANE_OPEN frame, so that both sides know whether they
speak of the same life of the lane before any packet of it counts.
"""

from __future__ import annotations

from hashlib import blake2b

from transport.core import frames
from transport.core.errors import WireError
from transport.core.events import (
    BulkClosed,
    BulkPlane,
    PathMoved,
    PresenceDown,
    PresenceUp,
    Reason,
)
from transport.core.lane.lane import Lane
from transport.core.lane.tombstones import Evidence
from transport.core.peer import mailbox, teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.types import Address

__all__ = [
    "announced_id",
    "begin_anew",
    "bind",
    "is_other_life",
    "lane_open_untrusted",
    "next_lane",
    "promote",
    "report_up",
    "revive",
    "settle",
    "tell_bulk",
]

_PERSON = b"quorate lane"
_CROSSING_S = 5.0
"""Two handshakes, one from each side, that end within this time have crossed."""


def lane_open_untrusted(data: bytes) -> tuple[int, int, int]:
    """The LANE_OPEN at the beginning: its two ids, and where the next frame begins."""
    if not data or data[0] != frames.LANE_OPEN:
        raise WireError("a handshake's data begins with LANE_OPEN")
    _, lane_id, known, offset = frames.control_untrusted(data, 0)
    if lane_id == 0:
        raise WireError("no life of a lane has the number 0")
    return lane_id, known, offset


def successor(lane_id: int) -> int:
    """The id of the lane that follows when the life of this one is over. It is not drawn, so that a
    peer that has heard of the one knows the other without being told."""
    digest = blake2b(lane_id.to_bytes(8, "big"), digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "big") or 1


def next_lane(context: Context, peer: Peer) -> Lane:
    """The one to begin anew with."""
    return Lane(context.config, peer.rtt, successor(peer.lane.id))


def announced_id(lane: Lane, lane_id: int, known: int) -> int:
    """The peer's lane id, once it has heard of this lane. Its P3 said `lane_id`, and `known` of
    this side's: if that life is over, the peer begins anew when it learns so."""
    return lane_id if known in (0, lane.id) else successor(lane_id)


def is_other_life(peer: Peer, incarnation: int, lane_id: int) -> bool:
    """The peer speaks of another life of the lane than this side remembers."""
    if peer.incarnation not in (None, incarnation):
        return True
    return peer.lane.peer_id not in (0, lane_id)


def begin_anew(context: Context, peer: Peer, lane: Lane, now: float) -> None:
    """The lane's old life is over: what it still held is gone."""
    mailbox.end(context, peer, Reason.RESTARTED)
    for presence in [*peer.former, *([peer.current] if peer.current else [])]:
        teardown.discard(context, peer, presence)
    if peer.reported:
        peer.reported = False
        assert peer.incarnation is not None
        context.events.append(BulkClosed(peer.key))
        context.events.append(PresenceDown(peer.key, peer.incarnation, Reason.RESTARTED))
    peer.lane = lane
    peer.evidence = Evidence.NONE
    peer.incarnation = None
    peer.restarted = True
    peer.rtt.reset()
    peer.liveness.heard(now)


def bind(context: Context, peer: Peer, incarnation: int, lane_id: int) -> None:
    """From here on the lane belongs to this life of the peer's."""
    lane = peer.lane
    peer.incarnation = incarnation
    if lane.peer_id == 0 and not lane.receiver.started:
        tombstone = context.tombstones.take(peer.key)
        if tombstone is not None and tombstone[:2] == (incarnation, lane_id):
            lane.adopt(tombstone.receiver)
    lane.peer_id = lane_id


def report_up(context: Context, peer: Peer, address: Address, *, initiator: bool) -> None:
    """Tell the user, unless it knows already."""
    if peer.reported:
        return
    peer.reported = True
    assert peer.incarnation is not None
    context.events.append(
        PresenceUp(peer.key, peer.incarnation, address, initiator, peer.restarted)
    )
    peer.restarted = False


def promote(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """Let new datagrams use `presence`, unless it crossed another both sides prefer (PR26)."""
    current = peer.current
    if current is not None:
        crossed = (
            current.initiator != presence.initiator
            and abs(presence.made_at - current.made_at) < _CROSSING_S
        )
        if crossed and current.responder_key > presence.responder_key:
            teardown.retire(context, peer, presence, now)
            return
        teardown.retire(context, peer, current, now)
    peer.active_at = presence.made_at  # no entry has passed under these keys
    address = presence.address
    moved = peer.reported and current is not None and current.address != address
    if moved and not presence.path.unsettled:
        context.events.append(PathMoved(peer.key, address))
    report_up(context, peer, address, initiator=presence.initiator)
    _make_current(context, peer, presence, now)


def settle(context: Context, peer: Peer, former: Presence, now: float) -> None:
    """The peer still sends under `former`, long after this side has left it.

    So it judged crossed handshakes differently, which happens when datagrams were late. The rule
    of the larger responder's key alone, without any time in it, is the same on both sides.
    """
    current = peer.current
    if (
        current is None
        or former.lane is not current.lane
        or former.initiator == current.initiator
        or former.responder_key < current.responder_key
        or now - peer.switched_at < _CROSSING_S
    ):
        return
    teardown.retire(context, peer, current, now)
    revive(context, peer, former, now)


def revive(context: Context, peer: Peer, former: Presence, now: float) -> None:
    """Let a presence that drains be the current one again.

    Its keys for bulk were in use before, and whoever installs them counts from 0: they are never
    told twice, so new keys are wanted at once, and until they are there bulk stands still.
    """
    peer.former = tuple(p for p in peer.former if p is not former)
    _make_current(context, peer, former, now)
    if not former.confirmed:
        former.probe(now)


def _make_current(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    peer.current = presence
    peer.switched_at = now
    if context.config.roams:
        presence.say(bytes((frames.MOVABLE,)))
    peer.lane.met = True
    if presence.bulk_told:
        presence.key_update_wanted = True
        presence.key_update_at = now
        return
    if not presence.path.unsettled:
        tell_bulk(context, peer, presence)


def tell_bulk(context: Context, peer: Peer, presence: Presence) -> None:
    """Hand out the keys for bulk, once."""
    presence.bulk_told = True
    context.events.append(BulkPlane(peer.key, presence.incarnation, presence.plane))
