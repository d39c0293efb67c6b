"""Group messages as bytes: lane entries of msgpack, and the decoder that trusts nothing.

A message is one msgpack array. Small ones that leave together share an entry, as an array of
arrays: an entry costs more than a message does. What does not fit one entry (a promise, an INSTALL,
a snapshot) travels as parts: a byte that starts no msgpack value, a byte that says whether more
parts follow, and a piece of the array. Lanes keep order, so an `Assembler` for each lane puts them
together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from consensus.core import message_kinds as kinds
from consensus.core.config import (
    ANSWER_SIZE_MAX,
    BLOBS_MAX,
    BODY_SIZE_MAX,
    CLOCK_MAX,
    DEADLINE_MS_MAX,
    DEPARTURES_MAX,
    HOLD_FACTOR,
    KIND_SIZE_MAX,
    LEASE_MS_MAX,
    REASON_SIZE_MAX,
    ROUND_MAX,
    SNAPSHOT_SIZE_MAX,
    STRUCK_MAX,
    VOTE_KEYS_MAX,
    WHERE_SIZE_MAX,
    WINDOW_BYTES,
    WINDOW_TOTAL_MAX,
)
from consensus.core.errors import MessageError
from consensus.core.lives import PREFIX_SIZE
from consensus.core.message_fields import AnswerMessage, ProposeMessage, VoteMessage
from consensus.core.message_kinds import ANSWER, CLASSES, PROPOSE, VOTE, Message
from consensus.core.numbers import RANK_BITS
from consensus.core.types import JOIN, KICK, LEAVE, Content, Member
from consensus.core.view import VIEW_SIZE_MAX

ENTRY_SIZE_MAX = 64 * 1024 - PREFIX_SIZE
"""Bytes in one lane entry, which has 64 KiB with what may stand before it (`lives`)."""
SHARED_SIZE_MAX = 1000
"""Bytes of the messages that share an entry: it fits a packet of the lane, and is not cut."""
SHARED_MAX = SHARED_SIZE_MAX // 5
"""Messages that share an entry: the smallest take five bytes."""
MESSAGE_SIZE_MAX = 32 * 1024 * 1024
"""Bytes in one message of several entries. The largest is a promise with a value accepted before:
it holds what is open twice, with two full windows and everything every member may say to each."""
HELD_MAX = HOLD_FACTOR * (WINDOW_TOTAL_MAX + VIEW_SIZE_MAX * DEPARTURES_MAX)
"""Proposals in a promise or a trim: as many as a member may hold."""

FOUNDING_SIZE_MAX = 256
"""Bytes that say how a group began: see `founding`."""
LINKS_MAX = 4096
"""View changes whose evidence is kept; a group with more of them gives no certificates."""
LINK_SIZE_MAX = VIEW_SIZE_MAX * (64 + 4) + 128
"""Bytes of the evidence of one view change."""

_SAID_MAX = VIEW_SIZE_MAX * (ANSWER_SIZE_MAX + REASON_SIZE_MAX + 32)
_CONTENT_MAX = KIND_SIZE_MAX + BLOBS_MAX * 48 + WHERE_SIZE_MAX + 128
assert MESSAGE_SIZE_MAX > 2 * (2 * WINDOW_BYTES + 2 * WINDOW_TOTAL_MAX * (_SAID_MAX + _CONTENT_MAX))
assert MESSAGE_SIZE_MAX > SNAPSHOT_SIZE_MAX + ENTRY_SIZE_MAX
assert MESSAGE_SIZE_MAX > LINKS_MAX * LINK_SIZE_MAX + ENTRY_SIZE_MAX

_PART = 0xC1  # the one byte that msgpack never uses
_LAST, _MORE = b"\xc1\x00", b"\xc1\x01"

pack: Callable[[Message], bytes] = msgpack.Packer(use_bin_type=True, autoreset=True).pack
"""The bytes of one message; `entries` makes lane entries of them."""
_unpack = msgpack.unpackb
# Messages are made by thousands here, and this makes them twice as fast as calling their class.
_new = tuple.__new__
_NOT_MSGPACK = (ValueError, TypeError, msgpack.UnpackException, RecursionError)
"""What msgpack's decoder raises. Lengths in the data cannot make it allocate more than the data's
own size."""
_SHARED = [b"\xdc%c%c" % divmod(count, 256) for count in range(SHARED_MAX + 1)]


def encode(message: Message) -> list[bytes]:
    """The lane entries of a message, at most `ENTRY_SIZE_MAX` bytes each."""
    return entries([pack(message)])


def entries(packed: Sequence[bytes]) -> list[bytes]:
    """The lane entries of messages that leave together, in order."""
    if len(packed) == 1 and len(packed[0]) <= ENTRY_SIZE_MAX:
        return [packed[0]]
    found: list[bytes] = []
    first = size = 0
    for at, data in enumerate(packed):
        size += len(data)
        if size > SHARED_SIZE_MAX and at > first:
            _close(packed[first:at], found)
            first, size = at, len(data)
    _close(packed[first:], found)
    return found


def _close(packed: Sequence[bytes], found: list[bytes]) -> None:
    if len(packed) > 1:
        found.append(_SHARED[len(packed)] + b"".join(packed))
    elif len(packed[0]) <= ENTRY_SIZE_MAX:
        found.append(packed[0])
    else:
        data, size = packed[0], ENTRY_SIZE_MAX - 2
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        found += [_MORE + piece for piece in pieces[:-1]]
        found.append(_LAST + pieces[-1])


class Assembler:
    """Puts the entries of one lane together to messages."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def receive_untrusted(self, entry: bytes) -> Sequence[Message]:
        """The messages this entry brings or completes. Raises `MessageError`."""
        if entry[:1] != b"\xc1":
            if self._parts:
                raise MessageError("a message broke off")
            return decode_entry_untrusted(entry)
        if entry[:2] not in (_LAST, _MORE) or len(entry) <= 2 or len(entry) > ENTRY_SIZE_MAX:
            raise MessageError("no part of a message")
        self._parts.append(entry[2:])
        self._size += len(entry) - 2
        if self._size > MESSAGE_SIZE_MAX or (entry[1] and len(entry) < ENTRY_SIZE_MAX):
            raise MessageError("a message too large, or in pieces too small")
        if entry[1]:
            return ()
        data = b"".join(self._parts)
        self._parts = []
        self._size = 0
        return (decode_untrusted(data),)


