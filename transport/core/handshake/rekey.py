"""A new epoch through an old one: `NNpsk0` with the old epoch's rekey secret.

Only the handshake's initiator starts it. Both messages travel sealed in the presence; message 1
is retransmitted identically. Forward secrecy comes from the fresh ephemerals, authenticity from
the secret, which only the two sides of the old epoch know; so it also heals from a passive thief
of that epoch's keys, and not from an active one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from transport.core.constants import DATAGRAM_SIZE_MAX, KEY_SIZE, TAG_SIZE
from transport.core.crypto.keys import KeyPair
from transport.core.errors import LocalError, WireError
from transport.core.handshake.key_exchange import USE_REKEY, answer_nn, begin_nn
from transport.core.handshake.negotiation import EpochKeys, epoch_keys
from transport.core.handshake.states import REKEYING, Course, On
from transport.core.types import RandomBytes

REKEY_OVERHEAD = KEY_SIZE + TAG_SIZE
"""Bytes of either message beyond its payload."""
REKEY_PAYLOAD_SIZE_MAX = 256
"""Bytes of payload: the new connection ids, and room for what comes later."""


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """One side's new epoch."""

    message: bytes
    """Message 2 to send (the side that answered) or b""."""
    payload: bytes
    """What the other side sent along."""
    handshake_hash: bytes
    """64 bytes both share; the `previous_hash` of the next rekeying."""
    keys: EpochKeys = field(repr=False)


class Rekeying:
    """The initiator's side of one rekeying."""

    __slots__ = ("_course", "_state", "_suite", "message")

    message: bytes
    """Message 1: retransmit it unchanged until it is answered."""

    def __init__(
        self, keys: EpochKeys, previous_hash: bytes, suite: int, payload: bytes, random: RandomBytes
    ) -> None:
        """Raises `LocalError` if the payload is too long."""
        _check(payload)
        self._course = Course(REKEYING)
        self._suite = suite
        self._state = begin_nn(USE_REKEY, previous_hash, keys.rekey, KeyPair.generate(random))
        self.message = self._state.write_message(payload)

    def finish_untrusted(self, message: bytes) -> Rekeyed:
        """Take message 2, once. Raises `WireError` for a forged one; the true one may come yet."""
        if not self._course.allows(On.ANSWER):
            raise WireError("answered already")
        state = self._state.fork()
        payload = _bounded_untrusted(state.read_message_untrusted(message))
        keys = epoch_keys(*state.split(), self._suite, initiator=True)
        self._course.take(On.ANSWER)
        return Rekeyed(b"", payload, state.hash, keys)

    def __repr__(self) -> str:
        return "Rekeying()"


def answer_rekeying_untrusted(
    message: bytes,
    keys: EpochKeys,
    previous_hash: bytes,
    suite: int,
    payload: bytes,
    random: RandomBytes,
) -> Rekeyed:
    """The responder's side: take message 1, make message 2.

    Keep the result: a byte-identical message 1 gets the byte-identical message 2. Raises
    `WireError` if message 1 is not authentic, `LocalError` if the payload is too long.
    """
    _check(payload)
    state = answer_nn(USE_REKEY, previous_hash, keys.rekey)
    theirs = _bounded_untrusted(state.read_message_untrusted(message))
    state.set_ephemeral(KeyPair.generate(random))
    answer = state.write_message(payload)
    new_keys = epoch_keys(*state.split(), suite, initiator=False)
    return Rekeyed(answer, theirs, state.hash, new_keys)


def _check(payload: bytes) -> None:
    if len(payload) > REKEY_PAYLOAD_SIZE_MAX:
        raise LocalError("rekey payload too long")


def _bounded_untrusted(payload: bytes) -> bytes:
    if len(payload) > REKEY_PAYLOAD_SIZE_MAX:
        raise WireError("rekey payload too long")
    return payload


assert REKEY_OVERHEAD + REKEY_PAYLOAD_SIZE_MAX < DATAGRAM_SIZE_MAX
