"""The responder's side of a meeting: an admitted P3, the reply its P4 carries, confirmation.

Nothing a P3 says replaces anything until a datagram has opened under the keys that follow from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.errors import WireError
from transport.core.establish import connect
from transport.core.establish.promotion import (
    announced_id,
    begin_anew,
    bind,
    is_other_life,
    lane_open_untrusted,
    next_lane,
    promote,
    report_up,
    settle,
)
from transport.core.events import (
    Reason,
)
from transport.core.lane.lane import Lane
from transport.core.lane.tombstones import Evidence
from transport.core.peer.context import Table
from transport.core.presence.presence import Presence
from transport.core.responder.incoming import Admitted
from transport.core.types import Transmit

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = ["Admission", "accept_due", "admit", "opened_elsewhere"]

_UNCONFIRMED_PER_PEER_MAX = 2
_CLOSE = bytes((frames.CLOSE,))


class Admission:
    """An authenticated P3 whose P4 waits for a reply to carry."""

    __slots__ = ("admitted", "deadline", "held_first_data", "lane")

    def __init__(
        self,
        admitted: Admitted,
        lane: Lane,
        held_first_data: bytes,
        deadline: float,
    ) -> None:
        self.admitted = admitted
        self.lane = lane
        self.held_first_data = held_first_data
        self.deadline = deadline


def admit(table: Table, relation: Relation, admitted: Admitted, now: float) -> None:
    """Take an authenticated P3: hand its first data up unless it would replace something."""
    if relation.admission is not None:
        _accept(table, relation, now)
    if not table.has_room(admitted.address_validated):
        return
    try:
        lane_id, known, offset = lane_open_untrusted(admitted.first_data)
    except WireError:
        return
    connect.met(table, relation)
    lane, held = relation.lane, b""
    theirs = announced_id(lane, lane_id, known)
    if is_other_life(relation, admitted.incarnation, theirs):
        lane = next_lane(relation)
        theirs = announced_id(lane, lane_id, known)
        if relation.current is not None or relation.unconfirmed:
            # Which of the two lives is the later one shows when a datagram opens.
            held = admitted.first_data
            lane.peer_id = theirs
        else:
            begin_anew(table, relation, lane, now)
    stale = theirs != lane_id
    if stale and not held:
        lane.peer_id = theirs
    elif not held:
        bind(table, relation, admitted.incarnation, lane_id)
        if admitted.address_validated:
            relation.evidence = max(relation.evidence, Evidence.ADDRESS)
    deadline = now + table.config.accept_delay_s
    relation.admission = Admission(admitted, lane, held, deadline)
    if held or stale:
        return  # if stale, P4 tells the peer that it speaks of a life of ours that is over
    report_up(table, relation, admitted.address, initiator=False)
    if not relation.take_first_data_untrusted(admitted.first_data, offset, now):
        relation.admission.deadline = now  # nobody will reply to it


def accept_due(table: Table, relation: Relation, now: float) -> None:
    """Send P4 if there is a reply for it to carry, or it has waited long enough."""
    admission = relation.admission
    if admission is None:
        return
    replying = admission.lane is relation.lane and relation.lane.sender.ready()
    if replying or admission.deadline <= now or admission.lane is not relation.lane:
        _accept(table, relation, now)


def _accept(table: Table, relation: Relation, now: float) -> None:
    """Send P4, unless there are too many presences that nobody has confirmed."""
    admission = relation.admission
    assert admission is not None
    relation.admission = None
    admitted = admission.admitted
    if not table.has_room(admitted.address_validated):
        # Others were quicker while it waited for a reply.
        if relation.current is None and not relation.unconfirmed:
            relation.down(Reason.UNCONFIRMED, now)
        return
    lane = admission.lane
    reply = frames.lane_open(lane.id, lane.peer_id)
    if lane is relation.lane and relation.current is None:
        room = admitted.reply_size_max - len(reply)
        packet = lane.packet_frame(now, room)
        if packet is None and lane.receiver.started:
            packet = lane.ack_frame(now)
        reply += packet or b""
    message_cid, bulk_cid = table.draw_cids()
    established = admitted.accept(reply, message_cid, bulk_cid, table.incarnation, now)
    presence = Presence(
        established,
        admitted.address,
        relation,
        lane,
        table.config,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        own_key=table.identity.key,
        initiator=False,
        now=now,
    )
    presence.held_first_data = admission.held_first_data
    table.by_cid[message_cid] = presence
    relation.unconfirmed = (*relation.unconfirmed, presence)
    pushed_out = table.count(presence, admitted.address_validated)
    if len(relation.unconfirmed) > _UNCONFIRMED_PER_PEER_MAX:
        relation.discard(relation.unconfirmed[0])
    if established.rtt_s is not None:
        relation.rtt.guess(established.rtt_s)
    table.out.append(Transmit(established.datagram, admitted.address))
    if pushed_out is not None:
        pushed_out.relation.lapse(pushed_out, now)


def opened_elsewhere(
    table: Table, relation: Relation, presence: Presence, payload: bytes, now: float
) -> bool:
    """A datagram opened under a presence that is not the current, confirmed one.

    Returns False if its frames do not count.
    """
    if presence.closed_reason is not None:
        # The peer did not hear that it is over, unless it says so itself: two sides that have both
        # closed must not go on telling each other.
        heard = payload[:1] == _CLOSE
        if not heard and now - presence.told_at >= relation.rtt.timeout_s():
            presence.told_at = now
            presence.say(frames.close(min(presence.closed_reason, 255)))
        return False
    if presence in relation.former:
        presence.confirmed = True
        presence.expires_at = now + table.config.drain_s
        if payload and payload[:1] != _CLOSE:
            settle(table, relation, presence, now)
        return True
    if presence.confirmed:
        return True
    presence.confirmed = True
    presence.probe_at = None
    table.moved.pop(presence, None)
    if presence in relation.unconfirmed:
        relation.unconfirmed = tuple(p for p in relation.unconfirmed if p is not presence)
        table.settled(presence)
        _confirmed(table, relation, presence, now)
    return presence.closed_reason is None


def _confirmed(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    if presence.lane is not relation.lane:
        if not presence.held_first_data:
            # Its life of the lane has ended between P3 and now: only the peer can begin anew, and
            # it must be told.
            presence.closed_reason = Reason.RESTARTED
            presence.told_at = now
            relation.retire(presence, now)
            presence.say(frames.close(Reason.RESTARTED))
            return
        begin_anew(table, relation, presence.lane, now)
    bind(table, relation, presence.incarnation, presence.lane.peer_id)
    promote(table, relation, presence, now)
    held = presence.held_first_data
    if held:
        presence.held_first_data = b""
        _, known, offset = lane_open_untrusted(held)
        if known in (0, relation.lane.id):
            relation.take_first_data_untrusted(held, offset, now)
    # What P4 carried has arrived, or nothing would open.
    relation.lane.sender.resume(presence.made_at)
