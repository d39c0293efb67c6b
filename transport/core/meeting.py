"""How presences come about: attempts, admitted P3s, confirmation, crossed handshakes.

The first data and the reply of a handshake begin with a LANE_OPEN frame, so that both sides know
whether they speak of the same life of the lane before any packet of it counts. Nothing a P3 says
replaces anything until a datagram has opened under the keys that follow from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.admitted import Admitted
from transport.core.agreement import Established
from transport.core.attempt import Attempt
from transport.core.constants import FIRST_DATA_SIZE_MAX
from transport.core.errors import WireError
from transport.core.events import (
    BulkPlane,
    ConnectFailed,
    Heard,
    PathMoved,
    PresenceDown,
    PresenceUp,
    Reason,
)
from transport.core.initiator import Initiator
from transport.core.lane import Lane
from transport.core.presence import Presence
from transport.core.table import Table
from transport.core.types import Address, Transmit
from transport.core.wire import echo_of_untrusted

if TYPE_CHECKING:
    from transport.core.relation import Relation

__all__ = [
    "Admission",
    "accept_due",
    "admit",
    "attempt_datagram_untrusted",
    "attempt_failed",
    "begin_attempt",
    "flush_handshakes",
    "opened_elsewhere",
    "promote",
]

_CROSSING_S = 5.0
"""Two handshakes, one from each side, that end within this time have crossed."""
_UNCONFIRMED_PER_PEER_MAX = 2


class Admission:
    """An authenticated P3 whose P4 waits for a reply to carry."""

    __slots__ = ("address", "admitted", "deadline", "held_first_data", "lane")

    def __init__(
        self,
        admitted: Admitted,
        address: Address | None,
        lane: Lane,
        held_first_data: bytes,
        deadline: float,
    ) -> None:
        self.admitted = admitted
        self.address = address
        self.lane = lane
        self.held_first_data = held_first_data
        self.deadline = deadline


# -- the initiator's side


def begin_attempt(
    table: Table, relation: Relation, addresses: Sequence[Address], now: float, deadline: float
) -> None:
    """Try to reach the peer. Raises `LocalError` for a key that is none, or this node's own."""
    message_cid, bulk_cid = table.draw_cids()
    initiator = Initiator(
        table.identity,
        relation.peer,
        table.config.handshake,
        table.random,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        incarnation=table.incarnation,
    )
    relation.attempt = Attempt(
        initiator,
        addresses,
        table.config,
        table.random,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        now=now,
        deadline=deadline,
    )
    table.attempts += 1


def flush_handshakes(table: Table, relation: Relation, now: float) -> None:
    """Send what an attempt or a held P4 has to send."""
    attempt = relation.attempt
    if attempt is not None:
        attempt.handle_timeout(lambda: _first_data(relation, now), now, table.out)
        _register_echo(table, relation)
    if relation.admission is not None:
        accept_due(table, relation, now)


def attempt_datagram_untrusted(
    table: Table, relation: Relation, data: bytes, address: Address, now: float
) -> None:
    """Take a P2 or P4 of this relation's attempt; raises nothing."""
    attempt = relation.attempt
    if attempt is None:
        return
    established = attempt.receive_untrusted(data, address, lambda: _first_data(relation, now), now)
    _register_echo(table, relation)
    if established is not None:
        _end_attempt(table, relation)
        try:
            lane_id, known, offset = _lane_open_untrusted(established.reply)
        except WireError:
            table.events.append(ConnectFailed(relation.peer, Reason.PROTOCOL))
            relation.drop_if_unused()
            return
        _established(table, relation, attempt, established, address, lane_id, known, offset, now)


def attempt_failed(table: Table, relation: Relation, reason: int) -> None:
    """Give the attempt up and say so."""
    _end_attempt(table, relation)
    table.events.append(ConnectFailed(relation.peer, reason))
    relation.drop_if_unused()


def _end_attempt(table: Table, relation: Relation) -> None:
    if relation.attempt is not None:
        table.by_echo.pop(relation.echo, None)
        relation.echo = b""
        relation.attempt = None
        table.attempts -= 1


