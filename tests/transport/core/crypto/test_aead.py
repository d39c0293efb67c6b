"""Sealed datagrams: the layout, the mask, replay, and that nothing else opens."""

from __future__ import annotations

from hashlib import blake2b

import nacl.bindings as sodium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.core.constants import (
    REPLAY_WINDOW_MESSAGES,
    SEALED_SIZE_MAX,
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
)
from transport.core.crypto.aead import SEALED_PAYLOAD_SIZE_MAX, Opener, Sealer
from transport.core.errors import LocalError, WireError

CID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
KEY = bytes(range(32))
HEADER_KEY = bytes(range(32, 64))
SUITES = [SUITE_XCHACHA20, SUITE_AEGIS256]


def pair(suite: int = SUITE_XCHACHA20, size_min: int = 1) -> tuple[Sealer, Opener]:
    sealer = Sealer(CID, suite, KEY, HEADER_KEY, number_size_min=size_min)
    return sealer, Opener(CID, suite, KEY, HEADER_KEY)


def by_hand(suite: int, number: int, size: int, payload: bytes) -> bytes:
    """The layout as docs/protocol/presence.md says it, from nacl.bindings and hashlib."""
    groups = [number >> 7 * at & 0x7F for at in reversed(range(size))]
    counter = bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])
    if suite == SUITE_XCHACHA20:
        encrypt = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt
        nonce = number.to_bytes(24, "big")
    else:
        encrypt = sodium.crypto_aead_aegis256_encrypt
        nonce = number.to_bytes(32, "big")
    sealed = encrypt(payload, CID + counter, nonce, KEY)
    mask = blake2b(sealed[-16:], digest_size=16, key=HEADER_KEY).digest()
    return CID + bytes(c ^ m for c, m in zip(counter, mask, strict=False)) + sealed


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_the_layout_is_the_documented_one(suite: int, size: int) -> None:
    sealer, opener = pair(suite, size)
    for number in range(3):
        datagram = sealer.seal(b"payload %d" % number)
        assert datagram == by_hand(suite, number, size, b"payload %d" % number)
        assert opener.open_untrusted(datagram) == b"payload %d" % number
        assert opener.newest


@pytest.mark.parametrize("suite", SUITES)
def test_both_suites_carry_the_largest_payload_and_an_empty_one(suite: int) -> None:
    sealer, opener = pair(suite, 9)
    for payload in (b"", bytes(SEALED_PAYLOAD_SIZE_MAX)):
        datagram = sealer.seal(payload)
        assert len(datagram) <= SEALED_SIZE_MAX
        assert opener.open_untrusted(datagram) == payload
    with pytest.raises(LocalError):
        sealer.seal(bytes(SEALED_PAYLOAD_SIZE_MAX + 1))


def test_counters_grow_while_nothing_is_acknowledged_and_shrink_after() -> None:
    sealer, opener = pair()
    sizes = []
    for number in range(600):
        datagram = sealer.seal(b"")
        sizes.append(len(datagram) - 8 - 16)
        assert opener.open_untrusted(datagram) == b""
        assert sealer.next_packet_number == number + 1
    assert sizes == [1] * 4 + [2] * 508 + [3] * 88
    sealer.acknowledge(599)
    assert len(sealer.seal(b"")) == 8 + 1 + 16
    sealer.acknowledge(10_000)  # never sent: ignored
    sealer.acknowledge(3)  # old news
    assert len(sealer.seal(b"")) == 8 + 1 + 16


@pytest.mark.parametrize("suite", SUITES)
def test_every_flipped_bit_and_every_cut_is_refused_and_changes_nothing(suite: int) -> None:
    sealer, opener = pair(suite, 2)
    datagram = sealer.seal(b"payload")
    for bit in range(8 * 8, len(datagram) * 8):
        bad = bytearray(datagram)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            opener.open_untrusted(bytes(bad))
    for bit in range(8 * 8):  # the id is associated data, should dispatch ever go wrong
        bad = bytearray(datagram)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            opener.open_untrusted(bytes(bad))
    for size in range(len(datagram)):
        with pytest.raises(WireError):
            opener.open_untrusted(datagram[:size])
    with pytest.raises(WireError):
        opener.open_untrusted(datagram + b"\0")
    with pytest.raises(WireError):
        opener.open_untrusted(datagram + bytes(SEALED_SIZE_MAX))
    assert opener.open_untrusted(datagram) == b"payload"


def test_a_datagram_opens_once_and_old_ones_not_at_all() -> None:
    # Two bytes of counter: one byte cannot name what is 64 behind the number expected next.
    sealer, opener = pair(size_min=2)
    datagrams = [sealer.seal(b"%d" % n) for n in range(REPLAY_WINDOW_MESSAGES + 2)]
    assert opener.open_untrusted(datagrams[-1])
    for number in (0, 1):
        with pytest.raises(WireError):
            opener.open_untrusted(datagrams[number])
    for number in range(len(datagrams) - 2, 1, -1):
        assert opener.open_untrusted(datagrams[number]) == b"%d" % number
        assert not opener.newest
    for datagram in datagrams:
        with pytest.raises(WireError):
            opener.open_untrusted(datagram)


def test_a_counter_of_ten_bytes_is_refused() -> None:
    _, opener = pair()
    for size, refused in ((10, True), (9, False)):  # both are authentic
        datagram = by_hand(SUITE_XCHACHA20, 0, size, b"payload")
        if refused:
            with pytest.raises(WireError):
                opener.open_untrusted(datagram)
        else:
            assert opener.open_untrusted(datagram) == b"payload"


def test_the_wrong_keys_open_nothing() -> None:
    sealer, _ = pair()
    datagram = sealer.seal(b"payload")
    for key, header_key in ((HEADER_KEY, HEADER_KEY), (KEY, KEY)):
        with pytest.raises(WireError):
            Opener(CID, SUITE_XCHACHA20, key, header_key).open_untrusted(datagram)


def test_erased_keys_open_nothing_and_unusable_arguments_are_refused() -> None:
    sealer, opener = pair()
    datagram = sealer.seal(b"payload")
    opener.erase()
    with pytest.raises(WireError):
        opener.open_untrusted(datagram)
    for cid, suite, key in ((b"short", 1, KEY), (CID, 9, KEY), (CID, 1, b"short")):
        with pytest.raises(LocalError):
            Sealer(cid, suite, key, HEADER_KEY)


def test_no_key_shows_in_a_repr() -> None:
    for direction in pair():
        assert KEY.hex() not in repr(direction)
        assert repr(KEY) not in repr(direction)


@given(st.binary(max_size=1_300))
def test_anything_untrusted_raises_wire_error_only(data: bytes) -> None:
    _, opener = pair()
    with pytest.raises(WireError):
        opener.open_untrusted(CID + data)
    with pytest.raises(WireError):
        opener.open_untrusted(data)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_any_order_within_the_window_opens_each_once(payloads: list[int], random: object) -> None:
    sealer, opener = pair()
    datagrams = [(sealer.seal(bytes(size)), size) for size in payloads]
    random.shuffle(datagrams)  # type: ignore[attr-defined]
    for datagram, size in datagrams:
        assert opener.open_untrusted(datagram) == bytes(size)
