"""The responder's transient key `T`, its signed record, and what was admitted under it.

A transient is offered for two minutes and accepted for four. Everything that makes a P3 happen at
most once lives and dies with it, in memory only.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from transport.core.constants import (
    AMPLIFICATION_MAX,
    ANSWER_RESENDS_MAX,
    ANSWERS_MAX,
    CLEAR_TICKS_PER_S,
    COOKIE_LIFE_S,
    EPHEMERALS_MAX,
    HASH_SIZE,
    HINT_SIZE,
    KEY_SIZE,
    PACKET_NUMBER_MAX,
    SEQUENCES_MAX,
    SIGNATURE_SIZE,
    TID_SIZE,
    TRANSIENT_LIFE_S,
)
from transport.core.crypto.keys import Identity, KeyPair, verify
from transport.core.crypto.packet_number import decode_untrusted, encode
from transport.core.errors import WireError
from transport.core.handshake.negotiation import HandshakeConfig, Lists, encode_lists
from transport.core.handshake.states import On, State, responders_next
from transport.core.handshake.wire import TRANSIENT_PART, TransientPart
from transport.core.types import Address, RandomBytes

_RECORD_LABEL = b"quorate transient record"
_DETAILS_LABEL = b"quorate transient details"
_HINT_LABEL = b"quorate hint"
# S, T, tid, not before, not after, H(addresses, protocols)
_RECORD = struct.Struct(f">{KEY_SIZE}s{KEY_SIZE}s{TID_SIZE}sII{HASH_SIZE}s")
RECORD_SIZE = _RECORD.size
# record, signature, the transient's clear time now
_PUBLISHED = struct.Struct(f">{RECORD_SIZE}s{SIGNATURE_SIZE}sI")
PUBLISHED_SIZE = _PUBLISHED.size
_TICKS_MASK = 0xFFFFFFFF
_LIFE_TICKS = int(TRANSIENT_LIFE_S * CLEAR_TICKS_PER_S)
_COOKIE_TICKS = int(COOKIE_LIFE_S * CLEAR_TICKS_PER_S)
_TID_BITS = 7 * TID_SIZE


def ticks(seconds: float) -> int:
    """Seconds in the unit of clear times, modulo 2^32."""
    return int(seconds * CLEAR_TICKS_PER_S) & _TICKS_MASK


def seconds(tick_count: int) -> float:
    return tick_count / CLEAR_TICKS_PER_S


def record(name: bytes, transient: bytes, tid: bytes, not_before: int, details: bytes) -> bytes:
    """What is signed: the times are on the transient's own clock, which starts at random."""
    not_after = not_before + _LIFE_TICKS & _TICKS_MASK
    return _RECORD.pack(name, transient, tid, not_before, not_after, details)


def details_hash(addresses: tuple[Address, ...], lists: Lists) -> bytes:
    """H(addresses, protocols): P2 carries the hash, who hands out the record carries the rest."""
    encoded = encode_lists(lists) + b"".join(
        len(host.encode()).to_bytes(1, "big") + host.encode() + port.to_bytes(2, "big")
        for host, port in addresses
    )
    return blake2b(_DETAILS_LABEL + encoded, digest_size=HASH_SIZE).digest()


def hint_of(name: bytes, transient: bytes) -> bytes:
    """Tells who knows the name that it is this one's transient; tells strangers nothing."""
    return blake2b(_HINT_LABEL + transient, digest_size=HINT_SIZE, key=name).digest()


@lru_cache(1024)
def _is_signed(name: bytes, signed: bytes, signature: bytes) -> bool:
    return verify(name, _RECORD_LABEL, signed, signature)


def verify_transient_untrusted(name: bytes, part: TransientPart, time: int) -> bytes:
    """The record `part` stands for, whose signature is verified once per transient.

    Raises `WireError` if it is not `name`'s or does not cover `time`, on its own clock.
    """
    if part.hint != hint_of(name, part.transient):
        raise WireError("a transient of somebody else")
    if (time - part.not_before) & _TICKS_MASK > _LIFE_TICKS:
        raise WireError("a transient of another time")
    signed = record(name, part.transient, part.tid, part.not_before, part.details)
    if not _is_signed(name, signed, part.signature):
        raise WireError("a transient nobody signed")
    return signed


