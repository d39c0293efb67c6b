"""Where both sides of a handshake meet: lives of the lane, and which presence is current.

The first data and the reply begin with a LANE_OPEN frame, so that both sides know whether they
speak of the same life of the lane before any packet of it counts.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

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
from transport.core.peer import mailbox
from transport.core.peer.context import Table
from transport.core.presence.presence import Presence
from transport.core.types import Address

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

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


def next_lane(relation: Relation) -> Lane:
    """The one to begin anew with."""
    return Lane(relation.table.config, relation.rtt, successor(relation.lane.id))


def announced_id(lane: Lane, lane_id: int, known: int) -> int:
    """The peer's lane id, once it has heard of this lane. Its P3 said `lane_id`, and `known` of
    this side's: if that life is over, the peer begins anew when it learns so."""
    return lane_id if known in (0, lane.id) else successor(lane_id)


def is_other_life(relation: Relation, incarnation: int, lane_id: int) -> bool:
    """The peer speaks of another life of the lane than this side remembers."""
    if relation.incarnation not in (None, incarnation):
        return True
    return relation.lane.peer_id not in (0, lane_id)


def begin_anew(table: Table, relation: Relation, lane: Lane, now: float) -> None:
    """The lane's old life is over: what it still held is gone."""
    mailbox.end(table, relation, Reason.RESTARTED)
    for presence in [*relation.former, *([relation.current] if relation.current else [])]:
        relation.discard(presence)
    if relation.reported:
        relation.reported = False
        assert relation.incarnation is not None
        table.events.append(BulkClosed(relation.peer))
        table.events.append(PresenceDown(relation.peer, relation.incarnation, Reason.RESTARTED))
    relation.lane = lane
    relation.evidence = Evidence.NONE
    relation.incarnation = None
    relation.restarted = True
    relation.rtt.reset()
    relation.liveness.heard(now)


def bind(table: Table, relation: Relation, incarnation: int, lane_id: int) -> None:
    """From here on the lane belongs to this life of the peer's."""
    lane = relation.lane
    relation.incarnation = incarnation
    if lane.peer_id == 0 and not lane.receiver.started:
        half = table.halves.take(relation.peer)
        if half is not None and half[:2] == (incarnation, lane_id):
            lane.adopt(half.receiver)
    lane.peer_id = lane_id


def report_up(table: Table, relation: Relation, address: Address, *, initiator: bool) -> None:
    """Tell the user, unless it knows already."""
    if relation.reported:
        return
    relation.reported = True
    assert relation.incarnation is not None
    table.events.append(
        PresenceUp(relation.peer, relation.incarnation, address, initiator, relation.restarted)
    )
    relation.restarted = False


def promote(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    """Let new datagrams use `presence`, unless it crossed another both sides prefer (PR26)."""
    current = relation.current
    if current is not None:
        crossed = (
            current.initiator != presence.initiator
            and abs(presence.made_at - current.made_at) < _CROSSING_S
        )
        if crossed and current.responder_key > presence.responder_key:
            relation.retire(presence, now)
            return
        relation.retire(current, now)
    relation.active_at = presence.made_at  # no entry has passed under these keys
    address = presence.address
    moved = relation.reported and current is not None and current.address != address
    if moved and not presence.path.unsettled:
        table.events.append(PathMoved(relation.peer, address))
    report_up(table, relation, address, initiator=presence.initiator)
    _make_current(table, relation, presence, now)


def settle(table: Table, relation: Relation, former: Presence, now: float) -> None:
    """The peer still sends under `former`, long after this side has left it.

    So it judged crossed handshakes differently, which happens when datagrams were late. The rule
    of the larger responder's key alone, without any time in it, is the same on both sides.
    """
    current = relation.current
    if (
        current is None
        or former.lane is not current.lane
        or former.initiator == current.initiator
        or former.responder_key < current.responder_key
        or now - relation.switched_at < _CROSSING_S
    ):
        return
    relation.retire(current, now)
    revive(table, relation, former, now)


def revive(table: Table, relation: Relation, former: Presence, now: float) -> None:
    """Let a presence that drains be the current one again.

    Its keys for bulk were in use before, and whoever installs them counts from 0: they are never
    told twice, so new keys are wanted at once, and until they are there bulk stands still.
    """
    relation.former = tuple(p for p in relation.former if p is not former)
    _make_current(table, relation, former, now)
    if not former.confirmed:
        former.probe(now)


def _make_current(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    relation.current = presence
    relation.switched_at = now
    if table.config.roams:
        presence.say(bytes((frames.MOVABLE,)))
    relation.lane.met = True
    if presence.bulk_told:
        presence.renew_wanted = True
        presence.renew_at = now
        return
    if not presence.path.unsettled:
        tell_bulk(table, relation, presence)


def tell_bulk(table: Table, relation: Relation, presence: Presence) -> None:
    """Hand out the keys for bulk, once."""
    presence.bulk_told = True
    table.events.append(BulkPlane(relation.peer, presence.incarnation, presence.plane))