def _register_echo(table: Table, relation: Relation) -> None:
    assert relation.attempt is not None
    echo = relation.attempt.initiator.echo
    if echo != relation.echo:
        table.by_echo.pop(relation.echo, None)
        table.by_echo[echo] = relation
        relation.echo = echo


def _first_data(relation: Relation, now: float) -> bytes:
    lane = relation.lane
    opening = frames.lane_open(lane.id, lane.peer_id)
    if relation.current is not None:
        return opening  # the presence that is still there carries the lane
    return opening + (lane.packet_frame(now, FIRST_DATA_SIZE_MAX - len(opening)) or b"")


def _established(
    table: Table,
    relation: Relation,
    attempt: Attempt,
    established: Established,
    address: Address,
    lane_id: int,
    known: int,
    offset: int,
    now: float,
) -> None:
    if _is_other_life(relation, established.incarnation, lane_id):
        _begin_anew(table, relation, relation.new_lane(), now)
    _bind(relation, established.incarnation, lane_id)
    presence = Presence(
        established,
        address,
        relation.lane,
        table.config,
        table.random,
        message_cid=attempt.message_cid,
        bulk_cid=attempt.bulk_cid,
        own_key=table.identity.key,
        initiator=True,
        now=now,
    )
    table.by_cid[presence.message_cid] = (relation, presence)
    if established.rtt_s is not None:
        relation.rtt.sample(established.rtt_s)
    if relation.liveness.heard(now):
        table.events.append(Heard(relation.peer, established.incarnation))
    promote(table, relation, presence, now)
    relation.take_frames_untrusted(presence, established.reply, offset, address, now)
    # What P3 carried has arrived, or P4 would not be there.
    relation.lane.sender.resume(attempt.started_at)


# -- the responder's side


def admit(
    table: Table, relation: Relation, admitted: Admitted, address: Address | None, now: float
) -> None:
    """Take an authenticated P3: hand its first data up unless it would replace something.

    `address` is None for one that waited in the responder's queue: its P4 leaves at once, and
    tells by its echo where it came from.
    """
    if relation.admission is not None:
        _accept(table, relation, now)
    if table.unconfirmed >= table.config.unconfirmed_max:
        return
    try:
        lane_id, known, offset = _lane_open_untrusted(admitted.first_data)
    except WireError:
        return
    other_life = _is_other_life(relation, admitted.incarnation, lane_id)
    lane, held = relation.lane, b""
    if other_life and relation.current is not None:
        lane, held = relation.new_lane(), admitted.first_data
        lane.peer_id = lane_id
    elif other_life:
        _begin_anew(table, relation, relation.new_lane(), now)
        lane = relation.lane
    stale = known not in (0, relation.lane.id)
    if not held and not stale:
        _bind(relation, admitted.incarnation, lane_id)
    deadline = now + table.config.accept_delay_s
    relation.admission = Admission(admitted, address, lane, held, deadline)
    if address is None:
        address = _accept(table, relation, now)
    if address is None or held or stale:
        return  # if stale, P4 tells the peer that it speaks of a life of ours that is over
    _report_up(table, relation, address, initiator=False)
    relation.take_first_data_untrusted(admitted.first_data, offset, now)


def accept_due(table: Table, relation: Relation, now: float) -> None:
    """Send P4 if there is a reply for it to carry, or it has waited long enough."""
    admission = relation.admission
    if admission is None:
        return
    replying = admission.lane is relation.lane and relation.lane.sender.ready()
    if replying or admission.deadline <= now or admission.lane is not relation.lane:
        _accept(table, relation, now)


def _accept(table: Table, relation: Relation, now: float) -> Address | None:
    """Send P4; where it went, or None if it could not."""
    admission = relation.admission
    assert admission is not None
    relation.admission = None
    admitted = admission.admitted
    if table.unconfirmed >= table.config.unconfirmed_max:
        # Others were quicker while it waited for a reply.
        if relation.current is None and not relation.unconfirmed:
            relation.down(Reason.UNCONFIRMED, now)
        return None
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
    address = admission.address
    if address is None:
        address = table.waiting.pop(echo_of_untrusted(established.datagram) or b"", None)
        if address is None:
            return None
    presence = Presence(
        established,
        address,
        lane,
        table.config,
        table.random,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        own_key=table.identity.key,
        initiator=False,
        now=now,
    )
    presence.held_first_data = admission.held_first_data
    table.by_cid[message_cid] = (relation, presence)
    relation.unconfirmed.append(presence)
    table.unconfirmed += 1
    if len(relation.unconfirmed) > _UNCONFIRMED_PER_PEER_MAX:
        relation.discard(relation.unconfirmed[0])
    if established.rtt_s is not None:
        relation.rtt.sample(established.rtt_s)
    table.out.append(Transmit(established.datagram, address))
    return address