def decode_record_untrusted(peer: bytes, data: bytes, handshake: int, now: float) -> KnownTransient:
    """The transient of a signed record that somebody else handed out (`Transients.published`).

    Raises `WireError` if it is not `peer`'s, nobody signed it, or it covers another time. The time
    beside it is not signed: if it is wrong, the responder defers what comes of it.
    """
    if len(data) != PUBLISHED_SIZE:
        raise WireError("not a signed record")
    signed, signature, time = _PUBLISHED.unpack(data)
    name, transient, tid, not_before, _, details = _RECORD.unpack(signed)
    if name != peer:
        raise WireError("a record of somebody else")
    hint = hint_of(peer, transient)
    part = TransientPart(transient, tid, not_before, details, signature, hint)
    if verify_transient_untrusted(peer, part, time) != signed:
        raise WireError("a record of another life")
    return KnownTransient(peer, handshake, part, time, now)


@dataclass(frozen=True, slots=True)
class KnownTransient:
    """A transient a handshake has learned, for 0-RTT with the same peer while it lives."""

    peer: bytes
    handshake: int
    part: TransientPart
    time: int
    """On the transient's clock, at `learned_at` on ours or a little before."""
    learned_at: float

    @property
    def signed(self) -> bytes:
        """The record and its signature: what a prologue covers instead of a P2."""
        part = self.part
        signed = record(self.peer, part.transient, part.tid, part.not_before, part.details)
        return signed + part.signature

    def clock(self, now: float) -> int:
        """The responder's time in clear, as far as we know; never ahead of it."""
        return self.time + ticks(now - self.learned_at) & _TICKS_MASK

    def is_usable(self, now: float) -> bool:
        """It is accepted for now, if the responder still lives."""
        age = (self.clock(now) - self.part.not_before) & _TICKS_MASK
        return 0 <= now - self.learned_at < TRANSIENT_LIFE_S and age < _LIFE_TICKS


class Burnt:
    """A P3 that was let through to Diffie-Hellman, and what became of it."""

    __slots__ = (
        "address",
        "answer",
        "bytes_received",
        "bytes_sent",
        "digest",
        "failures",
        "forget_at",
        "resends",
        "state",
        "variant",
    )

    def __init__(
        self, variant: str, digest: bytes, size: int, address: Address, forget_at: float
    ) -> None:
        """`digest` is of the datagram: only a byte-identical one is the same P3."""
        self.variant = variant
        self.digest = digest
        self.address = address
        self.forget_at = forget_at
        self.state = State.UNSEEN
        self.failures = 0
        self.answer = b""
        self.bytes_received = size
        self.bytes_sent = 0
        self.resends = 0

    def take(self, on: On) -> bool:
        """Move by the variant's table; False if it knows no way: then the answer is silence."""
        following = responders_next(self.variant, self.state, on)
        if following is None:
            return False
        self.state = following
        return True

    def resend(self, size: int) -> bytes | None:
        """P4 once more, for another byte-identical P3 of `size` bytes, within the limits."""
        self.bytes_received += size
        if not self.answer or self.resends >= ANSWER_RESENDS_MAX:
            return None
        if self.bytes_sent + len(self.answer) > AMPLIFICATION_MAX * self.bytes_received:
            return None
        self.resends += 1
        self.bytes_sent += len(self.answer)
        return self.answer


