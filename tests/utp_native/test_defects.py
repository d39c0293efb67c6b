"""One test for each patch of libutp: it fails with that patch left out (docs/native.md)."""

from __future__ import annotations

import pytest

from tests.utp_native.helpers import FULL, MIB, A, B, Link, Transfer, repair_time
from tests.utp_native.raw import DATA, FIN, STATE, SYN, RawPeer
from utp_native import ChannelEvent, EventKind, PumpConfig, Reason


def failures(events: list[ChannelEvent]) -> list[Reason]:
    return [event.reason for event in events if event.kind is EventKind.FAILED]


def test_crafted_delay_is_clamped() -> None:
    peer = RawPeer()
    channel = peer.connect()
    base = 5_000_000
    peer.give(peer.data(b"x", reply_micro=base))
    for _ in range(4):
        peer.now += 6  # the mean is taken over five seconds
        for _ in range(3):
            peer.give(peer.data(b"x", reply_micro=base - 2**31))
    figures = peer.pump.channel_figures(channel)
    # A mean of -2^31 aborts where assertions are on; without them it would show here.
    assert -(2**27) < figures["clock_drift"] < 2**27


def test_half_open_channel_times_out() -> None:
    peer = RawPeer(config=PumpConfig(incoming_max=8))
    for number in range(0, 20, 2):
        peer.give(peer.datagram(SYN, number=number, connection=number, seq=1))
    accepted = [e.channel for e in peer.events if e.kind is EventKind.ACCEPTED]
    assert len(accepted) == 8
    assert peer.pump.counters()["refused_channels"] == 2
    peer.wait(14)
    assert not failures(peer.events)
    peer.wait(2)
    assert failures(peer.events) == [Reason.TIMED_OUT] * 8
    for channel in accepted:
        peer.pump.close_channel(channel)
    assert peer.pump.counters()["channels"] == 0
    peer.give(peer.datagram(SYN, number=100, connection=1, seq=1))
    assert peer.events[-1].kind is EventKind.ACCEPTED


def test_a_channel_with_a_sign_of_life_is_not_half_open() -> None:
    link = Link()
    link.connect()
    link.run_for(60)
    assert not failures(link.events[link.a] + link.events[link.b])


def test_lost_syn_ack_is_repeated() -> None:
    link = Link()
    lost = [0]

    def drop(source: tuple[str, int], data: bytes) -> bool:
        lost[0] += source == B
        return source == B and lost[0] == 1

    link.drop = drop
    link.connect()
    assert lost[0] >= 2
    link.run_for(20)
    assert not failures(link.events[link.a] + link.events[link.b])


def test_lost_sign_of_life_is_repeated() -> None:
    link = Link()
    seen = [0]

    def drop(source: tuple[str, int], data: bytes) -> bool:
        seen[0] += source == A
        return source == A and seen[0] == 2  # the first is the SYN

    link.drop = drop
    link.connect()
    link.run_for(20)
    assert seen[0] >= 3
    assert not failures(link.events[link.a] + link.events[link.b])


def test_acceptor_writes_first() -> None:
    link = Link()
    sent = [0]

    def only_syn(source: tuple[str, int], data: bytes) -> bool:
        sent[0] += source == A
        return source == A and sent[0] > 1

    link.drop = only_syn
    channel = link.a.open_channel(link.plane_a)
    link.run(lambda: link.of(link.b, EventKind.ACCEPTED))
    greeting = b"the acceptor speaks first"
    assert link.b.write(link.of(link.b, EventKind.ACCEPTED)[0].channel, greeting) == len(greeting)
    link.run(lambda: link.of(link.a, EventKind.READABLE), limit_s=10)
    assert link.a.read(channel, 100) == greeting


def test_acceptor_writes_before_its_syn_ack_arrives() -> None:
    link = Link()
    seen = [0]

    def drop(source: tuple[str, int], data: bytes) -> bool:
        seen[0] += source == B
        return source == B and seen[0] <= 2  # the SYN-ACK and the first data

    link.drop = drop
    channel = link.a.open_channel(link.plane_a)
    link.run(lambda: link.of(link.b, EventKind.ACCEPTED))
    data = bytes(range(256)) * 64
    accepted = link.of(link.b, EventKind.ACCEPTED)[0].channel
    Transfer(link, (link.b, accepted), (link.a, channel), data)
    transfer = Transfer(link, (link.b, accepted), (link.a, channel), data)
    link.run(transfer.go)


