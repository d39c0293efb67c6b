"""The lane alone: order, exactly once, quiescence under loss, the rule of lazy packets, bounds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.lanes import CONFIG, ROOM, Wire, make_lane
from transport.core.config import TransportConfig
from transport.core.errors import LaneFull, LocalError, WireError
from transport.core.frames import LANE, LANE_ACK
from transport.core.lane.lane import FLAG_LAZY
from transport.core.lane.receiver import ENTRY_SIZE_MAX


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    heal_at=st.sampled_from([1.0, 5.0, 20.0]),
    delay_s=st.sampled_from([0.0001, 0.02, 0.3]),
    loss=st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.9]),
    pushes=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([0, 0, 1, 2**63 - 1]),
            st.sampled_from([0, 1, 10, 500, 2_000]),
            st.sampled_from([0.0, 0.0, 0.01, 0.05, 0.5]),
        ),
        max_size=40,
    ),
    answer_share=st.sampled_from([0.0, 0.7, 0.95]),
)
def test_every_entry_arrives_once_in_order_and_the_lane_falls_silent(
    seed: int,
    heal_at: float,
    delay_s: float,
    loss: float,
    pushes: list[tuple[int, int, int, float]],
    answer_share: float,
) -> None:
    wire = Wire(seed, loss, heal_at, delay_s)
    wire.answer_share = answer_share
    for number, (side, group, size, pause_s) in enumerate(pushes):
        until = wire.now + pause_s
        while pause_s and wire.now < until and wire.step():
            pass
        wire.now = max(wire.now, until)
        wire.push(side, group, number.to_bytes(4, "big") + bytes(size))
    wire.settle()
    wire.check()


# Scripts of (time, side) at which a small entry is pushed; every pattern of loss among the first
# datagrams is tried, because packets without a timer are where a lane could stand still.
SCRIPTS = {
    "asks in turn": [(0.0, 0), (0.03, 1), (0.06, 0), (0.09, 1), (0.12, 0), (0.15, 1)],
    "answer and more": [(0.0, 0), (0.021, 1), (0.022, 1), (0.1, 1)],
    "two asks, two answers": [(0.0, 0), (0.001, 0), (0.021, 1), (0.023, 1)],
    "answer between asks": [(0.0, 0), (0.021, 1), (0.03, 0), (0.06, 1), (0.061, 0)],
    "both at once": [(0.0, 0), (0.0, 1), (0.03, 0), (0.03, 1), (0.06, 1)],
    "late answer": [(0.0, 0), (0.03, 0), (0.04, 1), (0.09, 1), (0.2, 0)],
}
LOSSY_DATAGRAMS = 9


def run_script(script: list[tuple[float, int]], pattern: int) -> Wire:
    wire = Wire(1, 0.0, 0.0)
    wire.pattern = pattern
    for number, (at, side) in enumerate(script):
        while (due := wire.next_time()) is not None and due <= at and wire.step():
            pass
        wire.now = at
        wire.push(side, 0, b"%d" % number)
        wire.flush(side)
    wire.settle()
    return wire


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_pattern_of_loss_is_survived(name: str) -> None:
    for pattern in range(1 << LOSSY_DATAGRAMS):
        run_script(SCRIPTS[name], pattern).check()


def test_an_ask_costs_one_packet_each_way_and_no_acknowledgement() -> None:
    wire = Wire(1, 0.0, 0.0)
    for turn in range(5):
        wire.push(0, 0, b"ask %d" % turn)
        wire.step()
        assert wire.arrived[1][-1] == (0, b"ask %d" % turn)
        wire.push(1, 0, b"answer %d" % turn)
        wire.step()
        assert wire.arrived[0][-1] == (0, b"answer %d" % turn)
    wire.settle()
    wire.check()
    assert wire.sent == [5, 5]
    assert wire.lanes[1].sender.quiet
    assert not wire.lanes[1].sender.idle, "the last answer is kept until something acknowledges it"


def test_a_lost_lazy_answer_is_sent_again_when_the_ask_is() -> None:
    wire = Wire(1, 0.0, 0.0)
    wire.push(0, 0, b"ask")
    wire.step()
    wire.push(1, 0, b"answer")
    wire.drop_next = 1
    wire.flush(1)
    assert wire.lanes[1].next_timeout() is None, "a lazy packet has no timer"
    wire.settle()
    wire.check()
    # The repeated ask brings it at once: no second timer passes.
    assert wire.now < CONFIG.rto_initial_s + CONFIG.ack_delay_s + 5 * wire.delay_s


def test_a_lazy_packet_followed_by_another_gets_a_timer() -> None:
    lane = make_lane()
    lane.receive_packet_untrusted(packet(0, b"\x00\x01x"), 0, 0.0, [])
    lane.sender.push(0, b"first")
    frame = lane.packet_frame(0.0, ROOM)
    assert frame is not None
    assert frame[0] & FLAG_LAZY
    assert lane.next_timeout() is None
    lane.sender.push(0, b"second")
    frame = lane.packet_frame(0.0, ROOM)
    assert frame is not None
    assert not frame[0] & FLAG_LAZY
    assert lane.next_timeout() is not None


def test_a_lazy_packet_does_not_stop_a_window_of_one() -> None:
    lane = make_lane()
    lane.sender.window = 1
    lane.receive_packet_untrusted(packet(0, b"\x00\x01x"), 0, 0.0, [])
    lane.sender.push(0, b"first")
    assert lane.packet_frame(0.0, ROOM) is not None
    lane.sender.push(0, b"second")
    assert lane.packet_frame(0.0, ROOM) is not None


def packet(number: int, body: bytes) -> bytes:
    return bytes([LANE]) + number.to_bytes(4, "big") + body


def test_every_second_packet_is_acknowledged_at_once_and_a_single_one_late() -> None:
    lane = make_lane()
    lane.receive_packet_untrusted(packet(0, b"\x00\x00"), 0, 1.0, [])
    assert not lane.ack_due(1.0)
    assert lane.next_timeout() == 1.0 + CONFIG.ack_delay_s
    lane.receive_packet_untrusted(packet(1, b"\x00\x00"), 0, 1.0, [])
    assert lane.ack_due(1.0)


def test_a_gap_and_a_duplicate_are_acknowledged_at_once() -> None:
    lane = make_lane()
    lane.receive_packet_untrusted(packet(1, b"\x00\x00"), 0, 1.0, [])
    assert lane.ack_due(1.0)
    assert lane.ack_frame(1.0) == bytes([LANE_ACK | 2]) + bytes(4) + b"\0" + bytes(7) + b"\x01"
    lane.receive_packet_untrusted(packet(1, b"\x00\x00"), 0, 1.0, [])
    assert lane.ack_due(1.0)


def test_a_hundred_small_entries_pack_into_few_packets() -> None:
    wire = Wire(1, 0.0, 0.0)
    for number in range(100):
        wire.push(0, 77, b"%050d" % number)
    wire.flush(0)
    assert wire.sent[0] == 6  # 19 of them fit in 1024 bytes
    wire.settle()
    wire.check()


def test_one_loss_is_repaired_without_the_timer() -> None:
    wire = Wire(1, 0.0, 0.0)
    wire.drop_next = 1
    for _ in range(8):
        wire.push(0, 1, bytes(1_000))
    wire.settle()
    wire.check()
    assert wire.now < CONFIG.rto_initial_s / 2
    assert wire.lanes[0].sender.window == CONFIG.lane_window_initial // 2


def test_a_timeout_leaves_a_window_of_one() -> None:
    wire = Wire(1, 0.0, 0.0)
    wire.drop_next = 3
    for _ in range(3):
        wire.push(0, 1, bytes(1_000))
    wire.flush(0)
    wire.step()
    assert wire.now >= CONFIG.rto_initial_s
    assert wire.lanes[0].sender.window == 1
    wire.settle()
    wire.check()


def test_the_window_grows_by_one_a_round_trip_and_stops_at_its_maximum() -> None:
    wire = Wire(1, 0.0, 0.0)
    for _ in range(1_000):
        wire.push(0, 1, bytes(1_000))
    wire.flush(0)
    assert wire.sent[0] == CONFIG.lane_window_initial
    while wire.now < 0.1:  # two round trips
        wire.step()
    assert CONFIG.lane_window_initial < wire.lanes[0].sender.window <= 13
    for _ in range(5):
        wire.settle()
        for _ in range(1_000):
            wire.push(0, 1, bytes(1_000))
    wire.settle()
    wire.check()
    assert wire.lanes[0].sender.window == CONFIG.lane_window_max


def test_the_backlog_is_bounded_and_relief_is_told_once() -> None:
    config = TransportConfig(lane_backlog_entries_max=10)
    lane = make_lane(config)
    for _ in range(10):
        lane.sender.push(1, b"x")
    with pytest.raises(LaneFull):
        lane.sender.push(1, b"x")
    assert not lane.sender.relieved()
    assert lane.packet_frame(0.0, ROOM) is not None
    lane.receive_ack_untrusted(bytes([LANE_ACK]) + (1).to_bytes(4, "big") + b"\0", 0, 0.1)
    assert lane.sender.relieved()
    assert not lane.sender.relieved()
    assert (lane.sender.backlog_entries, lane.sender.backlog_bytes) == (0, 0)

    lane = make_lane(TransportConfig(lane_backlog_bytes_max=2 * ENTRY_SIZE_MAX))
    lane.sender.push(1, bytes(ENTRY_SIZE_MAX))
    lane.sender.push(1, bytes(ENTRY_SIZE_MAX))
    with pytest.raises(LaneFull):
        lane.sender.push(1, b"x")


def test_an_entry_of_the_greatest_size_arrives_and_a_larger_one_is_refused() -> None:
    wire = Wire(7, 0.2, 5.0)
    wire.push(0, 2**63 - 1, random.Random(1).randbytes(ENTRY_SIZE_MAX))
    wire.push(0, 3, b"")
    wire.settle()
    wire.check()
    with pytest.raises(LocalError):
        wire.push(0, 1, bytes(ENTRY_SIZE_MAX + 1))
    with pytest.raises(LocalError):
        wire.push(0, 2**63, b"")


def test_reassembly_is_bounded() -> None:
    lane = make_lane()
    piece = (0x40 << 8 | 1_000).to_bytes(2, "big") + bytes(1_000)
    with pytest.raises(WireError, match="greatest"):  # noqa: PT012
        for number in range(100):
            lane.receive_packet_untrusted(packet(number, piece), 0, 0.0, [])
    assert number == ENTRY_SIZE_MAX // 1_000


def test_packets_ahead_are_held_within_the_window_only() -> None:
    lane = make_lane()
    for number in range(1, 200):
        lane.receive_packet_untrusted(packet(number, b"\x00\x00"), 0, 0.0, [])
    assert len(lane.receiver.held) == CONFIG.lane_window_max
    assert lane.receiver.bitmap() == 2**64 - 1
    entries: list[tuple[int, bytes]] = []
    lane.receive_packet_untrusted(packet(0, b"\x00\x00"), 0, 0.0, entries)
    assert len(entries) == CONFIG.lane_window_max + 1


@pytest.mark.parametrize(
    "body",
    [
        b"\x00",
        b"\x00\x05four",
        b"\x80\x00",
        b"\x80\x00" + b"\xff" * 8,
        b"\x40\x01x\x80\x01" + (9).to_bytes(8, "big") + b"y",
    ],
    ids=["head", "short", "group", "group of 64 bits", "piece of another group"],
)
def test_malformed_entries_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        make_lane().receive_packet_untrusted(packet(0, body), 0, 0.0, [])


def test_acknowledgements_of_what_was_never_sent_are_refused() -> None:
    lane = make_lane()
    lane.sender.push(0, b"x")
    assert lane.packet_frame(0.0, ROOM) is not None
    for upto, bits in ((2, 0), (0, 1), (1, 1), (2**32 - 1, 0)):
        frame = bytes([LANE_ACK | 2]) + upto.to_bytes(4, "big") + b"\0" + bits.to_bytes(8, "big")
        with pytest.raises(WireError):
            lane.receive_ack_untrusted(frame, 0, 0.1)


@given(st.binary(max_size=80))
def test_anything_untrusted_raises_wire_error_only(data: bytes) -> None:
    for kind in (*range(LANE, LANE + 8), *range(LANE_ACK, LANE_ACK + 8)):
        lane = make_lane()
        lane.sender.push(0, b"x")
        lane.packet_frame(0.0, ROOM)
        frame = bytes([kind]) + data
        try:
            if kind < LANE_ACK:
                lane.receive_packet_untrusted(frame, 0, 0.0, [])
            else:
                lane.receive_ack_untrusted(frame, 0, 0.0)
        except WireError:
            pass


def test_packet_numbers_go_on_beyond_32_bits() -> None:
    wire = Wire(5, 0.2, 3.0)
    base = 2**32 - 20
    for lane in wire.lanes:
        lane.sender.next_number = lane.sender.unacknowledged = base
        lane.receiver.expected = base
    for number in range(60):
        wire.push(number % 2, 1, bytes(900))
    wire.settle()
    wire.check()
    assert wire.lanes[0].receiver.expected > 2**32


def test_resuming_sends_everything_unacknowledged_again_and_nothing_twice_up() -> None:
    wire = Wire(1, 0.0, 0.0)
    for number in range(8):
        wire.push(0, 1, b"%04d" % number + bytes(900))
    wire.flush(0)
    assert wire.sent[0] == 8
    wire.lanes[0].sender.resume(wire.now + 1)
    wire.flush(0)
    assert wire.sent[0] == 16
    wire.settle()
    wire.check()
