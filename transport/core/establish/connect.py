"""The initiator's side of a meeting: an attempt, from P1 to the presence its P4 makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.constants import FIRST_DATA_SIZE_MAX, KEY_SIZE
from transport.core.dispatch import frames_in
from transport.core.errors import LocalError, WireError
from transport.core.establish.promotion import (
    begin_anew,
    bind,
    is_other_life,
    lane_open_untrusted,
    next_lane,
    promote,
)
from transport.core.events import (
    ConnectFailed,
    Heard,
    Reason,
)
from transport.core.handshake.negotiation import Established
from transport.core.initiator.attempt import Attempt
from transport.core.initiator.initiator import Initiator
from transport.core.initiator.simultaneous_attempt import MeetingAttempt
from transport.core.initiator.simultaneous_open import SimultaneousOpen
from transport.core.lane.lane import Lane
from transport.core.peer.context import Mask, Table
from transport.core.presence.presence import Presence
from transport.core.responder.responder import Responder
from transport.core.types import Address

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = [
    "attempt_datagram_untrusted",
    "attempt_failed",
    "begin_attempt",
    "begin_meeting",
    "draw_alias",
    "flush_attempt",
    "met",
    "probe_untrusted",
]


def begin_attempt(
    table: Table, relation: Relation, addresses: Sequence[Address], now: float, deadline: float
) -> None:
    """Try to reach the peer. Raises `LocalError` for a key that is none, or this node's own, and
    for too many attempts at once."""
    message_cid, bulk_cid = _drawn(table)
    at_once = table.at_once(relation.peer, now)
    relation.attempt = attempt = Attempt(
        _beginner(table, relation, message_cid, bulk_cid),
        addresses,
        table.config,
        table.random,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        now=now,
        deadline=deadline,
        at_once=at_once,
    )
    table.attempts += 1
    if at_once is None:
        table.unprepared = attempt.initiator


def _drawn(table: Table) -> tuple[bytes, bytes]:
    if table.attempts >= table.config.attempts_max:
        raise LocalError("too many attempts at once")
    return table.draw_cids()


def _beginner(
    table: Table, relation: Relation, message_cid: bytes, bulk_cid: bytes
) -> Callable[[], Initiator]:
    config, incarnation = table.config.handshake, table.incarnation
    mask = table.masks.get(relation.peer)
    if mask is not None:
        # Nothing in it may be the same as in any other handshake of this node's.
        config = replace(config, clock_origin_s=table.draw_clock_origin_s())
        incarnation = int.from_bytes(table.random(8), "big")

    def begin() -> Initiator:
        return Initiator(
            table.identity,
            relation.peer if mask is None else mask.peer,
            config,
            table.random,
            message_cid=message_cid,
            bulk_cid=bulk_cid,
            incarnation=incarnation,
            anonymous=mask is not None,
        )

    return begin


def draw_alias(table: Table, peer: bytes) -> bytes:
    """A name for a relation in which this node does not tell its own: 32 bytes that are no key."""
    while True:
        drawn = table.random(KEY_SIZE)
        alias = drawn[:-1] + bytes((drawn[-1] | 0x80,))
        if alias not in table.relations:
            table.masks[alias] = Mask(peer, b"")
            return alias


def begin_meeting(
    table: Table,
    responder: Responder,
    relation: Relation,
    token: bytes,
    records: tuple[bytes, bytes],
    addresses: Sequence[Address],
    rtt_s: float,
    now: float,
    deadline: float,
) -> None:
    """Open at the same time as the peer; `records` are this node's and the peer's. Takes the place
    of an attempt under way. Raises `LocalError`, `WireError` as `SimultaneousOpen` does."""
    message_cid, bulk_cid = _drawn(table)
    begin = _beginner(table, relation, message_cid, bulk_cid)
    opening = SimultaneousOpen(
        table.identity,
        responder,
        relation.peer,
        table.config.handshake,
        table.random,
        token=token,
        own_record=records[0],
        peer_record=records[1],
        addresses=list(addresses),
        rtt_s=rtt_s,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        incarnation=table.incarnation,
        first_data=b"",
        now=now,
    )
    if relation.attempt is not None:
        deadline = max(deadline, relation.attempt.deadline)
        _end_attempt(table, relation)
    attempt = MeetingAttempt(
        begin,
        opening,
        addresses,
        table.config,
        table.random,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        now=now,
        deadline=deadline,
    )
    relation.attempt = attempt
    table.by_probe[attempt.probe] = relation
    table.attempts += 1


def probe_untrusted(table: Table, data: bytes, address: Address, now: float) -> None:
    """Take a probe; whose it is, its 20 bytes say. Raises nothing."""
    relation = table.by_probe.get(data)
    attempt = relation.attempt if relation is not None else None
    if relation is not None and isinstance(attempt, MeetingAttempt):
        attempt.probed(data, address, lambda: _first_data(relation, now), now, table.out)
        _register_echo(table, relation)
        table.mark(relation)


def met(table: Table, relation: Relation) -> None:
    """A P3 of the peer's was admitted: if it was expected in a meeting, that has come about."""
    attempt = relation.attempt
    if isinstance(attempt, MeetingAttempt) and attempt.responding:
        attempt.admitted()
        _end_attempt(table, relation)


