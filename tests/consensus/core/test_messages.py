"""The codec: what honest members send comes back as it was; anything else is a MessageError."""

from contextlib import suppress
from random import Random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.core import message_kinds as kinds
from consensus.core.config import (
    ANSWER_SIZE_MAX,
    BLOBS_MAX,
    BODY_SIZE_MAX,
    CLOCK_MAX,
    KIND_SIZE_MAX,
    REASON_SIZE_MAX,
    SNAPSHOT_SIZE_MAX,
    STRUCK_MAX,
    WHERE_SIZE_MAX,
    WINDOW_TOTAL_MAX,
)
from consensus.core.errors import MessageError
from consensus.core.messages import (
    ENTRY_SIZE_MAX,
    HELD_MAX,
    MESSAGE_SIZE_MAX,
    SHARED_MAX,
    SHARED_SIZE_MAX,
    Assembler,
    decode_entry_untrusted,
    decode_untrusted,
    encode,
    entries,
    pack,
)
from consensus.core.types import JOIN, Content, Member
from tests.support.messages import message as said

A, B = Member(b"a" * 32, 1), Member(b"b" * 32, (1 << 64) - 1)
PLAIN = Content("kind", b"body", ((b"r" * 32, 5),), 1000)
JOINS = Content(JOIN, b"", (), 30_000, B, b"where")
ENTRY = (17, 1, PLAIN, ((0, b"yes"), (2, b"")), ())
REJECTED = (33, 2, JOINS, (), ((1, "no"),))
VALUE = (0b101, B, ((1, "silent"),), (ENTRY, REJECTED), 9, 0b100)
HEAD = (3, 70, 8)

MESSAGES = [
    said(kinds.PROPOSE, *HEAD, PLAIN),
    said(kinds.PROPOSE, *HEAD, JOINS),
    said(kinds.VOTE, *HEAD, (17, 33)),
    said(kinds.ANSWER, *HEAD, 17, b"answer"),
    said(kinds.REJECT, *HEAD, 17, "why"),
    said(kinds.NOTED, *HEAD, 17, 2, "why"),
    said(kinds.MARK, *HEAD),
    said(kinds.SUSPECT, *HEAD, 0b10, 0b100, 0b1000, 0b1),
    said(kinds.PREPARE, *HEAD, 17),
    said(kinds.PROMISE, *HEAD, 17, 3, 0, None, ()),
    said(kinds.PROMISE, *HEAD, 33, 3, 16, VALUE, ((17, 0, 1, PLAIN, (), ()),)),
    said(kinds.ACCEPT, *HEAD, 17, VALUE),
    said(kinds.ACCEPTED, *HEAD, 17),
    said(kinds.INSTALL, *HEAD, VALUE),
    said(kinds.ASK, *HEAD),
    said(kinds.EXPELLED, *HEAD, "too old"),
    said(kinds.HERE, *HEAD),
    said(kinds.SNAPSHOT, *HEAD, (A, B), 4, 17, b"state", ((b"k" * 32, 2),)),
    said(kinds.DECISION, *HEAD, 5, ENTRY),
    said(kinds.READY, *HEAD, (A,)),
    said(kinds.VOUCH, *HEAD, 17, bytes(64)),
    said(kinds.LINK, *HEAD, (17, 3, A, 5, bytes(32), ((0, bytes(64)), (1, bytes(64))))),
    said(kinds.CHAIN, *HEAD, b"founding", ((17, 1, None, 5, bytes(32), ()),), 5, bytes(32)),
    said(kinds.RESUME, *HEAD, 7, 1),
    said(kinds.SEEN, *HEAD, 7),
    said(kinds.GONE, *HEAD),
    said(kinds.STALL, *HEAD, 17, 1),
    said(kinds.STALLED, *HEAD, 17, 1, 4, 9),
    said(kinds.LEASE_ASK, *HEAD, 3, 250),
    said(kinds.LEASE, *HEAD, 3, 0),
    said(kinds.LEASES, *HEAD, 0b10),
]


def through(message):
    assembler = Assembler()
    *first, last = encode(message)
    assert not any(assembler.receive_untrusted(entry) for entry in first)
    (message,) = assembler.receive_untrusted(last)
    return message


def test_every_kind_is_here():
    assert {message.kind for message in MESSAGES} == set(kinds.NAMES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: kinds.NAMES[m.kind])
def test_round_trip(message):
    arrived = through(message)
    assert arrived == message
    assert type(arrived) is kinds.CLASSES[message.kind]
    if message.kind == kinds.PROPOSE:
        assert type(arrived.content) is Content
        assert arrived.content.subject is None or type(arrived.content.subject) is Member


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: kinds.NAMES[m.kind])
def test_flipped_bytes_raise_nothing_else(message):
    (data,) = encode(message)
    for at in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            with suppress(MessageError):
                decode_untrusted(bytes(broken))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: kinds.NAMES[m.kind])
