"""Limited circulation: who does not know a circle's secret finds a port that looks filtered.

Threat: strangers who look for the members of a circle by sending to addresses, also with
datagrams they have recorded. Property: nothing is answered that does not prove the secret, and
nothing that proves it is answered at two addresses. Construction: P1 carries a clue, keyed with
the secret, over its nonce and the time; P2 a counter-clue over all of it, so that the initiator
works for nobody else; P3 an outer MAC; and the secret enters the Noise run itself (`KXpsk2`).
Lifetime: a clue is good for `CLUE_SKEW_S` either way, and its nonce is remembered as long.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from hashlib import blake2b

from transport.core.constants import (
    CIRCLE_TAG_PERIOD_S,
    CIRCLE_TAG_SIZE,
    CLEAR_TICKS_PER_S,
    CLUE_MEMORY_S,
    CLUE_SIZE,
    CLUE_SKEW_S,
    CLUES_MAX,
    KEY_SIZE,
    NONCE_SIZE,
    OUTER_MAC_SIZE,
)
from transport.core.crypto.keys import equal
from transport.core.errors import LocalError, WireError
from transport.core.types import Address

_CLUE = struct.Struct(f">{NONCE_SIZE}sQ")
_PERIOD = struct.Struct(">Q")
_TICKS_MASK = 2**32 - 1
_SKEW_TICKS = int(CLUE_SKEW_S * CLEAR_TICKS_PER_S)

TRAILER_SIZE = CIRCLE_TAG_SIZE + OUTER_MAC_SIZE
"""What P3 in a circle ends with: the tag and the outer MAC."""


class CircleSecret:
    """What the members of a circle share, and what is derived from it."""

    __slots__ = ("_clue_key", "_counter_key", "_mac_key", "_tag_key", "_time_key", "psk")

    psk: bytes
    """Enters the Noise run."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: 32 unpredictable bytes. Raises `LocalError` for another length."""
        if len(secret) != KEY_SIZE:
            raise LocalError("a circle's secret has 32 bytes")

        def derived(use: bytes) -> bytes:
            return blake2b(b"quorate group " + use, digest_size=KEY_SIZE, key=secret).digest()

        self._tag_key = derived(b"tag")
        self._time_key = derived(b"time")
        self._clue_key = derived(b"clue")
        self._counter_key = derived(b"counter-clue")
        self._mac_key = derived(b"outer mac")
        self.psk = derived(b"psk")

    def tag(self, period: int) -> bytes:
        """Two bytes that name the circle for a period of `CIRCLE_TAG_PERIOD_S` of Unix time."""
        packed = _PERIOD.pack(period)
        return blake2b(packed, digest_size=CIRCLE_TAG_SIZE, key=self._tag_key).digest()

    def hide_time(self, nonce: bytes, unix_ticks: int) -> int:
        """The time for P1's clear field, and back: in clear it would link pseudonyms."""
        mask = blake2b(nonce, digest_size=4, key=self._time_key).digest()
        return (unix_ticks & _TICKS_MASK) ^ int.from_bytes(mask, "big")

    def clue(self, nonce: bytes, unix_ticks: int) -> bytes:
        """Proof of the secret for P1. All 64 bits of the time enter, though 32 travel."""
        packed = _CLUE.pack(nonce, unix_ticks)
        return blake2b(packed, digest_size=CLUE_SIZE, key=self._clue_key).digest()

    def counter_clue(self, hello_hash: bytes, challenge: bytes) -> bytes:
        """Proof of the secret for P2, over H(P1) and all of P2 with zeros in its place."""
        return blake2b(
            hello_hash + challenge, digest_size=CLUE_SIZE, key=self._counter_key
        ).digest()

    def trailer(self, initiate: bytes, period: int) -> bytes:
        """The tag and the outer MAC that P3 ends with."""
        tag = self.tag(period)
        return tag + self._mac(initiate + tag)

    def is_member_datagram(self, initiate: bytes) -> bool:
        """Whether the outer MAC at the end of this P3 is right."""
        return equal(self._mac(initiate[:-OUTER_MAC_SIZE]), initiate[-OUTER_MAC_SIZE:])

    def _mac(self, data: bytes) -> bytes:
        return blake2b(data, digest_size=OUTER_MAC_SIZE, key=self._mac_key).digest()

    def __repr__(self) -> str:
        return "CircleSecret()"


