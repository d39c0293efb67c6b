"""Layouts of P1 to P4, and their untrusted decoders. Byte by byte: `docs/protocol/handshake.md`.

Decoders check lengths and ranges and nothing else. Every multi-byte integer is big-endian.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from transport.core.constants import (
    CID_SIZE,
    COOKIE_SIZE,
    DATAGRAM_SIZE_MAX,
    ECHO_SIZE,
    FIRST_DATA_SIZE_MAX,
    HASH_SIZE,
    HINT_SIZE,
    INVITATION_ID_SIZE,
    INVITATION_MAC_SIZE,
    KEY_SIZE,
    KIND_ACCEPT,
    KIND_CHALLENGE,
    KIND_HELLO,
    KIND_INITIATE,
    KIND_INITIATE_KNOWN,
    LISTS_SIZE_MAX,
    MAGIC,
    NONCE_SIZE,
    OFFER_MAX,
    REFUSAL_HASH_SIZE,
    SIGNATURE_SIZE,
    SOLUTION_SIZE,
    TAG_SIZE,
    TID_SIZE,
    VERSION,
)
from transport.core.errors import LocalError, WireError
from transport.core.handshake.negotiation import Lists, decode_lists_untrusted, encode_lists

PREFIX_SIZE: Final = len(MAGIC) + 1
HELLO_PREFIX: Final = MAGIC + bytes([KIND_HELLO])
CHALLENGE_PREFIX: Final = MAGIC + bytes([KIND_CHALLENGE])
INITIATE_PREFIX: Final = MAGIC + bytes([KIND_INITIATE])
INITIATE_KNOWN_PREFIX: Final = MAGIC + bytes([KIND_INITIATE_KNOWN])
ACCEPT_PREFIX: Final = MAGIC + bytes([KIND_ACCEPT])

# prefix, version, nonce, time, number of ids offered, ids, clue tag, clue
_HELLO = struct.Struct(f">4sB{NONCE_SIZE}sIB{OFFER_MAX}s2s8s")
# T, tid, not before, details, signature, hint: the same for all challenges under one transient
TRANSIENT_PART = struct.Struct(f">{KEY_SIZE}s{TID_SIZE}sI{HASH_SIZE}s{SIGNATURE_SIZE}s{HINT_SIZE}s")
# prefix, echo, choice, time, transient part, effort, sequence, cookie
_CHALLENGE = struct.Struct(f">4s{ECHO_SIZE}sBI{TRANSIENT_PART.size}sII{COOKIE_SIZE}s")
# prefix, choice, tid, H(P1), time, effort, sequence, cookie
_INITIATE = struct.Struct(f">4sB{TID_SIZE}s{HASH_SIZE}sIII{COOKIE_SIZE}s")
# prefix, choice, tid, time
_INITIATE_KNOWN = struct.Struct(f">4sB{TID_SIZE}sI")
# prefix, choice, tid, time, invitation's id
_INITIATE_INVITED = struct.Struct(f">4sB{TID_SIZE}sI{INVITATION_ID_SIZE}s")
# prefix, choice, invitation's id
_INITIATE_TICKET = struct.Struct(f">4sB{INVITATION_ID_SIZE}s")
# message cid, bulk cid, incarnation, time in µs, held in ticks
_SEALED = struct.Struct(f">{CID_SIZE}s{CID_SIZE}sQqI")

CHALLENGE_SIZE: Final = _CHALLENGE.size
HELLO_SIZE: Final = CHALLENGE_SIZE
"""P1 is padded to the size of P2: the responder never sends more than it got."""
REFUSAL_SIZE_MAX: Final = PREFIX_SIZE + ECHO_SIZE + 1 + LISTS_SIZE_MAX

HEADER_SIZE: Final = _INITIATE.size
"""P3's clear header without the solution."""
KX_AT: Final = HEADER_SIZE + SOLUTION_SIZE
KNOWN_KX_AT: Final = _INITIATE_KNOWN.size
NN_SIZE: Final = KEY_SIZE + TAG_SIZE
"""NNpsk0 message 1: E2 and the tag of an empty payload."""
_KX_OVERHEAD = KEY_SIZE + KEY_SIZE + TAG_SIZE + TAG_SIZE
_SEALED_SIZE_MIN = _SEALED.size + 2
INITIATE_OVERHEAD_MAX: Final = (
    KX_AT + _KX_OVERHEAD + _SEALED.size + 1 + REFUSAL_HASH_SIZE + LISTS_SIZE_MAX + NN_SIZE
)
INITIATE_SIZE_MIN: Final = KX_AT + _KX_OVERHEAD + _SEALED_SIZE_MIN + NN_SIZE
INVITED_HEADER_SIZE: Final = _INITIATE_INVITED.size
INVITED_KX_AT: Final = INVITED_HEADER_SIZE + INVITATION_MAC_SIZE
TICKET_HEADER_SIZE: Final = _INITIATE_TICKET.size
INITIATE_INVITED_SIZE_MIN: Final = INVITED_KX_AT + KEY_SIZE + TAG_SIZE + _SEALED_SIZE_MIN + NN_SIZE
INITIATE_TICKET_SIZE_MIN: Final = TICKET_HEADER_SIZE + KEY_SIZE + TAG_SIZE + _SEALED_SIZE_MIN
INITIATE_ANONYMOUS_SIZE_MIN: Final = INITIATE_SIZE_MIN - KEY_SIZE - TAG_SIZE
INITIATE_KNOWN_SIZE_MIN: Final = KNOWN_KX_AT + _KX_OVERHEAD + _SEALED_SIZE_MIN + NN_SIZE
NN_AT_ACCEPT: Final = PREFIX_SIZE + ECHO_SIZE
ACCEPT_SIZE_MIN: Final = NN_AT_ACCEPT + KEY_SIZE + TAG_SIZE + _SEALED.size + 1
ACCEPT_OVERHEAD_MAX: Final = ACCEPT_SIZE_MIN - 1 + LISTS_SIZE_MAX
REPLY_SIZE_MAX: Final = 1024
"""Largest reply in P4."""

