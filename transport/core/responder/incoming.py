"""Incoming handshakes: what is admitted, an authenticated P3 that waits for its P4."""

from __future__ import annotations

from transport.core.constants import AMPLIFICATION_MAX, FIRST_DATA_SIZE_MAX
from transport.core.crypto.keys import KeyPair
from transport.core.crypto.noise import HandshakeState
from transport.core.errors import LocalError
from transport.core.handshake.negotiation import Established, HandshakeConfig, epoch_keys
from transport.core.handshake.transient import Transient, ticks
from transport.core.handshake.wire import (
    ACCEPT_OVERHEAD_MAX,
    ACCEPT_PREFIX,
    REPLY_SIZE_MAX,
    Sealed,
    encode_sealed,
    is_handshake,
)
from transport.core.types import Address, RandomBytes

_HELD_TICKS_MAX = 2**32 - 1


class Admitted:
    """An authenticated P3. Call `accept` within 25 ms, or drop it: then it is never answered."""

    __slots__ = (
        "_accepted",
        "_at",
        "_config",
        "_echo",
        "_name",
        "_random",
        "_sealed",
        "_state",
        "_suite",
        "_transient",
        "address",
        "address_validated",
        "bulk_cid",
        "clock_offset_s",
        "first_data",
        "handshake_hash",
        "incarnation",
        "message_cid",
        "peer",
        "reply_size_max",
        "rtt_s",
    )

    peer: bytes
    """Ed25519 key of the initiator."""
    incarnation: int
    first_data: bytes
    message_cid: bytes
    bulk_cid: bytes
    """The initiator's connection ids, to send to."""
    reply_size_max: int
    """What `accept` takes, bytes: P4 must not amplify where no cookie proved the address."""
    address: Address
    """Where P3 came from and P4 goes to."""
    address_validated: bool
    """False for 0-RTT: until a datagram opens, send there at most three times what came."""
    rtt_s: float | None
    """Round trip of P2 to P3, without the initiator's own time; None for 0-RTT."""
    clock_offset_s: float | None
    """The initiator's clock minus ours."""

    def __init__(
        self,
        peer: bytes,
        sealed: Sealed,
        state: HandshakeState,
        *,
        address: Address,
        suite: int,
        echo: bytes,
        transient: Transient,
        name: int | bytes,
        config: HandshakeConfig,
        random: RandomBytes,
        now: float,
        rtt_s: float | None,
        size: int,
    ) -> None:
        self.peer = peer
        self.address = address
        self.incarnation = sealed.incarnation
        self.first_data = sealed.data
        self.message_cid = sealed.message_cid
        self.bulk_cid = sealed.bulk_cid
        self.address_validated = rtt_s is not None
        self.rtt_s = rtt_s
        self.clock_offset_s = None if rtt_s is None else sealed.time_us / 1e6 + rtt_s / 2 - now
        self.reply_size_max = REPLY_SIZE_MAX
        if not self.address_validated:
            allowed = AMPLIFICATION_MAX * size - ACCEPT_OVERHEAD_MAX
            self.reply_size_max = min(REPLY_SIZE_MAX, allowed)
        self._state = state
        self._suite = suite
        self._echo = echo
        self._transient = transient
        self._name = name
        self._config = config
        self._random = random
        self._at = now
        self._accepted = False

    def accept(
        self, reply: bytes, message_cid: bytes, bulk_cid: bytes, incarnation: int, now: float
    ) -> Established:
        """Make P4, with fresh `E3`, one Diffie-Hellman.

        The ids are those this side wants to be sent to. Raises `LocalError` if called twice, for a
        reply above `reply_size_max`, or for ids a peer would refuse.
        """
        if self._accepted:
            raise LocalError("accepted already")
        if len(reply) > self.reply_size_max:
            raise LocalError("reply too long")
        check_cids(message_cid, bulk_cid)
        self._accepted = True
        state = self._state
        state.set_ephemeral(KeyPair.generate(self._random))
        payload = self._payload(reply, message_cid, bulk_cid, incarnation, now)
        datagram = ACCEPT_PREFIX + self._echo + state.write_message(payload)
        self._transient.keep_answer(self._name, datagram)
        return Established(
            datagram=datagram,
            reply=b"",
            peer=self.peer,
            incarnation=self.incarnation,
            handshake_hash=state.hash,
            suite=self._suite,
            message_cid=self.message_cid,
            bulk_cid=self.bulk_cid,
            keys=epoch_keys(*state.split(), self._suite, initiator=False),
            rtt_s=self.rtt_s,
            clock_offset_s=self.clock_offset_s,
        )

    def _payload(
        self, reply: bytes, message_cid: bytes, bulk_cid: bytes, incarnation: int, now: float
    ) -> bytes:
        sealed = Sealed(
            message_cid,
            bulk_cid,
            incarnation,
            round((now + self._config.clock_origin_s) * 1e6),
            min(_HELD_TICKS_MAX, ticks(max(0.0, now - self._at))),
            b"",
            self._config.lists,
            reply,
        )
        return encode_sealed(sealed, initiator=False)

    def __repr__(self) -> str:
        return f"Admitted({self.peer.hex()[:16]}, incarnation={self.incarnation})"


def check_cids(message_cid: bytes, bulk_cid: bytes) -> None:
    """Raises `LocalError` for connection ids no peer accepts."""
    if len(message_cid) != 8 or len(bulk_cid) != 8 or message_cid == bulk_cid:
        raise LocalError("connection ids are two different ones of 8 bytes")
    if is_handshake(message_cid) or is_handshake(bulk_cid):
        raise LocalError("a connection id must not begin with the handshake's magic")


assert FIRST_DATA_SIZE_MAX <= REPLY_SIZE_MAX