def period_of(unix_s: float) -> int:
    """Which tag is in use."""
    return int(unix_s // CIRCLE_TAG_PERIOD_S)


def ticks_of(unix_s: float) -> int:
    """Unix time in the unit of clear times."""
    return int(unix_s * CLEAR_TICKS_PER_S)


def nearest_ticks(low: int, own: int) -> int:
    """The full time nearest to our own whose low 32 bits these are."""
    difference = (low - own) & _TICKS_MASK
    return own + (difference if difference < 2**31 else difference - 2**32)


class Circles:
    """The circles one responder answers to, and the clues it has seen."""

    __slots__ = ("_by_tag", "_circles", "_period", "_seen", "_unix_offset_s")

    def __init__(self, circles: tuple[CircleSecret, ...], unix_offset_s: float) -> None:
        """`unix_offset_s` makes Unix time of `now`."""
        self._circles = circles
        self._unix_offset_s = unix_offset_s
        self._period = -1
        self._by_tag: dict[bytes, list[CircleSecret]] = {}
        self._seen: OrderedDict[bytes, tuple[float, Address]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def tell_unix_time(self, unix_offset_s: float) -> None:
        """What makes Unix time of `now` from here on."""
        self._unix_offset_s = unix_offset_s

    def of_hello_untrusted(
        self, nonce: bytes, hidden_time: int, clue: bytes, address: Address, now: float
    ) -> CircleSecret:
        """Whose clue this is. Raises `WireError` for everything that is to meet silence.

        A hello whose answer was lost comes again from where it came from; from anywhere else it is
        a recording in a stranger's hands.
        """
        own = ticks_of(now + self._unix_offset_s)
        for circle in self._of_tag(clue[:CIRCLE_TAG_SIZE], now):
            time = nearest_ticks(circle.hide_time(nonce, hidden_time), own)
            if time < 0 or abs(time - own) > _SKEW_TICKS:
                continue
            if equal(circle.clue(nonce, time), clue[CIRCLE_TAG_SIZE:]):
                self._remember_untrusted(nonce, address, now)
                return circle
        raise WireError("no clue")

    def of_initiate_untrusted(self, data: bytes, now: float) -> CircleSecret:
        """Whose outer MAC this P3 bears. Raises `WireError` if nobody's."""
        for circle in self._of_tag(data[-TRAILER_SIZE:-OUTER_MAC_SIZE], now):
            if circle.is_member_datagram(data):
                return circle
        raise WireError("no member's")

    def _remember_untrusted(self, nonce: bytes, address: Address, now: float) -> None:
        seen = self._seen
        while seen:
            oldest = next(iter(seen))
            if seen[oldest][0] > now:
                break
            del seen[oldest]
        known = seen.get(nonce)
        if known is not None:
            if known[1] != address:
                raise WireError("a clue somebody recorded")
        elif len(seen) >= CLUES_MAX:
            raise WireError("too many clues to remember")
        else:
            seen[nonce] = (now + CLUE_MEMORY_S, address)

    def _of_tag(self, tag: bytes, now: float) -> list[CircleSecret]:
        """The circles that have this tag in this period or the ones beside it."""
        period = period_of(now + self._unix_offset_s)
        if period != self._period:
            self._period = period
            self._by_tag = {}
            for circle in self._circles:
                for one in {circle.tag(near) for near in range(max(0, period - 1), period + 2)}:
                    self._by_tag.setdefault(one, []).append(circle)
        return self._by_tag.get(tag, [])

    def __repr__(self) -> str:
        return f"Circles({len(self._circles)} circles, {len(self._seen)} clues)"
