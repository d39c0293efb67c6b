"""A pair of sides, and a run of P1 to P4 between them that can be stopped and bent anywhere."""

from __future__ import annotations

import random as _random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from nacl import bindings

from transport.core.crypto import keys
from transport.core.crypto.keys import Identity
from transport.core.handshake.negotiation import Established, HandshakeConfig
from transport.core.initiator.initiator import Initiator
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder
from transport.core.types import Address, RandomBytes
from utp_native import noise

HOME: Address = ("192.0.2.1", 4001)
AWAY: Address = ("198.51.100.7", 4002)
NOW = 1000.0
MESSAGE_CID, BULK_CID = b"mmmmmmmm", b"bbbbbbbb"
RESPONDER_MESSAGE_CID, RESPONDER_BULK_CID = b"MMMMMMMM", b"BBBBBBBB"


def seeded(seed: int) -> RandomBytes:
    """Reproducible randomness, as long as a test needs it."""
    return _random.Random(seed).randbytes


@dataclass
class Pair:
    """An initiator's identity and a responder, and the clock between them."""

    seed: int = 1
    config: HandshakeConfig = field(default_factory=HandshakeConfig)
    responder_config: HandshakeConfig | None = None
    now: float = NOW

    def __post_init__(self) -> None:
        self.random = seeded(self.seed)
        self.here = Identity.generate(self.random)
        self.there = Identity.generate(self.random)
        self.responder = Responder(
            self.there, self.responder_config or self.config, self.random, self.now
        )

    def initiator(
        self,
        identity: Identity | None = None,
        config: HandshakeConfig | None = None,
        *,
        anonymous: bool = False,
    ) -> Initiator:
        return Initiator(
            identity or self.here,
            self.there.key,
            config or self.config,
            self.random,
            message_cid=MESSAGE_CID,
            bulk_cid=BULK_CID,
            incarnation=11,
            anonymous=anonymous,
        )

    def give(self, datagram: bytes, address: Address = HOME) -> Reply | Admitted | None:
        return self.responder.receive_untrusted(datagram, address, self.now)

    def challenge(self, hello: bytes, address: Address = HOME) -> bytes:
        answer = self.give(hello, address)
        assert isinstance(answer, Reply)
        return answer.data

    def to_p3(
        self, initiator: Initiator, first_data: bytes = b"first", address: Address = HOME
    ) -> bytes:
        p2 = self.challenge(initiator.hello(self.now), address)
        assert initiator.receive_challenge_untrusted(p2, self.now)
        return initiator.initiate(first_data, self.now)

    def admit(self, p3: bytes, address: Address = HOME) -> Admitted:
        admitted = self.give(p3, address)
        assert isinstance(admitted, Admitted)
        return admitted

    def accept(self, admitted: Admitted, reply: bytes = b"reply") -> Established:
        return admitted.accept(reply, RESPONDER_MESSAGE_CID, RESPONDER_BULK_CID, 22, self.now)

    def run(self) -> tuple[Established, Established]:
        """A whole handshake: the initiator's and the responder's result."""
        initiator = self.initiator()
        there = self.accept(self.admit(self.to_p3(initiator)))
        here = initiator.receive_accept_untrusted(there.datagram, self.now)
        assert here is not None
        return here, there


def agree(here: Established, there: Established) -> bool:
    """Whether both sides hold the same presence, each from its own point of view."""
    ours, theirs = here.keys, there.keys
    return (
        here.handshake_hash == there.handshake_hash
        and here.suite == there.suite
        and ours.rekey == theirs.rekey
        and (ours.message_send, ours.message_send_header)
        == (theirs.message_receive, theirs.message_receive_header)
        and (ours.message_receive, ours.message_receive_header)
        == (theirs.message_send, theirs.message_send_header)
        and (ours.bulk_send, ours.bulk_send_header)
        == (theirs.bulk_receive, theirs.bulk_receive_header)
        and (ours.bulk_receive, ours.bulk_receive_header)
        == (theirs.bulk_send, theirs.bulk_send_header)
    )


def flip(data: bytes, bit: int) -> bytes:
    broken = bytearray(data)
    broken[bit // 8] ^= 1 << bit % 8
    return bytes(broken)


@dataclass
class Counted:
    """How often the expensive primitives ran; the real ones still do."""

    diffie_hellman: int = 0
    base: int = 0
    signatures: int = 0


@contextmanager
def counted_primitives() -> Iterator[Counted]:
    """Count X25519 and signing where all of the core calls them: through one module, and from
    native Noise messages through one table of functions."""
    counts = Counted()
    multiply, base, sign = keys._multiply, keys._multiply_base, bindings.crypto_sign

    def counting_multiply(point: object, secret: bytes, public: bytes) -> int:
        counts.diffie_hellman += 1
        return int(multiply(point, secret, public))

    def counting_base(point: object, secret: bytes) -> int:
        counts.base += 1
        return int(base(point, secret))

    def counting_sign(message: bytes, secret: bytes) -> bytes:
        counts.signatures += 1
        return sign(message, secret)

    kind = "int(unsigned char *, const unsigned char *, const unsigned char *)"
    native = noise.ffi.cast(kind.replace("int(", "int(*)(", 1), noise.functions.multiply)

    def counting_native(point: object, secret: object, public: object) -> int:
        counts.diffie_hellman += 1
        return int(native(point, secret, public))

    called_back = noise.ffi.callback(kind, counting_native)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise.functions, "multiply", noise.ffi.cast("void *", called_back))
        patch.setattr(keys, "_multiply", counting_multiply)
        patch.setattr(keys, "_multiply_base", counting_base)
        patch.setattr(bindings, "crypto_sign", counting_sign)
        yield counts


__all__ = [
    "AWAY",
    "HOME",
    "NOW",
    "Counted",
    "Pair",
    "agree",
    "counted_primitives",
    "flip",
    "seeded",
]
