"""How what there is with a peer ends: a presence, the lane, the peer itself."""

from __future__ import annotations

from transport.core import frames
from transport.core.events import BulkClosed, PresenceDown, Reason
from transport.core.lane.tombstones import Evidence, Tombstone
from transport.core.peer import mailbox, transmit
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.presence.spare_epochs import ids_of

__all__ = [
    "active",
    "close",
    "discard",
    "down",
    "drop_if_unused",
    "forget_lane",
    "lapse",
    "retire",
]

_FORMER_MAX = 2


def active(context: Context, peer: Peer) -> bool:
    """The peer is wanted: kept, awaited, or owed something."""
    if peer.kept or peer.liveness.quick or not peer.lane.quiet:
        return True
    if peer.key in context.lingering:
        return True
    mail = mailbox.mailbox_of(context, peer)
    return mail is not None and mail.owing


def close(context: Context, peer: Peer, reason: int, now: float) -> None:
    """Tell the peer, and keep the presence a while to tell it again if it did not hear."""
    for presence in peer.former:
        if presence.closed_reason is None:
            # The peer may still be there, if it did not hear of the newer one.
            presence.closed_reason = reason
    for presence in [*peer.unconfirmed, *([peer.current] if peer.current else [])]:
        presence.take_control()
        transmit.send(context, peer, presence, frames.close(min(reason, 255)))
        if presence is peer.current:
            presence.closed_reason = reason
            presence.told_at = now
            retire(context, peer, presence, now)
        else:
            discard(context, peer, presence)
    peer.pending_accept = None
    down(context, peer, reason, now)


def retire(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """Let `presence` drain."""
    if presence is peer.current:
        peer.current = None
    presence.expires_at = now + context.config.drain_s
    presence.probe_at = None
    peer.former = (*peer.former, presence)
    while len(peer.former) > _FORMER_MAX:
        discard(context, peer, peer.former[0])


def discard(context: Context, peer: Peer, presence: Presence) -> None:
    """Erase `presence`; its datagrams are unknown from here on."""
    if presence is peer.current:
        peer.current = None
    peer.former = tuple(p for p in peer.former if p is not presence)
    peer.unconfirmed = tuple(p for p in peer.unconfirmed if p is not presence)
    context.settled(presence)
    context.by_cid.pop(presence.message_cid, None)
    if context.spares or context.moved:
        _withdraw_spares(context, presence)
    presence.erase()


def _withdraw_spares(context: Context, presence: Presence) -> None:
    """They die with their epoch."""
    if context.spares:
        for ids in ids_of(presence):
            spare = context.spares.get(ids.message)
            if spare is not None and spare.presence is presence:
                del context.spares[ids.message]
    context.moved.pop(presence, None)


def lapse(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """Give up an unconfirmed presence; with the last one goes what was told of the peer."""
    discard(context, peer, presence)
    if peer.reported and peer.current is None and not peer.unconfirmed:
        down(context, peer, Reason.UNCONFIRMED, now)
    drop_if_unused(context, peer)


def down(context: Context, peer: Peer, reason: int, now: float) -> None:
    """No presence is left: tell, and forget the lane unless the peer is kept."""
    if peer.reported:
        peer.reported = False
        incarnation = peer.incarnation
        assert incarnation is not None
        context.events.append(BulkClosed(peer.key))
        context.events.append(PresenceDown(peer.key, incarnation, reason))
    peer.liveness.heard(now)
    if peer.detour is not None:
        peer.detour.cut = False
    if not peer.kept and peer.attempt is None:
        forget_lane(context, peer, reason)
        peer.incarnation = None
        peer.restarted = False
    drop_if_unused(context, peer)


def forget_lane(context: Context, peer: Peer, reason: int) -> None:
    """Drop the lane; of one the peer does not know that it was there, keep what arrived."""
    _end_lane(context, peer, reason)
    peer.lane = peer.new_lane(context.config, context.random)


def _end_lane(context: Context, peer: Peer, reason: int) -> None:
    if peer.dropped:
        return  # It was ended then, and what is remembered of it says on what evidence.
    mailbox.end(context, peer, reason)
    lane = peer.lane
    if not lane.met and lane.started and peer.incarnation is not None:
        tombstone = Tombstone(peer.incarnation, lane.peer_id, lane.receiver)
        ours = peer.kept or peer.key in context.known
        evidence = Evidence.OURS if ours else peer.evidence
        context.tombstones.remember(peer.key, tombstone, evidence)
    peer.evidence = Evidence.NONE


def drop_if_unused(context: Context, peer: Peer) -> None:
    """Let the peer go if nothing keeps it."""
    if (
        peer.kept
        or peer.reported
        or peer.current is not None
        or peer.attempt is not None
        or peer.pending_accept is not None
        or peer.former
        or peer.unconfirmed
    ):
        return
    _end_lane(context, peer, Reason.FORGOTTEN)
    peer.dropped = True
    context.by_key.pop(peer.key, None)
    context.masks.pop(peer.key, None)
    context.lingering.pop(peer.key, None)
