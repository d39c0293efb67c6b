"""P4: what it takes to open it, and the finished handshake it makes."""

from __future__ import annotations

from typing import NamedTuple

from transport.core.crypto.noise import HandshakeState
from transport.core.handshake.negotiation import (
    Established,
    HandshakeConfig,
    epoch_keys,
    negotiate_untrusted,
)
from transport.core.handshake.transient import KnownTransient, seconds
from transport.core.handshake.wire import Challenge, decode_sealed_untrusted


class Sent(NamedTuple):
    """A P3 under way."""

    state: HandshakeState
    handshake: int
    challenge: Challenge | None
    """None: it was sent at once."""
    known: KnownTransient | None
    """None: there is no 0-RTT to be had from it."""
    at: float

    def open_untrusted(self, message: bytes) -> tuple[HandshakeState, bytes]:
        """The run's end and P4's payload. Raises `WireError` if it does not answer this P3."""
        # On a copy: a forged P4 must not spoil the state the true one needs.
        state = self.state.fork()
        return state, state.read_message_untrusted(message)


def finish_untrusted(
    sent: Sent,
    opened: tuple[HandshakeState, bytes],
    peer: bytes,
    config: HandshakeConfig,
    hello_rtt_s: float | None,
    now: float,
) -> Established:
    """The handshake's result. Raises `WireError` for a payload no honest responder seals."""
    state, payload = opened
    sealed = decode_sealed_untrusted(payload, initiator=False)
    suite, _ = negotiate_untrusted(config.lists, sealed.lists, sent.handshake)
    held_s = seconds(sealed.held_ticks)
    # Either may include the wait for a retransmission, so the lesser is nearer.
    rtt_s = max(0.0, now - sent.at - held_s)
    if hello_rtt_s is not None:
        rtt_s = min(rtt_s, hello_rtt_s)
    answered_at = sealed.time_us / 1e6
    return Established(
        datagram=b"",
        reply=sealed.data,
        peer=peer,
        incarnation=sealed.incarnation,
        handshake_hash=state.hash,
        suite=suite,
        message_cid=sealed.message_cid,
        bulk_cid=sealed.bulk_cid,
        keys=epoch_keys(*state.split(), suite, initiator=True),
        rtt_s=rtt_s,
        clock_offset_s=((answered_at - held_s - sent.at) + (answered_at - now)) / 2,
    )
