"""What a peer's packets bring: entries handed up, room for more, the end of one that lies."""

from __future__ import annotations

from contextlib import suppress

from transport.core.errors import WireError
from transport.core.events import EntriesReceived, LaneRelieved, Reason
from transport.core.frames import LANE, LANE_KIND_MASK
from transport.core.peer import teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence

__all__ = ["broken", "lane_moved", "take_first_data_untrusted", "take_packet_untrusted"]

_named = tuple.__new__  # what a named tuple's own constructor calls, without the call around it


def take_packet_untrusted(
    context: Context, peer: Peer, presence: Presence, payload: bytes, offset: int, now: float
) -> None:
    """The lane packet from `offset` to the payload's end."""
    entries: list[tuple[int, bytes]] = []
    lane = peer.lane
    lied = False
    try:
        lane.receive_packet_untrusted(payload, offset, now, entries)
    except WireError:
        lied = True
    watched = presence.watched
    if watched is not None and watched[0] < lane.sender.unacknowledged:
        presence.watched = None
        presence.sealer.acknowledge(watched[1])
    if lane.sender.full:
        lane_moved(context, peer, presence)
    if entries:
        peer.active_at = now
        what = (peer.key, presence.incarnation, entries)
        context.events.append(_named(EntriesReceived, what))
    if lied:
        broken(context, peer, presence, now)


def take_first_data_untrusted(
    context: Context, peer: Peer, data: bytes, offset: int, now: float
) -> bool:
    """Act on the lane packet in a P3's first data; nothing else counts there.

    Whether it brought anything that may be answered.

    Malformed entries are dropped with everything behind them: there are no keys yet to tell
    the peer, and its lane will not get far under those that follow.
    """
    if offset >= len(data) or data[offset] & LANE_KIND_MASK != LANE:
        return False
    entries: list[tuple[int, bytes]] = []
    with suppress(WireError):
        peer.lane.receive_packet_untrusted(data, offset, now, entries)
    if entries:
        assert peer.incarnation is not None
        peer.active_at = now
        context.events.append(EntriesReceived(peer.key, peer.incarnation, entries))
    return bool(entries)


def lane_moved(context: Context, peer: Peer, presence: Presence) -> None:
    """Something may have been acknowledged."""
    sender = peer.lane.sender
    presence.lane_acknowledged(sender.unacknowledged)
    if sender.full and sender.relieved():
        context.events.append(LaneRelieved(peer.key))


def broken(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """The peer broke the rules under authentic keys: end it, and say so."""
    peer.changed = True
    if presence is peer.current:
        teardown.close(context, peer, Reason.PROTOCOL, now)
    else:
        teardown.discard(context, peer, presence)
