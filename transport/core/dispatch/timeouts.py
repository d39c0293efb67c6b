"""What time does to a relation: probes, silence, idle expiry, retransmission, draining."""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.establish import connect, key_update
from transport.core.events import Reason, Silent
from transport.core.peer import mailbox, relay
from transport.core.peer.context import Table
from transport.core.presence.liveness import Verdict
from transport.core.presence.presence import Presence

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = ["SPARE_AFTER_S", "handle_timeout", "make_room", "next_timeout", "rest", "rest_until"]

_REST_S = 1.0
"""A peer that is not wanted and was not heard for so long is put to rest."""
SPARE_AFTER_S = 10.0
"""A peer that is not wanted and with whom nothing but probes passed for so long gives its place up
when the table of peers is full."""
_UNSETTLED_S = 0.1  # how often messages are looked at while the peer's address is not settled
_LOOKED_AT = 16  # peers looked at for one that needs a place


def next_timeout(table: Table, relation: Relation, now: float) -> float | None:
    """The earliest time at which anything of the relation is due."""
    due: list[float] = []
    if relation.attempt is not None:
        due.append(min(relation.attempt.next_at, relation.attempt.deadline))
    if relation.admission is not None:
        due.append(relation.admission.deadline)
    current = relation.current
    unsettled = current is not None and current.path.unsettled
    mail_at = mailbox.next_timeout(table, relation)
    if mail_at is not None:
        # Nothing is sent to where the peer has moved before that is settled; giving up goes on.
        due.append(max(mail_at, now + _UNSETTLED_S) if unsettled else mail_at)
    if table.lingering and relation.peer in table.lingering:
        due.append(table.lingering[relation.peer])
    for presence in (*relation.former, *relation.unconfirmed):
        due.append(presence.expires_at)
    if current is not None:
        active = relation.active()
        alive = relation.liveness.next_timeout(active)
        if alive is not None:
            due.append(alive)
        if not active:
            due.append(_idle_at(table, relation))
            rest_at = max(relation.active_at, relation.liveness.heard_at) + _REST_S
            # What keeps it from resting, a path that is looked at for instance, does not last.
            due.append(rest_at if rest_at > now else now + _REST_S)
        if relation.liveness.silent_at is None and not unsettled:
            lane = relation.lane.next_timeout()
            if lane is not None:
                due.append(lane)
        if current.path.next_at is not None:
            due.append(current.path.next_at)
        if relation.detour is not None and relation.detour.cut:
            due.append(relation.detour.next_at)
        renew_at = key_update.due_at(relation, current)
        if renew_at is not None:
            due.append(renew_at)
        if not current.confirmed:
            due.append(current.expires_at)
            if current.probe_at is not None:
                due.append(current.probe_at)
    return min(due) if due else None


def handle_timeout(table: Table, relation: Relation, now: float) -> None:
    """Do what is due; what it wants to send leaves with the next flush."""
    for presence in (*relation.former, *relation.unconfirmed):
        if presence.expires_at <= now:
            _expired(table, relation, presence, now)
    if relation.attempt is not None and relation.attempt.deadline <= now:
        connect.attempt_failed(table, relation, Reason.NO_ANSWER)
    mailbox.handle_timeout(table, relation, now)
    if table.lingering.get(relation.peer, inf) <= now:
        del table.lingering[relation.peer]
    current = relation.current
    if current is None:
        return
    if not current.confirmed:
        if current.expires_at <= now:
            relation.discard(current)
            relation.down(Reason.UNCONFIRMED, now)
            return
        if current.probe_at is not None and current.probe_at <= now:
            current.probe(now)
    if relation.liveness.silent_at is None:
        relation.lane.handle_timeout(now)
    active = relation.active()
    verdict = relation.liveness.handle_timeout(active, now)
    if verdict is Verdict.GONE:
        relation.close(Reason.SILENT, now)
        return
    if verdict is Verdict.SILENT:
        table.events.append(Silent(relation.peer, current.incarnation))
    if verdict is not Verdict.NOTHING:
        if relation.liveness.probed_since != now:
            relay.unanswered(table, relation, now)
        current.ping(now)
    relay.handle_timeout(table, relation, current, now)
    if not active and _idle_at(table, relation) <= now:
        relation.close(Reason.IDLE, now)
        return
    key_update.age(table, relation, current, now)


def make_room(table: Table, now: float) -> bool:
    """Close the next peer that can be spared, and forget it at once. False: those looked at are all
    of use; the next call looks at others."""
    for relation in list(islice(table.relations.values(), _LOOKED_AT)):
        if _spare(relation, now):
            relation.close(Reason.IDLE, now)
            for presence in relation.former:
                relation.discard(presence)
            relation.drop_if_unused()
            return True
        # To the end of the row, for which the table's order is of use to nobody else.
        del table.relations[relation.peer]
        table.relations[relation.peer] = relation
    return False


def _spare(relation: Relation, now: float) -> bool:
    presence = relation.current
    return (
        presence is not None
        and relation.attempt is None
        and relation.admission is None
        and not relation.unconfirmed
        and not relation.active()
        and max(relation.active_at, presence.bulk_at, presence.made_at) + SPARE_AFTER_S <= now
    )


def rest(table: Table, relation: Relation, now: float) -> bool:
    """Give back what an idle presence can make again. False: it is not idle."""
    presence = relation.current
    if (
        presence is None
        or relation.changed
        or relation.dirty
        or relation.attempt is not None
        or relation.admission is not None
        or relation.former
        or mailbox.next_timeout(table, relation) is not None
        or relation.unconfirmed
        or not presence.confirmed
        or relation.active()
        or max(relation.active_at, relation.liveness.heard_at) + _REST_S > now
    ):
        return False
    relation.lane.rest()
    presence.rest(now)
    return presence.resting


def rest_until(table: Table, relation: Relation) -> float:
    """The next deadline of a relation at rest."""
    idle_at = _idle_at(table, relation)
    assert relation.current is not None
    renew_at = key_update.due_at(relation, relation.current)
    return idle_at if renew_at is None else min(idle_at, renew_at)


def _idle_at(table: Table, relation: Relation) -> float:
    heard_at = max(relation.active_at, relation.liveness.heard_at)
    if relation.current is not None:
        heard_at = max(heard_at, relation.current.bulk_at)
    return heard_at + table.config.idle_timeout_s


def _expired(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    if presence in relation.unconfirmed:
        relation.lapse(presence, now)
        return
    if presence.closed_reason is None:
        # The other side may still send here; then it learns that nobody listens.
        table.out.append(presence.seal(frames.close(Reason.REPLACED)))
    relation.discard(presence)
    relation.drop_if_unused()