def test_connection_id_ffff() -> None:
    peer = RawPeer()
    channel = peer.connect(connection=0xFFFF)
    assert peer.connection == 0
    peer.give(peer.data(b"through"))
    assert peer.pump.read(channel, 100) == b"through"


@pytest.mark.parametrize("extension", [3, 7, 255])
def test_unknown_extension_is_skipped(extension: int) -> None:
    peer = RawPeer()
    channel = peer.connect()
    peer.give(peer.data(b"\x00\x03abc" + b"through", extension=extension))
    assert peer.pump.read(channel, 100) == b"through"


def test_window_beyond_1024_packets() -> None:
    link = Link(delay_s=0.05)
    a, b = link.connect()
    transfer = Transfer(link, (link.a, a), (link.b, b), bytes(24 * MIB))
    most = [0]

    def go() -> bool:
        most[0] = max(most[0], link.a.channel_figures(a)["in_flight"])
        return transfer.go()

    link.run(go)
    assert most[0] > 4096 * 1088


def test_many_losses_are_told_at_once() -> None:
    # 300 packets of one window are lost: 30 bits would tell of a tenth of them.
    link = Link(delay_s=0.05)
    a, b = link.connect()
    lost = [0]

    def drop(source: tuple[str, int], data: bytes) -> bool:
        if source == A and len(data) == FULL and 2000 < link.sent < 2600 and link.sent % 2:
            lost[0] += 1
        return source == A and len(data) == FULL and 2000 < link.sent < 2600 and lost[0] % 2 == 1

    link.drop = drop
    transfer = Transfer(link, (link.a, a), (link.b, b), bytes(8 * MIB))
    took = repair_time(link, transfer, b, lambda: lost[0] > 0, lambda: lost[0] > 50)
    assert took < 3  # thirty bits and four packets a round trip would take longer
    link.run(transfer.go)


def test_slow_start_multiplies() -> None:
    link = Link(delay_s=0.025)
    a, b = link.connect()
    started = link.now
    link.run(Transfer(link, (link.a, a), (link.b, b), bytes(8 * MIB)).go)
    # A third more each round trip of 50 ms, from ten packets to 8 MiB in all: 20 of them.
    assert link.now - started < 24 * 0.05


def test_tail_loss_is_repaired_within_a_second() -> None:
    link = Link()
    a, b = link.connect()
    link.a.write(a, b"measures the round trip")
    link.run(lambda: link.b.read(b, 100))
    link.run_for(0.1)
    lost: list[bytes] = []  # the packet, and what asks about it before the timer does

    def drop(source: tuple[str, int], data: bytes) -> bool:
        if source == A and len(lost) < 2:
            lost.append(data)
            return True
        return False

    link.drop = drop
    started = link.now
    link.a.write(a, b"the last packet")
    link.run(lambda: link.b.read(b, 100))
    assert len(lost) == 2
    assert link.now - started < 0.5  # a floor of a second and steps of 500 ms would show


def test_sender_that_ignores_the_window() -> None:
    # What was acknowledged is there to read, byte for byte: nothing beyond the window counts as
    # received, and nothing that counts was thrown away.
    config = PumpConfig(receive_buffer=32 * 1120)
    peer = RawPeer(config=config)
    channel = peer.connect()
    first = peer.seq
    pieces = [bytes([i]) * 1000 for i in range(200)]
    answers = peer.give(*(peer.data(piece) for piece in pieces))
    acknowledged = answers[-1].ack - first
    assert 16 < acknowledged <= config.receive_buffer // 1000
    assert peer.pump.read(channel, 1 << 20) == b"".join(pieces[:acknowledged])
    assert peer.pump.counters()["buffered_max"] <= config.receive_buffer