def opened_elsewhere(table: Table, relation: Relation, presence: Presence, now: float) -> bool:
    """A datagram opened under a presence that is not the current, confirmed one.

    Returns False if its frames do not count.
    """
    if presence.closed_reason is not None:
        # The peer did not hear that it is over.
        presence.say(frames.close(min(presence.closed_reason, 255)))
        return False
    if presence in relation.former:
        presence.expires_at = now + table.config.drain_s
        return True
    if presence.confirmed:
        return True
    presence.confirmed = True
    presence.probe_at = None
    if presence in relation.unconfirmed:
        relation.unconfirmed.remove(presence)
        table.unconfirmed -= 1
        _confirmed(table, relation, presence, now)
    return True


def _confirmed(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    if presence.lane is not relation.lane:
        if not presence.held_first_data:
            # Its life of the lane has ended between P3 and now: only the peer can begin anew.
            relation.retire(presence, now)
            return
        _begin_anew(table, relation, presence.lane, now)
    _bind(relation, presence.incarnation, presence.lane.peer_id)
    promote(table, relation, presence, now)
    held = presence.held_first_data
    if held:
        presence.held_first_data = b""
        _, known, offset = _lane_open_untrusted(held)
        if known in (0, relation.lane.id):
            relation.take_first_data_untrusted(held, offset, now)
    # What P4 carried has arrived, or nothing would open.
    relation.lane.sender.resume(presence.made_at)


# -- both


def _lane_open_untrusted(data: bytes) -> tuple[int, int, int]:
    """The LANE_OPEN at the beginning: its two ids, and where the next frame begins."""
    if not data or data[0] != frames.LANE_OPEN:
        raise WireError("a handshake's data begins with LANE_OPEN")
    _, lane_id, known, offset = frames.control_untrusted(data, 0)
    if lane_id == 0:
        raise WireError("no life of a lane has the number 0")
    return lane_id, known, offset


def _is_other_life(relation: Relation, incarnation: int, lane_id: int) -> bool:
    """The peer speaks of another life of the lane than this side remembers."""
    if relation.incarnation not in (None, incarnation):
        return True
    return relation.lane.peer_id not in (0, lane_id)


def _begin_anew(table: Table, relation: Relation, lane: Lane, now: float) -> None:
    """The lane's old life is over: what it still held is gone."""
    for presence in [*relation.former, *([relation.current] if relation.current else [])]:
        relation.discard(presence)
    if relation.reported:
        relation.reported = False
        assert relation.incarnation is not None
        table.events.append(PresenceDown(relation.peer, relation.incarnation, Reason.RESTARTED))
    relation.lane = lane
    relation.incarnation = None
    relation.restarted = True
    relation.rtt.reset()
    relation.liveness.heard(now)


def _bind(relation: Relation, incarnation: int, lane_id: int) -> None:
    relation.incarnation = incarnation
    relation.lane.peer_id = lane_id


def _report_up(table: Table, relation: Relation, address: Address, *, initiator: bool) -> None:
    if relation.reported:
        return
    relation.reported = True
    assert relation.incarnation is not None
    table.events.append(
        PresenceUp(relation.peer, relation.incarnation, address, initiator, relation.restarted)
    )
    relation.restarted = False


def promote(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    """Let new datagrams use `presence`, unless it crossed another that both sides prefer."""
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
    relation.current = presence
    relation.active_at = presence.made_at  # no entry has passed under these keys
    address = presence.path.address
    if relation.reported and current is not None and current.path.address != address:
        table.events.append(PathMoved(relation.peer, address))
    _report_up(table, relation, address, initiator=presence.initiator)
    table.events.append(BulkPlane(relation.peer, presence.incarnation, presence.plane))
