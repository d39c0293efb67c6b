"""What the two sides of a handshake agree on: protocols, keys, and what the seam hands over."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from transport.core.constants import (
    CIRCLES_MAX,
    FRAMES_1,
    HANDSHAKE_1,
    HANDSHAKE_2,
    KEY_SIZE,
    LISTS_MAX,
    LISTS_SIZE_MAX,
    PUZZLE_WORK_MAX,
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
    VERSION,
)
from transport.core.crypto.noise import derive
from transport.core.errors import LocalError, WireError
from transport.core.handshake.circle import CircleSecret
from transport.core.types import Address

_KEY_LABEL = b"quorate data key"
_REKEY_LABEL = b"quorate rekey secret"

Lists = tuple[tuple[int, ...], ...]
"""Protocol ids by layer. Sealed: handshakes, suites, frames. In a refusal: versions, handshakes."""

INITIATOR_TO_RESPONDER = 1
RESPONDER_TO_INITIATOR = 2
PLANE_MESSAGE = 1
PLANE_BULK = 2
_USE_PAYLOAD = 1
_USE_HEADER = 2


@dataclass(frozen=True, slots=True)
class HandshakeConfig:
    """What one side wants of its handshakes. Validated once, when it is made."""

    aegis: bool = False
    """Whether this machine has AES hardware: without it AEGIS-256 is slower than XChaCha20."""
    handshakes: tuple[int, ...] = (HANDSHAKE_1, HANDSHAKE_2)
    """Unauthenticated protocol ids this side accepts; it offers the highest."""
    suites: tuple[int, ...] | None = None
    """Authenticated ids of data suites; None: what `aegis` says."""
    frames: tuple[int, ...] = (FRAMES_1,)
    """Authenticated ids of frame generations."""
    addresses: tuple[Address, ...] = ()
    """Where the responder can be reached, as its signed transient record says."""
    effort_min: int = 0
    """Puzzle effort asked for when idle, in hashes; each costs the initiator about 1 µs."""
    puzzle_work_max: int = PUZZLE_WORK_MAX
    """Hashes the initiator spends on one attempt; 2^21 is about 2 s of one core."""
    handshakes_per_s_max: float = 1000.0
    """P3s the responder takes to Diffie-Hellman, per second; each costs about 0.25 ms."""
    handshakes_burst: int = 64
    """P3s taken at once after a pause."""
    known_per_s_max: float = 400.0
    """0-RTT P3s taken per second, about a tenth of a core; beyond it they are deferred."""
    waiting_max: int = 128
    """P3s waiting for their turn; each holds its datagram, at most 1200 bytes."""

    circles: tuple[CircleSecret, ...] = field(default=(), repr=False)
    """Limited circulation: only who shows one of these secrets is answered. The initiator shows
    the first."""
    unix_offset_s: float = 0.0
    """What makes Unix time of `now`; clues need it, within a minute."""
    anonymous: bool = False
    """Whether the responder serves initiators that keep their name to themselves."""
    clock_origin_s: float = 0.0
    """Added to `now` in what is sealed. `Peers` draws it: one clock shown to several peers would
    link the pseudonyms of one machine."""

    def __post_init__(self) -> None:
        if len(self.circles) > CIRCLES_MAX:
            raise LocalError(f"at most {CIRCLES_MAX} circles' secrets")
        if self.suites is None:
            suites = (SUITE_XCHACHA20, SUITE_AEGIS256) if self.aegis else (SUITE_XCHACHA20,)
            object.__setattr__(self, "suites", suites)
        for ids in self.lists:
            if not ids or list(ids) != sorted(set(ids)) or not 1 <= ids[0] <= ids[-1] <= 255:
                raise LocalError("protocol ids are 1 to 255, ascending, at least one a layer")
        encode_lists(self.lists)
        if self.effort_min < 0 or self.puzzle_work_max < 0:
            raise LocalError("efforts are not negative")
        rates = (self.handshakes_per_s_max, self.known_per_s_max)
        if min(rates) <= 0 or self.handshakes_burst < 1 or self.waiting_max < 1:
            raise LocalError("rates and queues are positive")

    @property
    def lists(self) -> Lists:
        """The full lists, as they travel sealed."""
        return (self.handshakes, self.suites or (), self.frames)

    @property
    def refusal_lists(self) -> Lists:
        """What a refusing P2 says in clear: nothing that tells one machine from another."""
        return ((VERSION,), self.handshakes)


@lru_cache(64)
def encode_lists(lists: Lists) -> bytes:
    """Count, then for each list its length and its ids, a byte each.

    Raises `LocalError` if that exceeds `LISTS_MAX` or `LISTS_SIZE_MAX`.
    """
    encoded = bytes([len(lists)]) + b"".join(bytes([len(ids), *ids]) for ids in lists)
    if len(lists) > LISTS_MAX or len(encoded) > LISTS_SIZE_MAX:
        raise LocalError("protocol lists too long")
    return encoded


def decode_lists_untrusted(data: bytes, offset: int) -> tuple[Lists, int]:
    """Read lists at `offset`; returns them and the offset behind them.

    Raises `WireError` if they are cut off, too long, empty, or not ascending.
    """
    end = offset + 1
    try:
        for _ in range(min(data[offset], LISTS_MAX)):
            end += 1 + data[end]
    except IndexError:
        raise WireError("protocol lists cut off") from None
    if end > len(data):
        raise WireError("protocol lists cut off")
    if end - offset > LISTS_SIZE_MAX:
        raise WireError("protocol lists too long")
    return _lists_untrusted(data[offset:end]), end


@lru_cache(64)
def _lists_untrusted(encoded: bytes) -> Lists:
    """Peers say the same few, so what was checked once is kept."""
    if encoded[0] > LISTS_MAX:
        raise WireError("too many protocol lists")
    lists = []
    at = 1
    while at < len(encoded):
        ids = tuple(encoded[at + 1 : at + 1 + encoded[at]])
        if not ids or list(ids) != sorted(set(ids)):
            raise WireError("malformed protocol list")
        lists.append(ids)
        at += 1 + len(ids)
    return tuple(lists)


def best_common(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int | None:
    """The highest id both have: ids grow with preference, so both sides find the same one. Both are
    ascending, as all lists of ids are."""
    for each in reversed(ours):
        if each in theirs:
            return each
    return None


@lru_cache(1024)
def negotiate_untrusted(ours: Lists, theirs: Lists, handshake: int) -> tuple[int, int]:
    """Suite and frames of both sealed lists.

    Raises `WireError` if a layer has nothing in common, or if `handshake`, which was chosen in
    clear, is not what the sealed lists would have chosen: somebody meddled.
    """
    if len(theirs) != len(ours):
        raise WireError("protocol layers differ")
    chosen = [best_common(mine, other) for mine, other in zip(ours, theirs, strict=True)]
    if chosen[0] != handshake:
        raise WireError("not the best common handshake")
    suite, frames = chosen[1], chosen[2]
    if suite is None or frames is None:
        raise WireError("no protocol in common")
    return suite, frames


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """The data keys of one epoch, 32 bytes each, from the point of view of this side."""

    message_send: bytes = field(repr=False)
    message_send_header: bytes = field(repr=False)
    message_receive: bytes = field(repr=False)
    message_receive_header: bytes = field(repr=False)
    bulk_send: bytes = field(repr=False)
    bulk_send_header: bytes = field(repr=False)
    bulk_receive: bytes = field(repr=False)
    bulk_receive_header: bytes = field(repr=False)
    rekey: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Established:
    """A finished handshake."""

    datagram: bytes = field(repr=False)
    """P4 to send (responder) or b"" (initiator)."""
    reply: bytes = field(repr=False)
    """The responder's reply, as the initiator opened it."""
    peer: bytes
    """Ed25519 key of the other side."""
    incarnation: int
    """The other side's: one life of a member."""
    handshake_hash: bytes
    """64 bytes both sides share; names this handshake."""
    suite: int
    """`SUITE_XCHACHA20` or `SUITE_AEGIS256`."""
    message_cid: bytes
    bulk_cid: bytes
    """Where to send: the connection ids the peer chose."""
    keys: EpochKeys = field(repr=False)
    rtt_s: float | None
    """A round trip measured on the way, if none of its halves could have been sent twice."""
    clock_offset_s: float | None
    """The peer's clock minus ours, as far as half the round trip tells."""


def epoch_keys(
    initiator_split: bytes, responder_split: bytes, suite: int, *, initiator: bool
) -> EpochKeys:
    """Derive an epoch's keys from Noise's split: the keys of either direction, 32 bytes each.

    `BLAKE2b-32(key = split key of the direction, label | direction | plane | suite | use)`.
    """
    outbound = derive(initiator_split, _labels(INITIATOR_TO_RESPONDER, suite))
    inbound = derive(responder_split, _labels(RESPONDER_TO_INITIATOR, suite))
    send, receive = (outbound, inbound) if initiator else (inbound, outbound)
    rekey = blake2b(
        _REKEY_LABEL, digest_size=KEY_SIZE, key=initiator_split + responder_split
    ).digest()
    return EpochKeys(
        send[0], send[1], receive[0], receive[1], send[2], send[3], receive[2], receive[3], rekey
    )


@lru_cache(8)
def _labels(direction: int, suite: int) -> tuple[bytes, ...]:
    return tuple(
        _KEY_LABEL + bytes((direction, plane, suite, use))
        for plane in (PLANE_MESSAGE, PLANE_BULK)
        for use in (_USE_PAYLOAD, _USE_HEADER)
    )
