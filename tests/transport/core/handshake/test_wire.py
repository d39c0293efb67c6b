"""Layouts of P1 to P4 and the byte budgets the documentation promises."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import NOW, Pair, flip
from transport.core.constants import (
    DATAGRAM_SIZE_MAX,
    FIRST_DATA_SIZE_MAX,
    LISTS_SIZE_MAX,
    MAGIC,
    SOLUTION_SIZE,
)
from transport.core.errors import LocalError, WireError
from transport.core.handshake import wire
from transport.core.handshake.negotiation import encode_lists

DOCUMENT = Path(__file__).parents[4] / "docs" / "protocol" / "handshake.md"
FULL_LISTS = ((1, 2), (1, 2, 3), (1, 2, 3, 4, 5))


def test_the_byte_budget_of_the_documentation() -> None:
    text = DOCUMENT.read_text()
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", text, re.MULTILINE))
    assert {name: int(size) for name, size in table.items()} == {
        "HELLO_SIZE": wire.HELLO_SIZE,
        "CHALLENGE_SIZE": wire.CHALLENGE_SIZE,
        "REFUSAL_SIZE_MAX": wire.REFUSAL_SIZE_MAX,
        "KX_AT": wire.KX_AT,
        "INITIATE_SIZE_MIN": wire.INITIATE_SIZE_MIN,
        "INITIATE_OVERHEAD_MAX": wire.INITIATE_OVERHEAD_MAX,
        "INITIATE_KNOWN_SIZE_MIN": wire.INITIATE_KNOWN_SIZE_MIN,
        "INITIATE_ANONYMOUS_SIZE_MIN": wire.INITIATE_ANONYMOUS_SIZE_MIN,
        "INITIATE_INVITED_SIZE_MIN": wire.INITIATE_INVITED_SIZE_MIN,
        "INITIATE_TICKET_SIZE_MIN": wire.INITIATE_TICKET_SIZE_MIN,
        "ACCEPT_SIZE_MIN": wire.ACCEPT_SIZE_MIN,
        "ACCEPT_OVERHEAD_MAX": wire.ACCEPT_OVERHEAD_MAX,
        "REPLY_SIZE_MAX": wire.REPLY_SIZE_MAX,
        "FIRST_DATA_SIZE_MAX": FIRST_DATA_SIZE_MAX,
    }


def test_budgets_hold() -> None:
    assert wire.INITIATE_OVERHEAD_MAX + FIRST_DATA_SIZE_MAX <= DATAGRAM_SIZE_MAX
    assert wire.ACCEPT_OVERHEAD_MAX + wire.REPLY_SIZE_MAX <= DATAGRAM_SIZE_MAX
    assert wire.CHALLENGE_SIZE <= wire.HELLO_SIZE
    assert wire.REFUSAL_SIZE_MAX <= wire.HELLO_SIZE
    assert wire.CHALLENGE_SIZE <= wire.INITIATE_KNOWN_SIZE_MIN
    assert FIRST_DATA_SIZE_MAX == 896


def test_the_fullest_p3_is_exactly_a_datagram() -> None:
    assert len(encode_lists(FULL_LISTS)) == LISTS_SIZE_MAX
    sealed = wire.Sealed(b"a" * 8, b"b" * 8, 0, 0, 0, bytes(16), FULL_LISTS, bytes(896))
    body = wire.encode_sealed(sealed, initiator=True)
    assert wire.KX_AT + 32 + 48 + len(body) + 16 + wire.NN_SIZE == DATAGRAM_SIZE_MAX
    pair = Pair()
    assert len(pair.to_p3(pair.initiator(), bytes(896))) == DATAGRAM_SIZE_MAX - 22


def test_offsets_the_documentation_names() -> None:
    pair = Pair()
    initiator = pair.initiator()
    p1 = initiator.hello(NOW)
    assert (p1[:3], p1[3], p1[4], p1[17]) == (MAGIC, 1, 1, 1)
    assert p1[22:] == bytes(wire.HELLO_SIZE - 22)
    p2 = pair.challenge(p1)
    current = pair.responder._transients.current
    assert (p2[:3], p2[3], p2[4:12], p2[12]) == (MAGIC, 2, initiator.echo, 2)
    assert p2[17:49] == current.pair.public
    assert p2[49:53] == current.tid
    assert p2[89:153] == current.signature
    initiator.receive_challenge_untrusted(p2, NOW)
    p3 = initiator.initiate(b"", NOW)
    assert (p3[:3], p3[3], p3[4], p3[5:9]) == (MAGIC, 3, 2, current.tid)
    assert p3[9:17] == initiator.echo
    assert (p3[41:45], p3[45:53], p3[53:69]) == (p2[13:17], p2[161:169], p2[169:185])
    assert p3[69:93] == bytes(SOLUTION_SIZE)
    p4 = pair.accept(pair.admit(p3)).datagram
    assert (p4[:3], p4[3], p4[4:12]) == (MAGIC, 4, initiator.echo)


U32 = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.binary(min_size=8, max_size=8), U32, st.integers(1, 4))
def test_hello_comes_back(nonce: bytes, time: int, count: int) -> None:
    offer = tuple(range(1, count + 1))
    encoded = wire.encode_hello(nonce, time, offer)
    assert len(encoded) == wire.HELLO_SIZE
    assert wire.decode_hello_untrusted(encoded) == wire.Hello(1, nonce, time, offer, bytes(10))


@pytest.mark.parametrize("offer", [(), (1, 2, 3, 4, 5)])
def test_offers_that_do_not_fit(offer: tuple[int, ...]) -> None:
    with pytest.raises(LocalError):
        wire.encode_hello(bytes(8), 0, offer)


@pytest.mark.parametrize(
    ("at", "value"), [(17, 0), (17, 5), (18, 0), (19, 9)], ids=["none", "five", "zero", "more"]
)
def test_malformed_offers(at: int, value: int) -> None:
    hello = bytearray(wire.encode_hello(bytes(8), 0, (1,)))
    hello[at] = value
    with pytest.raises(WireError):
        wire.decode_hello_untrusted(bytes(hello))


@settings(deadline=None)
@given(
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**64 - 1),
    st.integers(-(2**63), 2**63 - 1),
    U32,
    st.sampled_from([b"", bytes(range(16))]),
    st.binary(max_size=896),
    st.booleans(),
)
def test_sealed_comes_back(
    cids: bytes, incarnation: int, time_us: int, held: int, refusal: bytes, data: bytes, p3: bool
) -> None:
    sealed = wire.Sealed(
        cids[:8], cids[8:], incarnation, time_us, held, refusal if p3 else b"", FULL_LISTS, data
    )
    encoded = wire.encode_sealed(sealed, initiator=p3)
    if cids[:8] == cids[8:] or MAGIC in (cids[:3], cids[8:11]):
        with pytest.raises(WireError):
            wire.decode_sealed_untrusted(encoded, initiator=p3)
    else:
        assert wire.decode_sealed_untrusted(encoded, initiator=p3) == sealed


@pytest.mark.parametrize("cids", [b"a" * 16, MAGIC + b"a" * 13, b"a" * 8 + MAGIC + b"b" * 5])
def test_connection_ids_nobody_may_choose(cids: bytes) -> None:
    sealed = wire.Sealed(cids[:8], cids[8:], 0, 0, 0, b"", FULL_LISTS, b"")
    encoded = wire.encode_sealed(sealed, initiator=False)
    with pytest.raises(WireError):
        wire.decode_sealed_untrusted(encoded, initiator=False)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1300))
def test_any_bytes_decode_or_raise_one_error(data: bytes) -> None:
    wire.is_handshake(data)
    wire.echo_of_untrusted(data)
    for prefix in (b"", wire.HELLO_PREFIX, wire.CHALLENGE_PREFIX, wire.INITIATE_PREFIX):
        for decode in (
            wire.decode_hello_untrusted,
            wire.decode_challenge_untrusted,
            wire.decode_refusal_untrusted,
            wire.decode_initiate_untrusted,
            wire.decode_known_untrusted,
        ):
            with suppress(WireError):
                decode(prefix + data)
    for initiator in (False, True):
        with suppress(WireError):
            wire.decode_sealed_untrusted(data, initiator=initiator)


def test_flipped_bits_of_a_sealed_part_decode_or_raise_one_error() -> None:
    sealed = wire.Sealed(b"a" * 8, b"b" * 8, 1, 2, 3, bytes(16), FULL_LISTS, b"data")
    encoded = wire.encode_sealed(sealed, initiator=True)
    for bit in range(8 * len(encoded)):
        try:
            decoded = wire.decode_sealed_untrusted(flip(encoded, bit), initiator=True)
        except WireError:
            continue
        assert decoded != sealed
    for size in range(len(encoded) - len(b"data")):
        with pytest.raises(WireError):
            wire.decode_sealed_untrusted(encoded[:size], initiator=True)


@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\1", b"\0\1\1\1!", b"\0\7"])
def test_malformed_refusals(tail: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode_refusal_untrusted(wire.CHALLENGE_PREFIX + bytes(8) + tail)
    assert wire.decode_refusal_untrusted(wire.CHALLENGE_PREFIX + bytes(8) + b"\1") is None


def test_echo() -> None:
    assert wire.echo_of_untrusted(wire.ACCEPT_PREFIX + b"12345678rest") == b"12345678"
    assert wire.echo_of_untrusted(wire.CHALLENGE_PREFIX + b"1234567") is None
    assert wire.echo_of_untrusted(wire.HELLO_PREFIX + b"12345678") is None
    assert wire.is_handshake(wire.HELLO_PREFIX)
    assert not wire.is_handshake(b"a" * 8)