def decode_entry_untrusted(entry: bytes) -> Sequence[Message]:
    """The messages of an entry that is no part. Raises `MessageError`: none of them counts then."""
    try:
        value: object = _unpack(entry, use_list=False, raw=False, strict_map_key=True)
    except _NOT_MSGPACK as error:
        raise MessageError("not msgpack") from error
    if type(value) is not tuple or not value or type(value[0]) is not tuple:
        return (_message_untrusted(value),)
    if len(value) > SHARED_MAX:
        raise MessageError("too many messages in an entry")
    return [_message_untrusted(each) for each in value]


def decode_untrusted(data: bytes) -> Message:
    """One whole message with every field of the right type and range. Raises `MessageError`."""
    try:
        value: object = _unpack(data, use_list=False, raw=False, strict_map_key=True)
    except _NOT_MSGPACK as error:
        raise MessageError("not msgpack") from error
    return _message_untrusted(value)


def _message_untrusted(message: object) -> Message:
    if type(message) is not tuple:
        raise MessageError("no message")
    # Nearly all are votes and proposals, with one field beside the head, or answers, with two.
    size = len(message)
    if size == 5:
        kind, view, clock, mark, field = message
    elif size == 6:
        kind, view, clock, mark, field, answer = message
    elif size > 3:
        kind, view, clock, mark = message[:4]
    else:
        raise MessageError("no message")
    if (
        not type(kind) is type(view) is type(clock) is type(mark) is int
        or not 0 <= view < _COUNT_END
        or not 0 <= clock < CLOCK_MAX
        or not 0 <= mark < _COUNT_END
    ):
        raise MessageError("bad head")
    if kind == VOTE and size == 5:
        if type(field) is tuple and 0 < len(field) <= VOTE_KEYS_MAX:
            for key in field:
                if type(key) is not int or not 0 <= key < _KEY_END:
                    raise MessageError("bad key")
            return _new(VoteMessage, message)
        raise MessageError("bad keys")
    if kind == ANSWER and size == 6:
        if (
            type(field) is not int
            or not 0 <= field < _KEY_END
            or type(answer) is not bytes
            or len(answer) > ANSWER_SIZE_MAX
        ):
            raise MessageError("bad answer")
        return _new(AnswerMessage, message)
    if kind == PROPOSE and size == 5:
        return _new(ProposeMessage, (kind, view, clock, mark, _content(field)))
    return _rarer_untrusted(kind, message)


