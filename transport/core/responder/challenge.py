"""P2: made of P1 and the current transient, and made again of what P3 brings back.

One keyed hash, nothing remembered but how many were made.
"""

from __future__ import annotations

from hashlib import blake2b

from transport.core.constants import ECHO_SIZE, HASH_SIZE, REFUSAL_HASH_SIZE, VERSION
from transport.core.handshake.circle import Circles, CircleSecret
from transport.core.handshake.cookie import make_cookie
from transport.core.handshake.negotiation import HandshakeConfig, best_common
from transport.core.handshake.transient import Transient, Transients
from transport.core.handshake.wire import (
    CHALLENGE_PREFIX,
    CHALLENGE_SIZE,
    PREFIX_SIZE,
    Challenge,
    Initiate,
    decode_hello_untrusted,
    encode_challenge,
    encode_refusal,
    with_hint,
    without_hint,
)
from transport.core.responder.admission_control import AdmissionControl
from transport.core.types import Address

_REFUSAL_AT = PREFIX_SIZE + ECHO_SIZE


class Challenger:
    """Answers hellos, and P3s that have to begin again."""

    __slots__ = (
        "_admission",
        "_circles",
        "_config",
        "_refusal_body",
        "_transients",
        "refusal_hash",
    )

    def __init__(
        self,
        config: HandshakeConfig,
        transients: Transients,
        circles: Circles | None,
        admission: AdmissionControl,
    ) -> None:
        self._config = config
        self._transients = transients
        self._circles = circles
        self._admission = admission
        refusal = encode_refusal(bytes(ECHO_SIZE), config.refusal_lists)
        self._refusal_body = refusal[_REFUSAL_AT:]
        self.refusal_hash = refusal_hash(refusal)

    def hello_untrusted(self, data: bytes, address: Address, now: float) -> bytes | None:
        """P2 for a P1, a refusal, or None for silence. Raises `WireError`: silence too."""
        hello = decode_hello_untrusted(data)
        circles, circle = self._circles, None
        if circles is not None:
            circle = circles.of_hello_untrusted(hello.nonce, hello.time, hello.clue, address, now)
        elif any(hello.clue):
            # A hello of a circle: to whom does not know its secret, we are not there.
            return None
        hello_hash = blake2b(data, digest_size=HASH_SIZE).digest()
        choice = None
        if hello.version == VERSION:
            choice = best_common(self._config.handshakes, hello.offer)
        if choice is not None:
            return self._make(hello_hash, choice, address, circle, now)
        if circle is not None:
            return None
        return CHALLENGE_PREFIX + hello_hash[:ECHO_SIZE] + self._refusal_body

    def again(
        self,
        hello_hash: bytes,
        choice: int,
        address: Address,
        size: int,
        now: float,
        circle: CircleSecret | None = None,
    ) -> bytes | None:
        """P2 in answer to a P3 of `size` bytes, within limits.

        A circle answers so only where the P3 has proved its address (`circle` is given):
        whoever recorded a P3 could come with it from anywhere.
        """
        if circle is None and self._circles is not None:
            return None
        if choice not in self._config.handshakes or size < CHALLENGE_SIZE:
            return None
        if not self._admission.may_repeat(now):
            return None
        return self._make(hello_hash, choice, address, circle, now)

    def rebuild(
        self, transient: Transient, address: Address, header: Initiate, circle: CircleSecret | None
    ) -> bytes:
        """The P2 that this P3's header was made of, if it was ever sent to this address."""
        return _challenge(
            transient,
            address,
            header.hello_hash,
            header.choice,
            header.time,
            header.effort,
            header.sequence,
            circle,
        )

    def _make(
        self,
        hello_hash: bytes,
        choice: int,
        address: Address,
        circle: CircleSecret | None,
        now: float,
    ) -> bytes:
        self._admission.follow_load(now)
        transient = self._transients.current
        return _challenge(
            transient,
            address,
            hello_hash,
            choice,
            transient.clock(now),
            self._admission.effort_for(address),
            transient.next_sequence(),
            circle,
        )

    def __repr__(self) -> str:
        return f"Challenger({self._transients.current!r})"


def _challenge(
    transient: Transient,
    address: Address,
    hello_hash: bytes,
    choice: int,
    time: int,
    effort: int,
    sequence: int,
    circle: CircleSecret | None,
) -> bytes:
    cookie = make_cookie(
        transient.cookie_secret,
        address,
        sequence=sequence,
        hello_hash=hello_hash,
        tid=transient.tid,
        effort=effort,
        time=time,
        choice=choice,
    )
    echo = hello_hash[:ECHO_SIZE]
    challenge = encode_challenge(
        Challenge(echo, choice, time, transient.part, effort, sequence, cookie)
    )
    if circle is None:
        return challenge
    return with_hint(challenge, circle.counter_clue(hello_hash, without_hint(challenge)))


def refusal_hash(refusal: bytes) -> bytes:
    """H of a refusing P2 behind its echo: what P3 seals, so that the responder can compare."""
    return blake2b(refusal[_REFUSAL_AT:], digest_size=REFUSAL_HASH_SIZE).digest()