def test_cut_short_or_too_long(message):
    (data,) = encode(message)
    for size in range(len(data)):
        with pytest.raises(MessageError):
            decode_untrusted(data[:size])
    with pytest.raises(MessageError):
        decode_untrusted(data + b"\x00")
    with pytest.raises(MessageError):
        through((*message, 0))


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes(data):
    with pytest.raises(MessageError):
        decode_untrusted(b"\xc4" + data)  # never an array
    with suppress(MessageError):
        decode_untrusted(data)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40)
    | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150)
@given(st.sampled_from(MESSAGES), st.integers(0, 9), values)
def test_any_value_in_any_field(message, at, value):
    changed = list(message)
    changed[at % len(changed)] = value
    try:
        arrived = decode_untrusted(msgpack.packb(changed))
    except MessageError:
        return
    assert arrived == tuple(changed) or at % len(changed) >= 4


def test_deep_nesting():
    with pytest.raises(MessageError):
        decode_untrusted(b"\x91" * 100_000)


def content(**changed):
    return (kinds.PROPOSE, *HEAD, PLAIN._replace(**changed))


AT_BOUND = [
    content(kind="k" * KIND_SIZE_MAX),
    content(body=bytes(BODY_SIZE_MAX)),
    content(blobs=((bytes(32), 1),) * BLOBS_MAX),
    (kinds.PROPOSE, *HEAD, JOINS._replace(where=bytes(WHERE_SIZE_MAX))),
    (kinds.ANSWER, *HEAD, 17, bytes(ANSWER_SIZE_MAX)),
    (kinds.REJECT, *HEAD, 17, "w" * REASON_SIZE_MAX),
    (kinds.VOTE, *HEAD, tuple(range(WINDOW_TOTAL_MAX))),
    (kinds.SNAPSHOT, *HEAD, (A,) * 16, 4, 17, bytes(SNAPSHOT_SIZE_MAX), ()),
    (kinds.INSTALL, *HEAD, (1, None, (), (ENTRY,) * HELD_MAX, 9, 0)),
    (kinds.SNAPSHOT, *HEAD, (A,), 4, 17, b"", ((bytes(32), 1),) * STRUCK_MAX),
    (kinds.MARK, 3, CLOCK_MAX - 1, 8),
]
BEYOND = [
    content(kind="k" * (KIND_SIZE_MAX + 1)),
    content(kind="é" * (KIND_SIZE_MAX // 2 + 1)),
    content(kind=""),
    content(kind="@what"),
    content(kind=JOIN),
    content(subject=A),
    content(where=b"x"),
    content(deadline_ms=0),
    content(body=bytes(BODY_SIZE_MAX + 1)),
    content(blobs=((bytes(32), 1),) * (BLOBS_MAX + 1)),
    content(blobs=((bytes(31), 1),)),
    (kinds.PROPOSE, *HEAD, JOINS._replace(where=bytes(WHERE_SIZE_MAX + 1))),
    (kinds.PROPOSE, *HEAD, JOINS._replace(subject=Member(b"short", 1))),
    (kinds.ANSWER, *HEAD, 17, bytes(ANSWER_SIZE_MAX + 1)),
    (kinds.REJECT, *HEAD, 17, "w" * (REASON_SIZE_MAX + 1)),
    (kinds.NOTED, *HEAD, 17, 16, "why"),
    (kinds.VOTE, *HEAD, ()),
    (kinds.VOTE, *HEAD, tuple(range(WINDOW_TOTAL_MAX + 1))),
    (kinds.VOTE, *HEAD, (True,)),
    (kinds.VOTE, *HEAD, (-1,)),
    (kinds.SNAPSHOT, *HEAD, (A,) * 17, 4, 17, b"", ()),
    (kinds.SNAPSHOT, *HEAD, (A,), 4, 17, bytes(SNAPSHOT_SIZE_MAX + 1), ()),
    (kinds.INSTALL, *HEAD, (1, None, (), (ENTRY,) * (HELD_MAX + 1), 9, 0)),
    (kinds.SNAPSHOT, *HEAD, (A,), 4, 17, b"", ((bytes(32), 1),) * (STRUCK_MAX + 1)),
    (kinds.STALLED, *HEAD, 17, 1, 5, 0),
    (kinds.INSTALL, *HEAD, (1, None, (), ((17, 4, PLAIN, (), ()),), 9, 0)),
    (kinds.PREPARE, *HEAD, 0),
    (kinds.MARK, 3, CLOCK_MAX, 8),
    (kinds.MARK, -1, 0, 8),
    (kinds.MARK, 3, 1, 1 << 48),
    (99, *HEAD),
    (kinds.VOTE,),
    kinds.VOTE,
    None,
]


@pytest.mark.parametrize("message", AT_BOUND, ids=range(len(AT_BOUND)))
def test_at_the_bound(message):
    assert all(len(entry) <= ENTRY_SIZE_MAX for entry in encode(message))
    assert through(message) == message


@pytest.mark.parametrize("message", BEYOND, ids=range(len(BEYOND)))
def test_beyond_the_bound(message):
    with pytest.raises(MessageError):
        decode_untrusted(msgpack.packb(message))


def test_the_largest_proposal_fits_one_entry():
    largest = Content("k" * KIND_SIZE_MAX, bytes(BODY_SIZE_MAX), ((bytes(32), 1),) * BLOBS_MAX)
    assert len(encode((kinds.PROPOSE, *HEAD, largest))) == 1


def together(messages):
    """What arrives of messages that leave together, and the entries they travel in."""
    found = entries([pack(message) for message in messages])
    assembler = Assembler()
    return [each for entry in found for each in assembler.receive_untrusted(entry)], found


class TestSharedEntries:
    def test_all_kinds_in_order(self):
        arrived, found = together(MESSAGES + MESSAGES)
        assert arrived == MESSAGES + MESSAGES
        assert len(found) < len(MESSAGES)

    @given(st.lists(st.integers(0, 2200), min_size=1, max_size=40))
    def test_any_sizes(self, sizes):
        messages = [(kinds.ANSWER, *HEAD, 5, bytes(min(size, ANSWER_SIZE_MAX))) for size in sizes]
        large = [bytes(100 * size) for size in sizes[:3]]
        messages += [(kinds.SNAPSHOT, *HEAD, (A,), 4, 17, data, ()) for data in large]
        arrived, found = together(messages)
        assert arrived == messages
        for entry in found:
            shared = entry[0] == 0xDC
            assert len(entry) <= (3 + SHARED_SIZE_MAX if shared else ENTRY_SIZE_MAX)

    def test_as_many_as_fit(self):
        smallest = (kinds.MARK, 0, 0, 0)
        arrived, found = together([smallest] * 1000)
        assert arrived == [smallest] * 1000
        assert max(len(msgpack.unpackb(entry)) for entry in found) <= SHARED_MAX

    def test_beyond_the_bound(self):
        smallest = (kinds.MARK, 0, 0, 0)
        assert len(decode_entry_untrusted(msgpack.packb([smallest] * SHARED_MAX))) == SHARED_MAX
        with pytest.raises(MessageError):
            decode_entry_untrusted(msgpack.packb([smallest] * (SHARED_MAX + 1)))

    @pytest.mark.parametrize("value", [[], [[]], [(kinds.MARK, *HEAD), 5], [[(kinds.MARK, *HEAD)]]])
    def test_what_is_no_row_of_messages(self, value):
        with pytest.raises(MessageError):
            decode_entry_untrusted(msgpack.packb(value))

    def test_one_bad_message_voids_the_entry(self):
        good, bad = (kinds.MARK, *HEAD), (kinds.MARK, -1, 0, 0)
        with pytest.raises(MessageError):
            decode_entry_untrusted(msgpack.packb([good, bad]))

    def test_flipped_bytes_raise_nothing_else(self):
        (data,) = entries([pack((kinds.MARK, *HEAD)), pack((kinds.REJECT, *HEAD, 9, "no"))])
        for at in range(len(data)):
            for bit in range(8):
                broken = bytearray(data)
                broken[at] ^= 1 << bit
                with suppress(MessageError):
                    decode_entry_untrusted(bytes(broken))


class TestAssembler:
    large = (kinds.SNAPSHOT, *HEAD, (A,), 4, 17, Random(1).randbytes(200_000), ())

    def test_parts(self):
        assert len(encode(self.large)) == 4
        assert through(self.large) == self.large

    def test_message_that_breaks_off(self):
        assembler = Assembler()
        assembler.receive_untrusted(encode(self.large)[0])
        with pytest.raises(MessageError):
            assembler.receive_untrusted(encode((kinds.MARK, *HEAD))[0])

    @pytest.mark.parametrize(
        "entry",
        [b"\xc1", b"\xc1\x00", b"\xc1\x02x", b"\xc1\x01small", b"\xc1\x01" + bytes(1 << 16)],
    )
    def test_bad_parts(self, entry):
        with pytest.raises(MessageError):
            Assembler().receive_untrusted(entry)

    def test_bounded(self):
        assembler = Assembler()
        part = b"\xc1\x01" + bytes(ENTRY_SIZE_MAX - 2)
        taken = MESSAGE_SIZE_MAX // (ENTRY_SIZE_MAX - 2)
        for _ in range(taken):
            assert not assembler.receive_untrusted(part)
        with pytest.raises(MessageError):
            assembler.receive_untrusted(part)