assert REFUSAL_SIZE_MAX <= HELLO_SIZE
assert CHALLENGE_SIZE <= INITIATE_KNOWN_SIZE_MIN <= INITIATE_SIZE_MIN
assert CHALLENGE_SIZE <= INITIATE_ANONYMOUS_SIZE_MIN
assert INITIATE_OVERHEAD_MAX + FIRST_DATA_SIZE_MAX <= DATAGRAM_SIZE_MAX
assert ACCEPT_OVERHEAD_MAX + REPLY_SIZE_MAX <= DATAGRAM_SIZE_MAX


class Hello(NamedTuple):
    """P1, without its padding."""

    version: int
    nonce: bytes
    time: int
    offer: tuple[int, ...]
    clue: bytes


class Challenge(NamedTuple):
    """P2 that accepts, field by field."""

    echo: bytes
    choice: int
    time: int
    transient_part: bytes
    effort: int
    sequence: int
    cookie: bytes


class TransientPart(NamedTuple):
    """The part of P2 that is the same for all challenges under one transient."""

    transient: bytes
    tid: bytes
    not_before: int
    details: bytes
    signature: bytes
    hint: bytes


class Initiate(NamedTuple):
    """P3's clear header, without the solution."""

    prefix: bytes
    choice: int
    tid: bytes
    hello_hash: bytes
    time: int
    effort: int
    sequence: int
    cookie: bytes


class Sealed(NamedTuple):
    """What both sides seal about themselves in P3 and P4."""

    message_cid: bytes
    bulk_cid: bytes
    incarnation: int
    time_us: int
    held_ticks: int
    refusal_hash: bytes
    lists: Lists
    data: bytes


def is_handshake(datagram: bytes) -> bool:
    """Whether this belongs to a handshake: connection ids never begin with the magic."""
    return datagram[: len(MAGIC)] == MAGIC


