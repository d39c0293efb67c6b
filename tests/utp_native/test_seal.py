"""The native sealing is the Python one: docs/protocol/presence.md, both ways."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.utp_native.helpers import A, B, Link, key_pair, seeded
from tests.utp_native.raw import STATE, SYN, RawPeer, parse
from transport.core import constants
from transport.core.crypto import packet_number
from transport.core.crypto.aead_portable import Opener, Sealer
from transport.core.errors import WireError
from utp_native import SUITE_AEGIS256, SUITE_XCHACHA20, EventKind, Pump
from utp_native.native import lib

BOTH = pytest.mark.parametrize("suite", [SUITE_XCHACHA20, SUITE_AEGIS256])


def test_suites_have_the_same_numbers() -> None:
    assert SUITE_XCHACHA20 == constants.SUITE_XCHACHA20
    assert SUITE_AEGIS256 == constants.SUITE_AEGIS256


@given(
    largest=st.integers(-1, constants.PACKET_NUMBER_MAX - 1) | st.integers(-1, 1 << 30),
    size=st.integers(1, 9),
    distance=st.integers(-(1 << 34), 1 << 34),
    low=st.integers(0, constants.PACKET_NUMBER_MAX),
)
def test_counters_are_read_alike(largest: int, size: int, distance: int, low: int) -> None:
    for number in (low, min(max(largest + distance, 0), constants.PACKET_NUMBER_MAX)):
        masked = number & ((1 << 7 * size) - 1)
        native = lib.qp_nearest(masked, 7 * size, largest)
        assert native == packet_number.nearest(masked, 7 * size, largest + 1)


@BOTH
@pytest.mark.parametrize("size", [1, 2, 4, 5, 9])
def test_sealed_in_python_opens_natively(suite: int, size: int) -> None:
    peer = RawPeer(suite)
    mine = key_pair(suite)[0]
    peer.sealer = Sealer(
        mine.send_cid, suite, mine.send_key, mine.send_header_key, number_size_min=size
    )
    channel = peer.connect()
    received = b""
    for _ in range(300):  # past where a counter of one byte wraps
        peer.give(peer.data(b"some bytes"))
        received += peer.pump.read(channel, 100)
    assert received == 300 * b"some bytes"
    assert peer.pump.counters()["bulk_opened"] == 301


@BOTH
def test_sealed_natively_opens_in_python(suite: int) -> None:
    link = Link(suite=suite)
    link.keep_log = True
    a, _ = link.connect()
    link.a.write(a, bytes(100_000))
    link.run_for(1)
    mine = link.keys[1]
    opener = Opener(
        mine.receive_cid, suite, mine.receive_key, mine.receive_header_key, replay_window=8192
    )
    payloads = [opener.open_untrusted(data) for source, data in link.log if source == A]
    assert parse(payloads[0]).type == SYN
    assert parse(payloads[0]).number == 0
    assert sum(len(parse(p).payload) for p in payloads) == 100_000
    longest = max(len(data) for _, data in link.log)
    assert constants.SEALED_SIZE_MAX - 4 <= longest <= constants.SEALED_SIZE_MAX
    with pytest.raises(WireError):
        opener.open_untrusted(link.log[0][1])


@BOTH
def test_forged_replayed_and_cut_datagrams_are_silence(suite: int) -> None:
    peer = RawPeer(suite)
    channel = peer.connect()
    datagram = peer.data(b"through")
    before = peer.pump.counters()
    altered = [
        bytes([*datagram[:i], datagram[i] ^ (1 << bit), *datagram[i + 1 :]])
        for i in range(8, len(datagram))
        for bit in range(8)
    ]
    cut = [datagram[:size] for size in range(8, len(datagram))]
    long = [datagram + b"x", datagram + bytes(1200 - len(datagram))]
    refused = [*altered, *cut, *long]
    assert peer.give(*refused) == []
    assert peer.pump.poll_events() == []
    after = peer.pump.counters()
    assert after["bulk_refused"] - before["bulk_refused"] == len(refused)
    assert after["bulk_opened"] == before["bulk_opened"]
    # None of them moved the window: the original still opens, once.
    peer.give(datagram, datagram, datagram)
    assert peer.pump.read(channel, 100) == b"through"
    assert peer.pump.counters()["bulk_opened"] == before["bulk_opened"] + 1


def test_replay_window_is_8192() -> None:
    for behind, opens in ((8191, True), (8192, False)):
        peer = RawPeer()
        peer.connect()
        late = peer.datagram(STATE, seq=5, ack=5)
        others = [peer.datagram(STATE, seq=5, ack=5) for _ in range(behind)]
        peer.give(others[-1])
        before = peer.pump.counters()["bulk_opened"]
        peer.give(late)
        assert peer.pump.counters()["bulk_opened"] - before == opens


def test_what_is_not_bulk_is_handed_over() -> None:
    peer = RawPeer()
    others = [(b"\xf1\x9a\x71 a handshake", A), (b"short", B), (bytes(1200), ("2001:db8::1", 7))]
    bulk = peer.datagram(SYN, seq=1)
    given = [others[0], (bulk, A), others[1], (bytes(1201), A), (b"", A), others[2]]
    assert peer.pump.inject(given, 1.0) == others
    assert [event.kind for event in peer.pump.poll_events()] == [EventKind.ACCEPTED]


@given(
    keys=st.binary(min_size=64, max_size=64),
    suite=st.sampled_from([SUITE_XCHACHA20, SUITE_AEGIS256]),
    payload=st.binary(min_size=24, max_size=1000),
    number=st.integers(0, 1 << 40),
)
def test_any_key_masks_and_seals_as_libsodium_does(
    keys: bytes, suite: int, payload: bytes, number: int
) -> None:
    # The native side computes the mask by itself and derives XChaCha20's key once: the Python side
    # asks libsodium for both each time. Nine bytes of counter need no guess of what is above.
    theirs = replace(key_pair(suite)[1], receive_key=keys[:32], receive_header_key=keys[32:])
    pump = Pump(None, random=seeded("any"), now=1.0)
    plane = pump.add_plane(theirs)
    sealer = Sealer(theirs.receive_cid, suite, keys[:32], keys[32:], number_size_min=9)
    sealer.resume(number, 0)
    pump.inject([(sealer.seal(payload), A)], 1.0)
    assert pump.plane_figures(plane)["opened"] == 1
