"""The responder's side of a handshake: an admitted P3, the reply its P4 carries, confirmation.

Nothing a P3 says replaces anything until a datagram has opened under the keys that follow from it.
"""

from __future__ import annotations

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
from transport.core.events import Reason
from transport.core.lane.tombstones import Evidence
from transport.core.peer import deliver, teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.peer.pending_accept import PendingAccept
from transport.core.presence.presence import Presence
from transport.core.responder.incoming import Admitted
from transport.core.types import Transmit

__all__ = ["accept_due", "admit", "opened_elsewhere"]

_UNCONFIRMED_PER_PEER_MAX = 2
_CLOSE = bytes((frames.CLOSE,))


def admit(context: Context, peer: Peer, admitted: Admitted, now: float) -> None:
    """Take an authenticated P3: hand its first data up unless it would replace something."""
    if peer.pending_accept is not None:
        _accept(context, peer, now)
    if not context.has_room(admitted.address_validated):
        return
    try:
        lane_id, known, offset = lane_open_untrusted(admitted.first_data)
    except WireError:
        return
    connect.met(context, peer)
    lane, held = peer.lane, b""
    theirs = announced_id(lane, lane_id, known)
    if is_other_life(peer, admitted.incarnation, theirs):
        lane = next_lane(context, peer)
        theirs = announced_id(lane, lane_id, known)
        if peer.current is not None or peer.unconfirmed:
            # Which of the two lives is the later one shows when a datagram opens.
            held = admitted.first_data
            lane.peer_id = theirs
        else:
            begin_anew(context, peer, lane, now)
    stale = theirs != lane_id
    if stale and not held:
        lane.peer_id = theirs
    elif not held:
        bind(context, peer, admitted.incarnation, lane_id)
        if admitted.address_validated:
            peer.evidence = max(peer.evidence, Evidence.ADDRESS)
    deadline = now + context.config.accept_delay_s
    peer.pending_accept = PendingAccept(admitted, lane, held, deadline)
    if held or stale:
        return  # if stale, P4 tells the peer that it speaks of a life of ours that is over
    report_up(context, peer, admitted.address, initiator=False)
    if not deliver.take_first_data_untrusted(context, peer, admitted.first_data, offset, now):
        peer.pending_accept.deadline = now  # nobody will reply to it


def accept_due(context: Context, peer: Peer, now: float) -> None:
    """Send P4 if there is a reply for it to carry, or it has waited long enough."""
    pending = peer.pending_accept
    if pending is None:
        return
    replying = pending.lane is peer.lane and peer.lane.sender.ready()
    if replying or pending.deadline <= now or pending.lane is not peer.lane:
        _accept(context, peer, now)


def _accept(context: Context, peer: Peer, now: float) -> None:
    """Send P4, unless there are too many presences that nobody has confirmed."""
    pending = peer.pending_accept
    assert pending is not None
    peer.pending_accept = None
    admitted = pending.admitted
    if not context.has_room(admitted.address_validated):
        # Others were quicker while it waited for a reply.
        if peer.current is None and not peer.unconfirmed:
            teardown.down(context, peer, Reason.UNCONFIRMED, now)
        return
    reply = _reply(peer, pending, now)
    message_cid, bulk_cid = context.draw_cids()
    established = admitted.accept(reply, message_cid, bulk_cid, context.incarnation, now)
    presence = Presence(
        established,
        admitted.address,
        peer.key,
        pending.lane,
        context.side,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        initiator=False,
        now=now,
    )
    presence.held_first_data = pending.held_first_data
    context.by_cid[message_cid] = presence
    peer.unconfirmed = (*peer.unconfirmed, presence)
    pushed_out = context.count(presence, admitted.address_validated)
    if len(peer.unconfirmed) > _UNCONFIRMED_PER_PEER_MAX:
        teardown.discard(context, peer, peer.unconfirmed[0])
    if established.rtt_s is not None:
        peer.rtt.guess(established.rtt_s)
    context.out.append(Transmit(established.datagram, admitted.address))
    if pushed_out is not None:
        teardown.lapse(context, context.by_key[pushed_out.key], pushed_out, now)


def _reply(peer: Peer, pending: PendingAccept, now: float) -> bytes:
    """What P4 carries: which life of the lane this is, and as much of it as fits."""
    lane = pending.lane
    reply = frames.lane_open(lane.id, lane.peer_id)
    if lane is peer.lane and peer.current is None:
        packet = lane.packet_frame(now, pending.admitted.reply_size_max - len(reply))
        if packet is None and lane.receiver.started:
            packet = lane.ack_frame(now)
        reply += packet or b""
    return reply


def opened_elsewhere(
    context: Context, peer: Peer, presence: Presence, payload: bytes, now: float
) -> bool:
    """A datagram opened under a presence that is not the current, confirmed one.

    Returns False if its frames do not count.
    """
    if presence.closed_reason is not None:
        # The peer did not hear that it is over, unless it says so itself: two sides that have both
        # closed must not go on telling each other.
        heard = payload[:1] == _CLOSE
        if not heard and now - presence.told_at >= peer.rtt.timeout_s():
            presence.told_at = now
            presence.say(frames.close(min(presence.closed_reason, 255)))
        return False
    if presence in peer.former:
        presence.confirmed = True
        presence.expires_at = now + context.config.drain_s
        if payload and payload[:1] != _CLOSE:
            settle(context, peer, presence, now)
        return True
    if presence.confirmed:
        return True
    presence.confirmed = True
    presence.probe_at = None
    context.moved.pop(presence, None)
    if presence in peer.unconfirmed:
        peer.unconfirmed = tuple(p for p in peer.unconfirmed if p is not presence)
        context.settled(presence)
        _confirmed(context, peer, presence, now)
    return presence.closed_reason is None


def _confirmed(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    if presence.lane is not peer.lane:
        if not presence.held_first_data:
            # Its life of the lane has ended between P3 and now: only the peer can begin anew, and
            # it must be told.
            presence.closed_reason = Reason.RESTARTED
            presence.told_at = now
            teardown.retire(context, peer, presence, now)
            presence.say(frames.close(Reason.RESTARTED))
            return
        begin_anew(context, peer, presence.lane, now)
    bind(context, peer, presence.incarnation, presence.lane.peer_id)
    promote(context, peer, presence, now)
    held = presence.held_first_data
    if held:
        presence.held_first_data = b""
        _, known, offset = lane_open_untrusted(held)
        if known in (0, peer.lane.id):
            deliver.take_first_data_untrusted(context, peer, held, offset, now)
    # What P4 carried has arrived, or nothing would open.
    peer.lane.sender.resume(presence.made_at)