def flush_attempt(table: Table, relation: Relation, now: float) -> None:
    """Send what the attempt has to send."""
    attempt = relation.attempt
    if attempt is not None:
        attempt.handle_timeout(lambda: _first_data(relation, now), now, table.out)
        _register_echo(table, relation)


def attempt_datagram_untrusted(
    table: Table, relation: Relation, data: bytes, address: Address, now: float
) -> bool:
    """Take a P2 or P4 of this relation's attempt; raises nothing. Whether the attempt got on by it:
    anybody who sees a P1 can send what only looks like an answer."""
    attempt = relation.attempt
    if attempt is None:
        return False
    state = attempt.initiator.state
    established = attempt.receive_untrusted(data, address, lambda: _first_data(relation, now), now)
    _register_echo(table, relation)
    got_on = attempt.initiator.state is not state
    if established is not None:
        _end_attempt(table, relation)
        try:
            lane_id, known, offset = lane_open_untrusted(established.reply)
        except WireError:
            table.events.append(ConnectFailed(relation.peer, Reason.PROTOCOL))
            relation.drop_if_unused()
            return got_on
        _established(table, relation, attempt, established, address, lane_id, known, offset, now)
        presence = relation.current
        if (
            presence is not None
            and presence.message_cid == attempt.message_cid
            and address not in attempt.targets
        ):
            # P4 tells who, and a copy of it comes from anywhere: this has to echo a challenge.
            presence.path.arrived(address, len(data), True, relation.rtt.timeout_s(), now)
    return got_on


def attempt_failed(table: Table, relation: Relation, reason: int) -> None:
    """Give the attempt up and say so, if anybody asked for it."""
    asked = relation.attempt is None or relation.attempt.asked
    _end_attempt(table, relation)
    if asked:
        table.events.append(ConnectFailed(relation.peer, reason))
    relation.drop_if_unused()


def _end_attempt(table: Table, relation: Relation) -> None:
    if relation.attempt is not None:
        table.by_echo.pop(relation.attempt.echo, None)
        table.by_probe.pop(relation.attempt.probe, None)
        if table.unprepared is relation.attempt.initiator:
            table.unprepared = None
        relation.attempt = None
        table.attempts -= 1


def _register_echo(table: Table, relation: Relation) -> None:
    attempt = relation.attempt
    assert attempt is not None
    echo = attempt.initiator.echo
    if echo != attempt.echo:
        table.by_echo.pop(attempt.echo, None)
        table.by_echo[echo] = relation
        attempt.echo = echo


def _first_data(relation: Relation, now: float) -> bytes:
    lane = relation.lane
    opening = frames.lane_open(lane.id, lane.peer_id)
    if relation.current is not None:
        return opening  # the presence that is still there carries the lane
    return opening + (lane.packet_frame(now, FIRST_DATA_SIZE_MAX - len(opening)) or b"")


def _lane_with(relation: Relation, peer_id: int) -> Lane:
    """The lane for another life of the peer's: the one its own P3 has brought about, if any."""
    for presence in relation.unconfirmed:
        if presence.lane is not relation.lane and presence.lane.peer_id == peer_id:
            return presence.lane
    return next_lane(relation)


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
    if attempt.initiator.learned is not None:
        table.learn_transient(attempt.initiator.learned)
    if attempt.initiator.handle:
        table.masks[relation.peer] = Mask(established.peer, attempt.initiator.handle)
    if is_other_life(relation, established.incarnation, lane_id):
        begin_anew(table, relation, _lane_with(relation, lane_id), now)
    bind(table, relation, established.incarnation, lane_id)
    presence = Presence(
        established,
        address if address in attempt.targets else attempt.targets[0],
        relation,
        relation.lane,
        table.config,
        message_cid=attempt.message_cid,
        bulk_cid=attempt.bulk_cid,
        own_key=table.identity.key,
        initiator=True,
        now=now,
    )
    table.by_cid[presence.message_cid] = presence
    if established.rtt_s is not None:
        relation.rtt.guess(established.rtt_s)
    if relation.liveness.heard(now):
        table.events.append(Heard(relation.peer, established.incarnation))
    promote(table, relation, presence, now)
    # By its timer, which is due at once, the presence probes, so that the responder sees its keys
    # used; what the user sends or closes in answer to the reply leaves before and does as well.
    frames_in.take_frames_untrusted(
        table, relation, presence, established.reply, offset, address, now
    )
    # What P3 carried has arrived, or P4 would not be there.
    relation.lane.sender.resume(attempt.started_at)
