"""Sequence numbers: any beginning, the wrap, and what is acknowledged around it."""

from __future__ import annotations

import pytest

from tests.utp_native.helpers import FULL, MIB, A, Link, Transfer, key_pair, repair_time
from tests.utp_native.raw import DATA, FIN, STATE, RawPeer, parse
from transport.core.crypto.aead_portable import Opener
from utp_native import SUITE_XCHACHA20, EventKind


def initial_sequence_number(link: Link) -> int:
    mine = key_pair()[1]
    opener = Opener(
        mine.receive_cid,
        SUITE_XCHACHA20,
        mine.receive_key,
        mine.receive_header_key,
        replay_window=8192,
    )
    return parse(opener.open_untrusted(link.log[0][1])).seq


@pytest.mark.parametrize("upper_half", [True, False])
def test_fast_resend_from_any_sequence_number(upper_half: bool) -> None:
    for seed in range(50):
        link = Link(seed=seed)
        link.keep_log = True
        channels = link.connect()
        if (initial_sequence_number(link) > 40000) == upper_half:
            break
    else:
        raise AssertionError("no seed gave such a sequence number")
    dropped: list[float] = []

    def drop(source: tuple[str, int], data: bytes) -> bool:
        if not dropped and source == A and len(data) == FULL and link.sent > 100:
            dropped.append(link.now)
            return True
        return False

    link.drop = drop
    a, b = channels
    transfer = Transfer(link, (link.a, a), (link.b, b), bytes(MIB // 2))
    # A timeout would take 200 ms at least; three later packets take one round trip of 20 ms.
    assert repair_time(link, transfer, b, lambda: bool(dropped)) < 0.1
    link.run(transfer.go)


def test_sack_at_the_end_of_a_packet() -> None:
    peer = RawPeer()
    channel = peer.connect()
    peer.pump.write(channel, bytes(MIB))
    sent = peer.take()
    while len(sent) <= 40:  # open the window
        assert peer.now < 5
        peer.now += 0.01
        sent = peer.give(peer.datagram(STATE, seq=peer.seq + 1, ack=sent[-1].seq))
    before = peer.pump.channel_figures(channel)["window"]
    for _ in range(40):
        peer.now += 0.001
        peer.give(
            peer.datagram(
                STATE,
                seq=peer.seq + 1,
                ack=sent[0].seq - 1,
                extension=1,
                payload=b"\x00\x04" + bytes(4),
            )
        )
    # Nothing was acknowledged, whatever byte stands behind the packet.
    assert peer.pump.channel_figures(channel)["window"] == before


def test_end_after_sequence_numbers_wrap() -> None:
    peer = RawPeer()
    channel = peer.connect(seq=65533)
    end = peer.datagram(FIN, seq=1, ack=peer.ack)
    third = peer.datagram(DATA, seq=0, ack=peer.ack, payload=b"three")
    second = peer.datagram(DATA, seq=65535, ack=peer.ack, payload=b"two")
    first = peer.datagram(DATA, seq=65534, ack=peer.ack, payload=b"one")
    peer.give(end, third, second, first)
    assert peer.pump.read(channel, 100) == b"onetwothree"
    assert any(event.kind is EventKind.EOF for event in peer.events)


@pytest.mark.parametrize("beyond", [0, 1], ids=["as BEP 29 says", "as libutp counts"])
@pytest.mark.parametrize("written", [b"", b"more"])
@pytest.mark.parametrize("released", [False, True])
def test_after_its_end_a_peer_may_go_on_with_that_number(
    released: bool, written: bytes, beyond: int
) -> None:
    peer = RawPeer()
    channel = peer.connect(seq=0xFFFD)
    peer.give(peer.data(b"hello"))
    peer.seq += 1
    peer.give(peer.datagram(FIN, seq=peer.seq, ack=peer.ack))
    assert peer.pump.read(channel, 100) == b"hello"
    assert [event.kind for event in peer.events][-1:] == [EventKind.EOF]
    if written:
        peer.pump.write(channel, written)
    if released:
        peer.pump.close_channel(channel)
    else:
        peer.pump.finish(channel)
    sent = peer.take()
    assert [packet.type for packet in sent if packet.type != STATE][-1] == FIN
    again = peer.give(peer.datagram(STATE, seq=peer.seq + beyond, ack=sent[-1].seq))
    again += peer.wait(10.0)
    assert [packet for packet in again if packet.type != STATE] == []
    assert peer.pump.counters()["channels"] == (0 if released else 1)
    if not released:
        assert peer.events[-1].kind is EventKind.CLOSED
