"""Channels over a seeded network in memory: everything a byte stream promises."""

from __future__ import annotations

import random

import pytest

from tests.utp_native.helpers import MIB, A, Link, Transfer, key_pair
from tests.utp_native.raw import FIN, RESET, STATE, SYN, RawPeer
from utp_native import (
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
    Address,
    ChannelClosed,
    ChannelEvent,
    EventKind,
    Pump,
    PumpConfig,
    Reason,
    TooMany,
    UnknownHandle,
)
from utp_native.native import lib

BAD_NETWORKS = [
    {"loss": 0.02},
    {"loss": 0.1, "jitter_s": 0.005},
    {"jitter_s": 0.03},
    {"duplicate": 0.2, "jitter_s": 0.01},
    {"loss": 0.03, "jitter_s": 0.02, "duplicate": 0.05, "delay_s": 0.04},
]


def kinds(events: list[ChannelEvent], channel: int) -> list[EventKind]:
    return [event.kind for event in events if event.channel == channel]


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("suite", [SUITE_XCHACHA20, SUITE_AEGIS256])
@pytest.mark.parametrize("network", range(len(BAD_NETWORKS)))
def test_bytes_arrive_in_order_over_a_bad_network(suite: int, network: int) -> None:
    link = Link(seed=network, suite=suite, **BAD_NETWORKS[network])  # type: ignore[arg-type]
    a, b = link.connect()
    there = Transfer(link, (link.a, a), (link.b, b), random_bytes(MIB, 1))
    back = Transfer(link, (link.b, b), (link.a, a), random_bytes(MIB, 2))
    link.run(lambda: there.go() & back.go(), limit_s=300)
    link.run(lambda: link.of(link.a, EventKind.CLOSED) and link.of(link.b, EventKind.CLOSED))
    for pump, channel in ((link.a, a), (link.b, b)):
        pump.close_channel(channel)
    link.run_for(3)
    assert link.a.counters()["channels"] == link.b.counters()["channels"] == 0