def test_sender_that_ignores_the_window_out_of_order() -> None:
    # What is kept is told by the selective acknowledgement, whatever our own figures say.
    config = PumpConfig(receive_buffer=32 * 1120)
    peer = RawPeer(config=config)
    peer.connect()
    peer.seq += 1  # the first one never arrives
    answers = peer.give(*(peer.data(bytes(1000)) for _ in range(200)))
    assert answers[-1].extension == 1
    kept = int.from_bytes(answers[-1].payload[2:], "little").bit_count()
    assert 16 < kept <= config.receive_buffer // 1000


def test_what_is_missing_has_room() -> None:
    # A buffer full of what came too early would refuse the very packet all of it waits for.
    config = PumpConfig(receive_buffer=32 * 1120)
    peer = RawPeer(config=config)
    channel = peer.connect()
    missing = peer.data(bytes(1000))
    peer.give(*(peer.data(bytes(1000)) for _ in range(200)))
    assert peer.pump.read(channel, MIB) == b""
    peer.give(missing)
    assert len(peer.pump.read(channel, MIB)) > 16 * 1000


def test_a_closed_channel_keeps_nothing() -> None:
    # It lingers until the peer has acknowledged its end; what comes meanwhile is for nobody.
    config = PumpConfig(receive_buffer=32 * 1120)
    peer = RawPeer(config=config)
    channel = peer.connect()
    peer.pump.close_channel(channel)
    (end,) = [p for p in peer.take() if p.type == FIN]
    peer.seq += 1
    missing = peer.seq
    for _ in range(40):
        peer.give(*(peer.data(bytes(1000)) for _ in range(400)))
    counters = peer.pump.counters()
    assert counters["channels"] == 1
    assert counters["buffered_max"] == counters["held"] == 0
    # What comes in order is acknowledged, so that a peer that means well gets to its own end.
    for seq in (missing, missing + 1):
        answers = peer.give(peer.datagram(DATA, seq=seq, ack=peer.ack, payload=bytes(1000)))
        assert answers[-1].ack == seq
    peer.give(peer.datagram(FIN, seq=missing + 2, ack=end.seq))
    peer.wait(3)
    assert peer.pump.counters()["channels"] == 0


def test_acknowledgements_without_progress_keep_a_channel() -> None:
    # A peer that is there but takes nothing is not given up; once it is silent, it is, in 30 s.
    peer = RawPeer()
    channel = peer.connect()
    peer.give(peer.datagram(STATE, seq=peer.seq + 1, ack=peer.ack))
    peer.pump.write(channel, bytes(5000))
    peer.take()
    for _ in range(100):
        peer.wait(1)
        peer.give(peer.datagram(STATE, seq=peer.seq + 1, ack=peer.ack))
    assert not failures(peer.events)
    peer.wait(29)
    assert not failures(peer.events)
    peer.wait(9)  # at the next retransmission, and these are at most 8 s apart
    assert failures(peer.events) == [Reason.TIMED_OUT]


def test_packets_have_one_size() -> None:
    link = Link()
    link.keep_log = True
    a, b = link.connect()
    lost: list[bytes] = []

    def drop(source: tuple[str, int], data: bytes) -> bool:
        # A search for the path's MTU takes the loss of a probe that is alone for a limit of size.
        if source == A and len(data) > 600 and not lost:
            lost.append(data)
            return True
        return False

    link.drop = drop
    link.a.write(a, bytes(1000))
    link.run(lambda: link.b.read(b, 1000))
    assert lost
    link.log.clear()
    link.run(Transfer(link, (link.a, a), (link.b, b), bytes(2 * MIB)).go)
    sizes = {len(data) for source, data in link.log if source == A and len(data) > 600}
    assert max(sizes) == FULL
    assert sum(len(d) == FULL for s, d in link.log if s == A) > 0.95 * 2 * MIB / FULL
    assert len(sizes) <= 2  # and one short packet at the end


def test_packets_are_used_again() -> None:
    window = 64 * FULL
    link = Link(config=PumpConfig(send_window=window))
    a, b = link.connect()
    link.run(Transfer(link, (link.a, a), (link.b, b), bytes(4 * MIB)).go)
    # Thousands were sent. Some are cut short where writes end, so there are more than fit whole.
    assert 32 < link.a.channel_figures(a)["packet_blocks"] <= 2 * 64