def echo_of_untrusted(datagram: bytes) -> bytes | None:
    """Whom a P2 or P4 answers: the `echo` of an `Initiator`; None for anything else."""
    if datagram[:PREFIX_SIZE] in (CHALLENGE_PREFIX, ACCEPT_PREFIX):
        echo = datagram[PREFIX_SIZE : PREFIX_SIZE + ECHO_SIZE]
        return echo if len(echo) == ECHO_SIZE else None
    return None


def encode_hello(
    nonce: bytes, time: int, offer: tuple[int, ...], tag: bytes = bytes(2), clue: bytes = bytes(8)
) -> bytes:
    """P1, padded; tag and clue for a circle. Raises `LocalError` above `OFFER_MAX` ids."""
    if not 1 <= len(offer) <= OFFER_MAX:
        raise LocalError("a hello offers one to four handshakes")
    ids = bytes(offer).ljust(OFFER_MAX, b"\0")
    packed = _HELLO.pack(HELLO_PREFIX, VERSION, nonce, time, len(offer), ids, tag, clue)
    return packed.ljust(HELLO_SIZE, b"\0")


def decode_hello_untrusted(data: bytes) -> Hello:
    """Raises `WireError` if P1 is too short or too long, or its offer is malformed.

    Of another version only the version is right: its layout is not known.
    """
    if not HELLO_SIZE <= len(data) <= DATAGRAM_SIZE_MAX:
        raise WireError("hello of a wrong size")
    _, version, nonce, time, count, ids, tag, clue = _HELLO.unpack_from(data)
    if version != VERSION:
        return Hello(version, b"", 0, (), b"")
    if not 1 <= count <= OFFER_MAX or any(ids[count:]) or 0 in ids[:count]:
        raise WireError("malformed offer")
    return Hello(version, nonce, time, tuple(ids[:count]), tag + clue)


def encode_challenge(challenge: Challenge) -> bytes:
    return _CHALLENGE.pack(CHALLENGE_PREFIX, *challenge)


def decode_challenge_untrusted(data: bytes) -> Challenge:
    """Raises `WireError` if this is not a P2 that accepts; see `decode_refusal_untrusted`."""
    if len(data) != CHALLENGE_SIZE or data[:PREFIX_SIZE] != CHALLENGE_PREFIX:
        raise WireError("not a challenge")
    return Challenge(*_CHALLENGE.unpack(data)[1:])


_HINT_END = CHALLENGE_SIZE - COOKIE_SIZE - 8
_HINT_AT = _HINT_END - HINT_SIZE
_NO_HINT = bytes(HINT_SIZE)


def without_hint(challenge: bytes) -> bytes:
    """P2 with zeros for the hint, whose place the counter-clue takes in a circle."""
    return challenge[:_HINT_AT] + _NO_HINT + challenge[_HINT_END:]


def with_hint(challenge: bytes, hint: bytes) -> bytes:
    """P2 with these eight bytes in the hint's place."""
    return challenge[:_HINT_AT] + hint + challenge[_HINT_END:]


def encode_refusal(echo: bytes, lists: Lists) -> bytes:
    """P2 that chooses nothing (choice 0) and says what would do."""
    return CHALLENGE_PREFIX + echo + b"\0" + encode_lists(lists)


def decode_refusal_untrusted(data: bytes) -> Lists | None:
    """The lists of a refusing P2, None if this P2 does not refuse. Raises `WireError`."""
    at = PREFIX_SIZE + ECHO_SIZE
    if data[:PREFIX_SIZE] != CHALLENGE_PREFIX or len(data) <= at:
        raise WireError("not a challenge")
    if data[at] != 0:
        return None
    lists, end = decode_lists_untrusted(data, at + 1)
    if end != len(data):
        raise WireError("bytes behind the refusal")
    return lists


def encode_header(
    prefix: bytes,
    choice: int,
    tid: bytes,
    hello_hash: bytes,
    time: int,
    effort: int,
    sequence: int,
    cookie: bytes,
) -> bytes:
    """The clear header of a P3 that answers a P2, without the solution."""
    return _INITIATE.pack(prefix, choice, tid, hello_hash, time, effort, sequence, cookie)