def _rarer_untrusted(kind: int, message: tuple[Any, ...]) -> Message:
    """A message whose head is sound."""
    checks = _FIELDS.get(kind)
    if checks is None or len(message) != 4 + len(checks):
        raise MessageError("bad kind, or a wrong number of fields")
    fields = [check(value) for check, value in zip(checks, message[4:], strict=True)]
    made: Message = _new(CLASSES[kind], (*message[:4], *fields))
    return made


# -- one check for each type of field ----------------------------------------------------------

_COUNT_END = 1 << 48
_KEY_END = CLOCK_MAX << RANK_BITS
Check = Callable[[Any], Any]


def _number(low: int, end: int) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value < end:
            raise MessageError("bad number")
        return value

    return check


def _bytes(size_max: int) -> Check:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) > size_max:
            raise MessageError("bad bytes")
        return value

    return check


def _exactly(size: int) -> Check:
    def check(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != size:
            raise MessageError("bytes of the wrong length")
        return value

    return check


def _text(size_max: int) -> Check:
    def check(value: Any) -> str:
        if type(value) is not str or len(value) > size_max or len(value.encode()) > size_max:
            raise MessageError("bad text")
        return value

    return check


def _many(each: Check, count_max: int) -> Check:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not tuple or len(value) > count_max:
            raise MessageError("bad list")
        return tuple([each(item) for item in value])

    return check


def _fields(*checks: Check) -> Check:
    def check(value: Any) -> tuple[Any, ...]:
        if type(value) is not tuple or len(value) != len(checks):
            raise MessageError("bad fields")
        return tuple([one(item) for one, item in zip(checks, value, strict=True)])

    return check


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


_count = _number(0, _COUNT_END)
_key = _number(0, _KEY_END)
_rank = _number(0, VIEW_SIZE_MAX)
_mask = _number(0, 1 << VIEW_SIZE_MAX)
_ballot = _number(1 << RANK_BITS, ROUND_MAX << RANK_BITS)
_incarnation = _number(0, 1 << 64)
_outcome = _number(1, 4)
_reason = _text(REASON_SIZE_MAX)
_size = _number(0, 1 << 63)


def _member(value: Any) -> Member:
    if type(value) is not tuple or len(value) != 2:
        raise MessageError("bad member")
    key, incarnation = value
    if type(key) is not bytes or len(key) != 32:
        raise MessageError("bad key of a member")
    return Member(key, _incarnation(incarnation))


def _blob(value: Any) -> tuple[bytes, int]:
    if type(value) is not tuple or len(value) != 2:
        raise MessageError("bad blob")
    root, size = value
    if type(root) is not bytes or len(root) != 32:
        raise MessageError("bad root")
    return root, _size(size)


_blobs = _many(_blob, BLOBS_MAX)
_members = _many(_member, VIEW_SIZE_MAX)


def _content(value: Any) -> Content:
    if type(value) is not tuple or len(value) != 6:
        raise MessageError("bad content")
    kind, body, blobs, deadline_ms, subject, where = value
    if (
        type(kind) is not str
        or not 0 < len(kind) <= KIND_SIZE_MAX
        or not (kind.isascii() or len(kind.encode()) <= KIND_SIZE_MAX)
        or type(body) is not bytes
        or len(body) > BODY_SIZE_MAX
        or type(deadline_ms) is not int
        or not 0 < deadline_ms <= DEADLINE_MS_MAX
        or type(where) is not bytes
        or len(where) > WHERE_SIZE_MAX
        or type(blobs) is not tuple
    ):
        raise MessageError("bad content")
    if blobs:
        blobs = _blobs(blobs)
    if kind[0] == "@":
        if kind not in (JOIN, LEAVE, KICK) or (where and kind != JOIN):
            raise MessageError("bad kind of content")
        subject = _member(subject)
    elif subject is not None or where:
        raise MessageError("a subject where none belongs")
    return tuple.__new__(Content, (kind, body, blobs, deadline_ms, subject, where))


_answers = _many(_fields(_rank, _bytes(ANSWER_SIZE_MAX)), VIEW_SIZE_MAX)
_reasons = _many(_fields(_rank, _reason), VIEW_SIZE_MAX)
_entry = _fields(_key, _outcome, _content, _answers, _reasons)
_value = _fields(_mask, _or_none(_member), _reasons, _many(_entry, HELD_MAX), _count, _mask)
_held = _fields(_key, _count, _number(0, 3), _content, _answers, _reasons)
_hash = _exactly(32)
_strikes = _many(_fields(_hash, _count), STRUCK_MAX)

# What evidence consists of, on the lanes and in files.
signatures_untrusted = _many(_fields(_rank, _exactly(64)), VIEW_SIZE_MAX)
"""(rank, Ed25519 signature), at most one for each member."""
link_untrusted = _fields(_ballot, _mask, _or_none(_member), _count, _hash, signatures_untrusted)
"""The fields of `certificate.Link`."""
decision_untrusted = _fields(
    _fields(_number(1, _COUNT_END), _number(0, CLOCK_MAX), _member),
    _number(1, _COUNT_END),
    _content,
    _outcome,
    _many(_fields(_member, _bytes(ANSWER_SIZE_MAX)), VIEW_SIZE_MAX),
)
"""A decision as `chain` hashes it."""

_FIELDS: dict[int, tuple[Check, ...]] = {
    kinds.PROPOSE: (_content,),
    kinds.REJECT: (_key, _reason),
    kinds.NOTED: (_key, _rank, _reason),
    kinds.MARK: (),
    kinds.SUSPECT: (_mask, _mask, _mask, _mask),
    kinds.PREPARE: (_ballot,),
    kinds.PROMISE: (
        _ballot,
        _count,
        _number(0, ROUND_MAX << RANK_BITS),
        _or_none(_value),
        _many(_held, HELD_MAX),
    ),
    kinds.ACCEPT: (_ballot, _value),
    kinds.ACCEPTED: (_ballot,),
    kinds.INSTALL: (_value,),
    kinds.ASK: (),
    kinds.EXPELLED: (_reason,),
    kinds.HERE: (),
    kinds.SNAPSHOT: (_members, _count, _key, _bytes(SNAPSHOT_SIZE_MAX), _strikes),
    kinds.DECISION: (_count, _entry),
    kinds.READY: (_members,),
    kinds.GONE: (),
    kinds.LEASE_ASK: (_count, _number(0, LEASE_MS_MAX + 1)),
    kinds.LEASE: (_count, _number(0, LEASE_MS_MAX + 1)),
    kinds.LEASES: (_mask,),
    kinds.STALL: (_key, _count),
    kinds.STALLED: (_key, _count, _number(0, 5), _count),
    kinds.VOUCH: (_ballot, _exactly(64)),
    kinds.LINK: (link_untrusted,),
    kinds.CHAIN: (_bytes(FOUNDING_SIZE_MAX), _many(link_untrusted, LINKS_MAX), _count, _hash),
    kinds.RESUME: (_count, _number(0, 2)),
    kinds.SEEN: (_count,),
}
