"""Sealing by one native call a datagram is sealing a primitive at a time, in every way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.utp_native.helpers import stretch
from transport.core.constants import DATAGRAM_SIZE_MAX, PACKET_NUMBER_MAX, SEALED_SIZE_MAX
from transport.core.crypto import aead, aead_native, aead_portable
from transport.core.errors import LocalError, WireError
from transport.core.frames import relay
from utp_native import SUITE_AEGIS256, SUITE_XCHACHA20
from utp_native.sealing import ffi

CID = stretch("cid", 8)
KEY, HEADER_KEY = stretch("key"), stretch("header key")
KINDS: list[Any] = [aead_portable, aead_native]
SUITES = [SUITE_XCHACHA20, SUITE_AEGIS256]
BOTH = pytest.mark.parametrize("suite", SUITES)
EACH = pytest.mark.parametrize("kind", KINDS)


def sealers(suite: int, size_min: int = 1) -> list[Any]:
    keys = CID, suite, KEY, HEADER_KEY
    return [kind.Sealer(*keys, number_size_min=size_min) for kind in KINDS]


def openers(suite: int) -> list[Any]:
    return [kind.Opener(CID, suite, KEY, HEADER_KEY) for kind in KINDS]


def opened(opener: Any, datagram: bytes) -> bytes | None:
    try:
        payload: bytes = opener.open_untrusted(datagram)
    except WireError:
        return None
    return payload


def test_the_native_one_is_what_presences_use() -> None:
    assert vars(aead)["Sealer"] is aead_native.Sealer
    assert vars(aead)["Opener"] is aead_native.Opener


@BOTH
@given(
    start=st.integers(0, PACKET_NUMBER_MAX - 100)
    | st.integers(0, 300)
    | st.just(PACKET_NUMBER_MAX - 60),
    acknowledged=st.integers(0, 1 << 62) | st.integers(0, 600),
    size_min=st.sampled_from([1, 2, 4, 9]),
    steps=st.lists(st.tuples(st.binary(max_size=70), st.integers(-3, 3)), max_size=60),
)
def test_both_seal_the_same(
    suite: int, start: int, acknowledged: int, size_min: int, steps: list[tuple[bytes, int]]
) -> None:
    pair = sealers(suite, size_min)
    for each in pair:
        each.resume(start, max(start - 1 - acknowledged, -1))
    for payload, news in steps:
        first, second = (each.seal(payload) for each in pair)
        assert first == second
        for each in pair:
            each.acknowledge(each.next_packet_number + news)
        assert pair[0].state == pair[1].state


@BOTH
@given(
    start=st.integers(0, PACKET_NUMBER_MAX - 1000) | st.integers(0, 300),
    size_min=st.sampled_from([1, 2, 9]),
    jumps=st.lists(st.integers(-70, 70) | st.integers(0, 3_000), max_size=80),
    flips=st.sets(st.integers(0, 79)),
)
def test_both_open_the_same(
    suite: int, start: int, size_min: int, jumps: list[int], flips: set[int]
) -> None:
    """In any order, with repetitions and forgeries: the same payloads, silences and states."""
    sealer = sealers(suite, size_min)[0]
    pair = openers(suite)
    for each in pair:
        each.resume(start - 1, 1 if start else 0)
    number = start
    for turn, jump in enumerate(jumps):
        number = min(max(number + jump, 0), PACKET_NUMBER_MAX)
        sealer.resume(number, number - 1)
        datagram = bytearray(sealer.seal(b"%d" % number))
        if turn in flips:
            datagram[(turn * 7) % len(datagram)] ^= 1 << turn % 8
        first, second = (opened(each, bytes(datagram)) for each in pair)
        assert first == second
        assert pair[0].state == pair[1].state
        if first is not None:
            assert pair[0].newest == pair[1].newest


@BOTH
@given(data=st.binary(max_size=DATAGRAM_SIZE_MAX + 100))
def test_neither_opens_what_nobody_sealed(suite: int, data: bytes) -> None:
    for opener in openers(suite):
        before = opener.state
        assert opened(opener, data) is None
        assert opened(opener, CID + data) is None
        assert opener.state == before


@EACH
@BOTH
def test_numbers_end_and_none_is_used_twice(suite: int, kind: Any) -> None:
    sealer = kind.Sealer(CID, suite, KEY, HEADER_KEY)
    sealer.resume(PACKET_NUMBER_MAX, PACKET_NUMBER_MAX - 1)
    assert len(sealer.seal(b"the last")) == len(CID) + 1 + 8 + {1: 16, 2: 32}[suite]
    for _ in range(2):
        with pytest.raises(LocalError):
            sealer.seal(b"one more")
    assert sealer.next_packet_number == PACKET_NUMBER_MAX + 1


@EACH
@BOTH
def test_only_a_relay_may_be_longer(suite: int, kind: Any) -> None:
    sealer = kind.Sealer(CID, suite, KEY, HEADER_KEY)
    opener = kind.Opener(CID, suite, KEY, HEADER_KEY)
    wrapped = relay(KEY, bytes(SEALED_SIZE_MAX))
    assert opener.open_untrusted(sealer.seal(wrapped)) == wrapped
    for payload in (bytes(len(wrapped)), wrapped + b"."):
        with pytest.raises(LocalError):
            sealer.seal(payload)
    assert sealer.next_packet_number == 1


def test_a_datagram_too_long_uses_no_number() -> None:
    """The one case in which a counter's length decides: a wrapped datagram and nine bytes of it."""
    sealer = aead_native.Sealer(CID, SUITE_AEGIS256, KEY, HEADER_KEY, number_size_min=9)
    with pytest.raises(LocalError):
        sealer.seal(relay(KEY, bytes(SEALED_SIZE_MAX)))
    assert sealer.next_packet_number == 0


@BOTH
def test_nothing_of_the_keys_stays_after_they_are_erased(suite: int) -> None:
    sealer = aead_native.Sealer(CID, suite, KEY, HEADER_KEY)
    opener = aead_native.Opener(CID, suite, KEY, HEADER_KEY)
    datagram = sealer.seal(b"payload")
    for each in (sealer, opener):
        held = ffi.buffer(each._native)[:]
        kept = ffi.buffer(each._native.key)[:], ffi.buffer(each._native.mask)[:]
        assert all(any(part) and part in held for part in kept)
        each.erase()
        assert not any(ffi.buffer(each._native.key)[:] + ffi.buffer(each._native.mask)[:])
        assert not any(part in ffi.buffer(each._native)[:] for part in kept)
    with pytest.raises(LocalError):
        sealer.seal(b"payload")
    assert opened(opener, datagram) is None


@EACH
def test_nodes_in_several_threads_do_not_meet(kind: Any) -> None:
    """A call lets go of the interpreter: what it made must not be another thread's by then."""

    def talk(thread: int) -> int:
        header = stretch(f"header {thread}")
        sealer = kind.Sealer(CID, SUITE_XCHACHA20, KEY, header)
        opener = kind.Opener(CID, SUITE_XCHACHA20, KEY, header)
        payload = bytes([thread]) * 1000
        return sum(opened(opener, sealer.seal(payload)) == payload for _ in range(2_000))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(talk, range(4))) == [2_000] * 4