def test_the_same_seed_gives_the_same_bytes_on_the_wire() -> None:
    def wire(seed: int) -> list[tuple[Address, bytes]]:
        link = Link(seed=seed, loss=0.05, jitter_s=0.01)
        link.keep_log = True
        a, b = link.connect()
        link.run(Transfer(link, (link.a, a), (link.b, b), bytes(MIB // 4)).go)
        return link.log

    assert wire(5) == wire(5)
    assert wire(5) != wire(6)


def test_many_channels_of_both_sides_at_once() -> None:
    link = Link(loss=0.01)
    transfers = []
    for i in range(8):
        opener, plane, other = (
            (link.a, link.plane_a, link.b) if i % 2 else (link.b, link.plane_b, link.a)
        )
        before = len(link.of(other, EventKind.ACCEPTED))
        channel = opener.open_channel(plane)

        def accepted_more(pump: Pump = other, count: int = before) -> bool:
            return len(link.of(pump, EventKind.ACCEPTED)) > count

        link.run(accepted_more)
        accepted = link.of(other, EventKind.ACCEPTED)[-1].channel
        transfers.append(
            Transfer(link, (opener, channel), (other, accepted), random_bytes(100_000, i))
        )
    link.run(lambda: sum(t.go() for t in transfers) == len(transfers))


def test_half_close() -> None:
    link = Link()
    a, b = link.connect()
    question, answer = random_bytes(300_000, 1), random_bytes(400_000, 2)
    link.run(Transfer(link, (link.a, a), (link.b, b), question).go)
    with pytest.raises(ChannelClosed):
        link.a.write(a, b"more")
    link.run_for(40)  # half-closed for long
    assert EventKind.CLOSED not in kinds(link.events[link.a], a)
    link.run(Transfer(link, (link.b, b), (link.a, a), answer).go)
    link.run(lambda: EventKind.CLOSED in kinds(link.events[link.a], a))
    link.run(lambda: EventKind.CLOSED in kinds(link.events[link.b], b))
    assert EventKind.FAILED not in kinds(link.events[link.a], a)


def test_writing_before_the_connection_is_there() -> None:
    link = Link()
    channel = link.a.open_channel(link.plane_a)
    assert link.a.write(channel, b"early") == 5
    link.a.finish(channel)
    link.run(lambda: link.of(link.b, EventKind.EOF))
    assert link.b.read(link.of(link.b, EventKind.ACCEPTED)[0].channel, 100) == b"early"


def test_close_delivers_what_was_written() -> None:
    link = Link(loss=0.05)
    a, b = link.connect()
    data = random_bytes(500_000)
    assert link.a.write(a, data) == len(data)
    link.a.close_channel(a)
    with pytest.raises(UnknownHandle):
        link.a.write(a, b"x")
    received = bytearray()

    def go() -> bool:
        received.extend(link.b.read(b, MIB))
        return EventKind.EOF in kinds(link.events[link.b], b)

    link.run(go)
    assert received + link.b.read(b, MIB) == data
    link.run_for(3)
    assert link.a.counters()["channels"] == 0


def test_close_delivers_what_was_written_before_the_connection_was_there() -> None:
    link = Link()
    channel = link.a.open_channel(link.plane_a)
    link.a.write(channel, bytes(50_000))
    link.a.close_channel(channel)
    link.run(lambda: link.of(link.b, EventKind.EOF))
    assert len(link.b.read(link.of(link.b, EventKind.ACCEPTED)[0].channel, MIB)) == 50_000
    link.run_for(3)
    assert link.a.counters()["channels"] == 0


def test_close_without_reading_resets_a_peer_that_goes_on() -> None:
    link = Link()
    a, b = link.connect()
    link.b.close_channel(b)
    link.run(lambda: EventKind.EOF in kinds(link.events[link.a], a))
    link.a.write(a, bytes(10_000))
    link.run(lambda: EventKind.FAILED in kinds(link.events[link.a], a))
    assert link.events[link.a][-1].reason is Reason.RESET
    assert link.b.counters()["channels"] == 0


def test_abort_tells_the_peer() -> None:
    link = Link()
    a, b = link.connect()
    link.a.write(a, bytes(10 * MIB))
    link.a.close_channel(a, abort=True)
    assert link.a.counters()["channels"] == 0
    link.run(lambda: EventKind.FAILED in kinds(link.events[link.b], b))
    with pytest.raises(ChannelClosed):
        link.b.write(b, b"x")
    link.b.close_channel(b)
    assert link.b.counters()["channels"] == 0


def test_a_slow_reader_holds_the_writer_back() -> None:
    config = PumpConfig(send_buffer=64 * 1024, send_window=256 * 1024, receive_buffer=128 * 1024)
    link = Link(config=config)
    a, b = link.connect()
    data = random_bytes(2 * MIB)
    rest = memoryview(data)
    received = bytearray()
    while rest or len(received) < len(data):
        if rest:
            rest = rest[link.a.write(a, rest) :]
        link.run_for(1.0)
        figures = link.b.channel_figures(b)
        assert figures["receive_buffered"] + figures["reordered"] <= config.receive_buffer
        assert link.a.channel_figures(a)["send_buffered"] <= config.send_buffer
        received += link.b.read(b, 30_000)
    assert received == data
    assert link.b.counters()["buffered_max"] <= config.receive_buffer
    assert EventKind.FAILED not in kinds(link.events[link.a], a)
    assert EventKind.WRITABLE in kinds(link.events[link.a], a)


def test_a_reader_that_stops_for_minutes_costs_nothing() -> None:
    config = PumpConfig(receive_buffer=64 * 1024)
    link = Link(config=config)
    a, b = link.connect()
    data = random_bytes(MIB // 2)
    assert link.a.write(a, data) == len(data)
    link.run_for(300)
    assert link.b.channel_figures(b)["receive_buffered"] <= config.receive_buffer
    assert EventKind.FAILED not in kinds(link.events[link.a], a)
    received = bytearray()

    def go() -> bool:
        received.extend(link.b.read(b, MIB))
        return len(received) == len(data)

    link.run(go)
    assert received == data


def test_the_budget_is_over_all_channels() -> None:
    config = PumpConfig(receive_buffer=64 * 1024, receive_budget=128 * 1024)
    link = Link(config=config)
    pairs = [link.connect() for _ in range(6)]
    for a, _ in pairs:
        link.a.write(a, bytes(100_000))
    link.run_for(5)
    held = sum(link.b.channel_figures(b)["receive_buffered"] for _, b in pairs)
    # The total is counted after each batch of datagrams.
    assert 100 * 1024 < held <= config.receive_budget + 64 * 1120
    got = dict.fromkeys(pairs, 0)

    def go() -> bool:
        for pair in pairs:
            got[pair] += len(link.b.read(pair[1], MIB))
        return all(count == 100_000 for count in got.values())

    link.run(go)


@pytest.mark.parametrize("connected", [True, False])
def test_a_peer_that_vanishes_is_noticed(connected: bool) -> None:
    link = Link()
    if connected:
        channel, _ = link.connect()
    link.drop = lambda source, data: True
    if not connected:
        channel = link.a.open_channel(link.plane_a)
    link.a.write(channel, bytes(100_000))
    vanished = link.now
    link.run(lambda: EventKind.FAILED in kinds(link.events[link.a], channel))
    assert link.events[link.a][-1].reason is Reason.TIMED_OUT
    # A SYN is repeated four times, two, four and eight seconds apart in the end.
    assert (30 if connected else 15) <= link.now - vanished <= 35
    link.a.close_channel(channel)
    assert link.a.counters()["channels"] == 0
    assert link.a.next_timeout() is None


def test_a_peer_that_vanishes_is_noticed_by_its_reader() -> None:
    link = Link()
    _, b = link.connect()
    link.run_for(1)
    link.drop = lambda source, data: True
    vanished = link.now
    link.run(lambda: EventKind.FAILED in kinds(link.events[link.b], b))
    assert link.events[link.b][-1].reason is Reason.TIMED_OUT
    # Counted from its last packet, which came a second before.
    assert 25 <= link.now - vanished <= 35


def test_a_silence_of_twenty_seconds_is_survived() -> None:
    link = Link()
    a, b = link.connect()
    data = random_bytes(MIB)
    transfer = Transfer(link, (link.a, a), (link.b, b), data)
    for _ in range(10):
        transfer.go()
        link.step()
    link.drop = lambda source, data: True
    link.run_for(20)
    link.drop = lambda source, data: False
    link.run(transfer.go)


def test_incoming_channels_are_bounded_and_come_back() -> None:
    link = Link()
    channels = [link.a.open_channel(link.plane_a) for _ in range(70)]
    link.run_for(3)
    accepted = [event.channel for event in link.of(link.b, EventKind.ACCEPTED)]
    assert len(accepted) == 64
    assert link.b.plane_figures(link.plane_b)["incoming"] == 64
    assert link.b.counters()["refused_channels"] >= 6
    for channel in accepted[:6]:
        link.b.close_channel(channel, abort=True)
    link.run(lambda: len(link.of(link.a, EventKind.CONNECTED)) == 70)
    assert len(set(channels)) == 70


def test_outgoing_channels_and_planes_are_bounded() -> None:
    link = Link(config=PumpConfig(outgoing_max=3, planes_max=2))
    for _ in range(3):
        link.a.open_channel(link.plane_a)
    with pytest.raises(TooMany):
        link.a.open_channel(link.plane_a)
    link.a.add_plane(key_pair(epoch="second")[0])
    with pytest.raises(TooMany):
        link.a.add_plane(key_pair(epoch="third")[0])


def test_an_old_syn_opens_nothing_anew() -> None:
    peer = RawPeer()
    again = peer.datagram(SYN, number=6, connection=100, seq=1000)
    channel = peer.connect(number=6)
    peer.pump.close_channel(channel, abort=True)
    assert [p.type for p in peer.take()] == [RESET]
    peer.events.clear()
    assert peer.give(again) == []
    assert peer.events == []


def test_numbers_of_our_own_side_open_nothing() -> None:
    peer = RawPeer()
    assert peer.give(peer.datagram(SYN, number=1, seq=1)) == []
    assert peer.events == []


def test_a_packet_for_nobody_is_answered_with_a_reset() -> None:
    peer = RawPeer()
    packets = [peer.datagram(STATE, number=8, connection=77, seq=5) for _ in range(100)]
    answers = peer.give(*packets)
    assert 0 < len(answers) <= 16
    assert {(p.type, p.number, p.connection, p.ack) for p in answers} == {(RESET, 8, 77, 5)}
    assert peer.give(peer.datagram(RESET, number=8, connection=77, seq=5)) == []


def test_a_last_packet_repeated_after_the_end_does_not_fail_the_peer() -> None:
    peer = RawPeer()
    channel = peer.connect()
    peer.pump.finish(channel)
    fin = peer.take()[-1]
    assert fin.type == FIN
    mine = peer.datagram(FIN, seq=peer.seq + 1, ack=fin.seq)
    peer.give(mine)
    assert EventKind.CLOSED in kinds(peer.events, channel)
    peer.pump.close_channel(channel)
    again = peer.give(peer.datagram(FIN, seq=peer.seq + 1, ack=fin.seq))
    assert [p.type for p in again] == [STATE]
    peer.wait(3)
    assert peer.pump.counters()["channels"] == 0


def test_a_reader_whose_peer_vanishes_is_told() -> None:
    link = Link()
    a, b = link.connect()
    link.a.write(a, b"the last that is heard")
    link.run(lambda: link.b.read(b, 100))
    link.run_for(1)
    link.drop = lambda source, data: source == A
    vanished = link.now
    link.run(lambda: EventKind.FAILED in kinds(link.events[link.b], b))
    assert 30 < link.now - vanished <= 36
    (failed,) = [e for e in link.of(link.b, EventKind.FAILED) if e.channel == b]
    assert failed.reason is Reason.TIMED_OUT


def test_a_reader_whose_peer_only_thinks_is_left_alone() -> None:
    # A request, its end, and an answer ten minutes later: signs of life are enough meanwhile.
    link = Link()
    a, b = link.connect()
    link.a.write(a, b"request")
    link.a.finish(a)
    link.run(lambda: link.b.read(b, 100))
    link.run_for(600)
    assert link.b.write(b, b"answer") == 6
    link.b.finish(b)
    link.run(lambda: link.a.read(a, 100))
    link.run(lambda: EventKind.CLOSED in kinds(link.events[link.a], a))
    assert not link.of(link.a, EventKind.FAILED)
    assert not link.of(link.b, EventKind.FAILED)


def test_what_is_due_is_asked_for_again_whenever_it_may_have_changed() -> None:
    """`Pump.next_timeout` remembers the answer; here it is compared with the native one."""
    link = Link(seed=5, loss=0.05)
    a, b = link.connect()
    transfer = Transfer(link, (link.a, a), (link.b, b), random_bytes(200_000))
    compared = 0
    while not transfer.go():
        for pump in (link.a, link.b):
            at, native = pump.next_timeout(), lib.qp_next_timeout(pump._pump)
            overdue = at is not None and at <= link.now and native <= link.now
            assert overdue or (-1.0 if at is None else at) == native
            compared += at is not None and not overdue
        assert link.step()
    assert compared > 100