class Transient:
    """One `T`: its keys and record, its clock, and its memory of what was admitted."""

    __slots__ = (
        "_clock_origin",
        "_sequence",
        "answered",
        "burnt",
        "cookie_secret",
        "created_at",
        "ephemerals",
        "number",
        "pair",
        "part",
        "record",
        "signature",
        "tid",
    )

    def __init__(
        self,
        identity: Identity,
        config: HandshakeConfig,
        random: RandomBytes,
        number: int,
        now: float,
    ) -> None:
        """`number` is what `tid` names. Costs one signature."""
        self.number = number
        self.created_at = now
        self.pair = KeyPair.generate(random)
        self.tid = encode(number, TID_SIZE)
        # A random origin: clear times that ran on would link this transient to the next one,
        # and to the transients of other pseudonyms of this machine.
        self._clock_origin = int.from_bytes(random(4), "big")
        self.cookie_secret = random(KEY_SIZE)
        self._sequence = 0
        details = details_hash(config.addresses, config.refusal_lists)
        self.record = record(identity.key, self.pair.public, self.tid, self._clock_origin, details)
        self.signature = identity.sign(_RECORD_LABEL, self.record)
        hint = hint_of(identity.key, self.pair.public)
        self.part = TRANSIENT_PART.pack(
            self.pair.public, self.tid, self._clock_origin, details, self.signature, hint
        )
        self.burnt: OrderedDict[int | bytes, Burnt] = OrderedDict()
        self.answered: OrderedDict[int | bytes, Burnt] = OrderedDict()
        self.ephemerals: set[bytes] = set()

    def clock(self, now: float) -> int:
        """The responder's time in clear."""
        return self._clock_origin + ticks(now - self.created_at) & _TICKS_MASK

    def age_s(self, time: int, now: float) -> float | None:
        """Seconds since a clear time of this clock; None outside `COOKIE_LIFE_S`."""
        age = (self.clock(now) - time) & _TICKS_MASK
        return seconds(age) if age <= _COOKIE_TICKS else None

    def next_sequence(self) -> int:
        """A number per challenge; it is all a P1 leaves behind."""
        self._sequence = self._sequence + 1 & _TICKS_MASK
        return self._sequence

    def is_alive(self, now: float) -> bool:
        return now - self.created_at < TRANSIENT_LIFE_S

    def burn(
        self,
        variant: str,
        name: int | bytes,
        digest: bytes,
        size: int,
        address: Address,
        now: float,
    ) -> Burnt | None:
        """Remember a P3 under its sequence, or its ephemeral. None: the table is full.

        It is forgotten when the time it carries is too old to be accepted again.
        """
        burnt = self.burnt
        while burnt:
            oldest = next(iter(burnt))
            if burnt[oldest].forget_at > now:
                break
            del burnt[oldest]
            self.answered.pop(oldest, None)
        if len(burnt) >= SEQUENCES_MAX:
            return None
        entry = Burnt(variant, digest, size, address, now + COOKIE_LIFE_S + 1.0)
        entry.take(On.PASSED)
        burnt[name] = entry
        return entry

    def unburn(self, name: int | bytes) -> None:
        """It was never looked at: the same P3 may come again."""
        entry = self.burnt.pop(name, None)
        if entry is not None:
            entry.take(On.TRIMMED)

    def remember_ephemeral(self, ephemeral: bytes) -> bool:
        """False if it was used before under this transient, or the memory is full."""
        if ephemeral in self.ephemerals or len(self.ephemerals) >= EPHEMERALS_MAX:
            return False
        self.ephemerals.add(ephemeral)
        return True

    def keep_answer(self, name: int | bytes, answer: bytes) -> None:
        """Keep a P4 for byte-identical P3s; the oldest goes when there are `ANSWERS_MAX`."""
        entry = self.burnt.get(name)
        if entry is None or not entry.take(On.REPLY):
            return
        entry.answer = answer
        entry.bytes_sent = len(answer)
        self.answered[name] = entry
        if len(self.answered) > ANSWERS_MAX:
            self.answered.popitem(last=False)[1].answer = b""

    def __repr__(self) -> str:
        return f"Transient({self.number})"


class Transients:
    """The transients of one identity: the current one and the one before."""

    __slots__ = ("_accepted", "_config", "_identity", "_random", "current")

    def __init__(
        self, identity: Identity, config: HandshakeConfig, random: RandomBytes, now: float
    ) -> None:
        self._identity = identity
        self._config = config
        self._random = random
        # Random, so that processes that share a key name their transients differently. Within
        # the lower half of the range, so that it does not wrap for 500 years.
        number = int.from_bytes(random(4), "big") >> (32 - _TID_BITS + 1)
        self.current = Transient(identity, config, random, number, now)
        self._accepted = {number: self.current}

    def rotate(self, now: float) -> None:
        """Replace the current one; drop those that have had their two periods."""
        self.current = Transient(
            self._identity, self._config, self._random, self.current.number + 1, now
        )
        self._accepted[self.current.number] = self.current
        for number in [n for n, t in self._accepted.items() if not t.is_alive(now)]:
            del self._accepted[number]

    def published(self, now: float) -> bytes:
        """The current one's signed record and clear time, for a directory, ticket or introducer."""
        current = self.current
        return _PUBLISHED.pack(current.record, current.signature, current.clock(now))

    def accepted(self, now: float) -> list[Transient]:
        """Those that are alive: one or two."""
        return [one for one in self._accepted.values() if one.is_alive(now)]

    def find_untrusted(self, tid: bytes, now: float) -> Transient | None:
        """The transient a P3 names. Raises `WireError` for what cannot be a tid."""
        if tid == self.current.tid:
            found: Transient | None = self.current
        else:
            number, end = decode_untrusted(tid, 0, self.current.number)
            if end != TID_SIZE:
                raise WireError("not a tid")
            found = self._accepted.get(number)
        return found if found is not None and found.is_alive(now) else None


assert PACKET_NUMBER_MAX > 1 << _TID_BITS
