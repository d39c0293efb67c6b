"""What time does to a peer: probes, silence, idle expiry, retransmission, draining."""

from __future__ import annotations

from math import inf

from transport.core import frames
from transport.core.establish import connect, key_update
from transport.core.events import Reason, Silent
from transport.core.peer import mailbox, relay, teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.liveness import Verdict
from transport.core.presence.presence import Presence

__all__ = ["handle_timeout", "next_timeout", "rest", "rest_until"]

_REST_S = 1.0
"""A peer that is not wanted and was not heard for so long is put to rest."""
_UNSETTLED_S = 0.1  # how often messages are looked at while the peer's address is not settled


def next_timeout(context: Context, peer: Peer, now: float) -> float | None:
    """The earliest time at which anything of the peer is due."""
    due: list[float] = []
    if peer.attempt is not None:
        due.append(min(peer.attempt.next_at, peer.attempt.deadline))
    if peer.pending_accept is not None:
        due.append(peer.pending_accept.deadline)
    current = peer.current
    if peer.key in context.mail:
        mail_at = mailbox.next_timeout(context, peer)
        if mail_at is not None:
            if current is not None and current.path.unsettled:
                # Nothing is sent to where the peer has moved before that is settled; giving up
                # goes on.
                mail_at = max(mail_at, now + _UNSETTLED_S)
            due.append(mail_at)
    if context.lingering and peer.key in context.lingering:
        due.append(context.lingering[peer.key])
    for presence in (*peer.former, *peer.unconfirmed):
        due.append(presence.expires_at)
    if current is not None:
        _current_due(context, peer, current, now, due)
    return min(due) if due else None


def _current_due(
    context: Context, peer: Peer, current: Presence, now: float, due: list[float]
) -> None:
    """Add what is due because there is a presence."""
    active = teardown.active(context, peer)
    alive = peer.liveness.next_timeout(active)
    if alive is not None:
        due.append(alive)
    if not active:
        due.append(_idle_at(context, peer))
        rest_at = max(peer.active_at, peer.liveness.heard_at) + _REST_S
        # What keeps it from resting, a path that is looked at for instance, does not last.
        due.append(rest_at if rest_at > now else now + _REST_S)
    path = current.path
    if peer.liveness.silent_at is None and not path.unsettled:
        lane = peer.lane.next_timeout()
        if lane is not None:
            due.append(lane)
    if path.next_at is not None:
        due.append(path.next_at)
    if peer.detour is not None and peer.detour.cut:
        due.append(peer.detour.next_at)
    key_update_at = key_update.due_at(peer, current)
    if key_update_at is not None:
        due.append(key_update_at)
    if not current.confirmed:
        due.append(current.expires_at)
        if current.probe_at is not None:
            due.append(current.probe_at)


def handle_timeout(context: Context, peer: Peer, now: float) -> None:
    """Do what is due; what it wants to send leaves with the next flush."""
    for presence in (*peer.former, *peer.unconfirmed):
        if presence.expires_at <= now:
            _expired(context, peer, presence, now)
    if peer.attempt is not None and peer.attempt.deadline <= now:
        connect.attempt_failed(context, peer, Reason.NO_ANSWER)
    if peer.key in context.mail:
        mailbox.handle_timeout(context, peer, now)
    if context.lingering.get(peer.key, inf) <= now:
        del context.lingering[peer.key]
    current = peer.current
    if current is None:
        return
    if not current.confirmed:
        if current.expires_at <= now:
            teardown.discard(context, peer, current)
            teardown.down(context, peer, Reason.UNCONFIRMED, now)
            return
        if current.probe_at is not None and current.probe_at <= now:
            current.probe(now)
    if peer.liveness.silent_at is None:
        peer.lane.handle_timeout(now)
    _look_after(context, peer, current, now)


def _look_after(context: Context, peer: Peer, current: Presence, now: float) -> None:
    """The presence: is the peer heard, which way is it reached, is it wanted, how old are the
    keys."""
    active = teardown.active(context, peer)
    verdict = peer.liveness.handle_timeout(active, now)
    if verdict is Verdict.GONE:
        teardown.close(context, peer, Reason.SILENT, now)
        return
    if verdict is Verdict.SILENT:
        context.events.append(Silent(peer.key, current.incarnation))
    if verdict is not Verdict.NOTHING:
        if peer.liveness.probed_since != now:
            relay.unanswered(context, peer, now)
        current.ping(now)
    relay.handle_timeout(context, peer, current, now)
    if not active and _idle_at(context, peer) <= now:
        teardown.close(context, peer, Reason.IDLE, now)
        return
    key_update.age(context, peer, current, now)


def rest(context: Context, peer: Peer, now: float) -> bool:
    """Give back what an idle presence can make again. False: it is not idle."""
    presence = peer.current
    if (
        presence is None
        or peer.changed
        or peer.dirty
        or peer.attempt is not None
        or peer.pending_accept is not None
        or peer.former
        or mailbox.next_timeout(context, peer) is not None
        or peer.unconfirmed
        or not presence.confirmed
        or teardown.active(context, peer)
        or max(peer.active_at, peer.liveness.heard_at) + _REST_S > now
    ):
        return False
    peer.lane.rest()
    presence.rest(now)
    return presence.resting


def rest_until(context: Context, peer: Peer) -> float:
    """The next deadline of a peer at rest."""
    idle_at = _idle_at(context, peer)
    assert peer.current is not None
    key_update_at = key_update.due_at(peer, peer.current)
    return idle_at if key_update_at is None else min(idle_at, key_update_at)


def _idle_at(context: Context, peer: Peer) -> float:
    heard_at = max(peer.active_at, peer.liveness.heard_at)
    if peer.current is not None:
        heard_at = max(heard_at, peer.current.bulk_at)
    return heard_at + context.config.idle_timeout_s


def _expired(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    if presence in peer.unconfirmed:
        teardown.lapse(context, peer, presence, now)
        return
    if presence.closed_reason is None:
        # The other side may still send here; then it learns that nobody listens.
        context.out.append(presence.seal(frames.close(Reason.REPLACED)))
    teardown.discard(context, peer, presence)
    teardown.drop_if_unused(context, peer)
