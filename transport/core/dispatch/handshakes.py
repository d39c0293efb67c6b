"""Where the datagrams of handshakes go: to the attempt that waits for them, or to the responder."""

from __future__ import annotations

from transport.core.dispatch import receive
from transport.core.dispatch.places import place_of
from transport.core.errors import LocalError
from transport.core.establish import accept, connect
from transport.core.handshake.wire import echo_of_untrusted
from transport.core.initiator.simultaneous_open import PROBE_PREFIX
from transport.core.peer import teardown
from transport.core.peer.context import Context
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder
from transport.core.types import Address, Transmit

__all__ = ["poll", "receive_untrusted"]


def receive_untrusted(
    context: Context, responder: Responder, data: bytes, address: Address, now: float
) -> bool:
    """Take P1 to P4 or a probe. Whether it was a peer's, and did something."""
    echo = echo_of_untrusted(data)
    if echo is not None:
        peer = context.by_echo.get(echo)
        if peer is None:
            return False
        heard, answer = connect.attempt_datagram_untrusted(context, peer, data, address, now)
        if answer is not None:
            receive.take_answer_untrusted(context, peer, answer, len(data), address, now)
        if not peer.dropped:
            context.mark(peer)
        return heard
    if data.startswith(PROBE_PREFIX):
        connect.probe_untrusted(context, data, address, now)
        return False
    crowded = context.crowded
    result = responder.receive_untrusted(data, address, now, crowded=crowded)
    if isinstance(result, Reply):
        context.out.append(Transmit(result.data, address))
    elif result is not None:
        _admit(context, result, now)
    context.consulted = True
    return isinstance(result, Admitted)


def poll(context: Context, responder: Responder, now: float) -> bool:
    """Whether anybody was admitted."""
    context.consulted = found = False
    while (admitted := responder.poll(now)) is not None:
        found = True
        _admit(context, admitted, now)
    context.responder_at = responder.next_timeout()
    return found


def _admit(context: Context, admitted: Admitted, now: float) -> None:
    try:
        peer = place_of(context, admitted.peer, now, ours=False)
    except LocalError:
        return  # no place is left: to this peer, we are not there
    accept.admit(context, peer, admitted, now)
    teardown.drop_if_unused(context, peer)
    if not peer.dropped:
        context.mark(peer)
