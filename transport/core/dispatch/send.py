"""What may go to a peer now: its attempt, its P4, control frames, messages, its lane."""

from __future__ import annotations

from transport.core import frames
from transport.core.establish import accept, connect
from transport.core.peer import mailbox, transmit
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer

__all__ = ["flush"]


def flush(context: Context, peer: Peer, now: float) -> None:
    """Put everything that may go now into `out`."""
    if peer.attempt is not None:
        connect.flush_attempt(context, peer, now)
    if peer.pending_accept is not None:
        accept.accept_due(context, peer, now)
    for each in (*peer.former, *peer.unconfirmed):
        if each.control:
            transmit.send(context, peer, each, each.take_control())
        if each.directed:
            each.seal_directed(context.out)
    presence = peer.current
    if presence is None:
        return
    out = context.out
    path = presence.path
    if path.next_at is not None:
        for address, token in path.challenges_due(now):
            presence.direct(address, frames.challenge(token))
    if presence.directed:
        presence.seal_directed(out)
    if path.unsettled:
        if presence.control:
            transmit.send(context, peer, presence, presence.take_control())
        return
    mailbox.flush(context, peer, presence, now)
    if presence.control:
        transmit.flush_control(context, peer, presence, now)
    transmit.flush_lane(context, peer, now)