def decode_initiate_untrusted(data: bytes, size_min: int = INITIATE_SIZE_MIN) -> Initiate:
    """The clear header of a P3 that answers a P2. Raises `WireError` for a wrong size."""
    if not size_min <= len(data) <= DATAGRAM_SIZE_MAX:
        raise WireError("initiate of a wrong size")
    return Initiate(*_INITIATE.unpack_from(data))


def encode_invited_header(prefix: bytes, choice: int, tid: bytes, time: int, name: bytes) -> bytes:
    """The clear header of a P3 with a voucher or to a meeting, without the MAC."""
    return _INITIATE_INVITED.pack(prefix, choice, tid, time, name)


def decode_invited_untrusted(data: bytes) -> tuple[int, bytes, int, bytes]:
    """Choice, tid, time and invitation's id. Raises `WireError` for a wrong size."""
    if not INITIATE_INVITED_SIZE_MIN <= len(data) <= DATAGRAM_SIZE_MAX:
        raise WireError("initiate of a wrong size")
    _, choice, tid, time, name = _INITIATE_INVITED.unpack_from(data)
    return choice, tid, time, name


def encode_ticket_header(prefix: bytes, choice: int, name: bytes) -> bytes:
    """The clear header of a P3 with the responder's own ticket."""
    return _INITIATE_TICKET.pack(prefix, choice, name)


def decode_ticket_untrusted(data: bytes) -> tuple[int, bytes]:
    """Choice and ticket's id. Raises `WireError` for a wrong size."""
    if not INITIATE_TICKET_SIZE_MIN <= len(data) <= DATAGRAM_SIZE_MAX:
        raise WireError("initiate of a wrong size")
    _, choice, name = _INITIATE_TICKET.unpack_from(data)
    return choice, name


def encode_known_header(choice: int, tid: bytes, time: int) -> bytes:
    """The clear header of a 0-RTT P3."""
    return _INITIATE_KNOWN.pack(INITIATE_KNOWN_PREFIX, choice, tid, time)


def decode_known_untrusted(data: bytes) -> tuple[int, bytes, int]:
    """Choice, tid and time of a 0-RTT P3. Raises `WireError` for a wrong size."""
    if not INITIATE_KNOWN_SIZE_MIN <= len(data) <= DATAGRAM_SIZE_MAX:
        raise WireError("initiate of a wrong size")
    _, choice, tid, time = _INITIATE_KNOWN.unpack_from(data)
    return choice, tid, time


def encode_sealed(sealed: Sealed, *, initiator: bool) -> bytes:
    """The plaintext of P3's or P4's payload. Only P3 has room for a refusal's hash."""
    fixed = _SEALED.pack(*sealed[:5])
    refusal = bytes([len(sealed.refusal_hash)]) + sealed.refusal_hash if initiator else b""
    return fixed + refusal + encode_lists(sealed.lists) + sealed.data


def decode_sealed_untrusted(data: bytes, *, initiator: bool) -> Sealed:
    """Raises `WireError`, also for connection ids that begin with the magic or are equal."""
    if len(data) < _SEALED.size:
        raise WireError("sealed part cut off")
    message_cid, bulk_cid, incarnation, time_us, held_ticks = _SEALED.unpack_from(data)
    if message_cid == bulk_cid or is_handshake(message_cid) or is_handshake(bulk_cid):
        raise WireError("unusable connection ids")
    at = _SEALED.size
    refusal_hash = b""
    if initiator:
        size = data[at] if at < len(data) else -1
        if size not in (0, REFUSAL_HASH_SIZE):
            raise WireError("malformed refusal hash")
        refusal_hash = data[at + 1 : at + 1 + size]
        at += 1 + size
    lists, at = decode_lists_untrusted(data, at)
    return Sealed(
        message_cid, bulk_cid, incarnation, time_us, held_ticks, refusal_hash, lists, data[at:]
    )
