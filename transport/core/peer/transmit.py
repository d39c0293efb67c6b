"""How a peer is sent to: sealed datagrams, directly or by way of a relay, and its lane."""

from __future__ import annotations

from transport.core.crypto.aead import SEALED_PAYLOAD_SIZE_MAX
from transport.core.lane.lane import HEADER_SIZE_MAX
from transport.core.lane.queue import BODY_SIZE_MAX
from transport.core.peer import relay
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.types import Transmit

__all__ = ["flush_control", "flush_lane", "send"]

_named = tuple.__new__  # what a named tuple's own constructor calls, without the call around it
_LANE_ROOM = HEADER_SIZE_MAX + BODY_SIZE_MAX


def flush_control(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """Control frames, with as much of the lane as fits behind them."""
    control = presence.take_control()
    lane = peer.lane
    number = lane.sender.next_number
    frame = lane.packet_frame(now, min(SEALED_PAYLOAD_SIZE_MAX - len(control), _LANE_ROOM))
    if frame is not None:
        peer.active_at = now
        if presence.watched is None and number != lane.sender.next_number:
            presence.watched = (number, presence.sealer.next_packet_number)
    elif lane.receiver.ack_at is not None:
        frame = lane.ack_frame(now)
    send(context, peer, presence, control + (frame or b""))


def flush_lane(context: Context, peer: Peer, now: float) -> None:
    """Put what the lane may send now into `out`."""
    presence = peer.current
    if presence is None or presence.path.unsettled:
        return
    lane = peer.lane
    sender = lane.sender
    detour = peer.detour
    while sender.queue.entries or sender.lost:
        number = sender.next_number
        frame = lane.packet_frame(now, _LANE_ROOM)
        if frame is None:
            break
        peer.active_at = now
        if presence.watched is None and number != sender.next_number:
            presence.watched = (number, presence.sealer.next_packet_number)
        path = presence.path
        if path.use_candidate or (detour is not None and detour.cut):
            send(context, peer, presence, frame)
        else:
            datagram = presence.sealer.seal(frame)
            context.out.append(_named(Transmit, (datagram, path.address)))
    ack_at = lane.receiver.ack_at
    if ack_at is not None and ack_at <= now:
        send(context, peer, presence, lane.ack_frame(now))


def send(context: Context, peer: Peer, presence: Presence, payload: bytes) -> None:
    """One datagram, to where the peer is reached or by way of a relay."""
    transmit = presence.seal(payload)
    path = presence.path
    if path.unsettled and not path.takes(transmit.address, len(transmit.data)):
        return
    detour = peer.detour
    if detour is None or not detour.cut or not relay.through(context, peer, transmit.data):
        context.out.append(transmit)
