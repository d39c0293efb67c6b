"""What is lost, lost again or overtaken: how long a reader waits, in virtual time."""

from __future__ import annotations

import pytest

from tests.utp_native.helpers import MIB, A, Link, Transfer
from tests.utp_native.raw import DATA, FIN, RawPeer, parse
from utp_native import Address

TICK_S = 0.002
PAYLOAD = 1100


def pass_time(link: Link, seconds: float) -> None:
    """Time passes, and the writing pump is told: its next packets are stamped with it."""
    link.run_for(seconds)
    link.a.handle_timeout(link.now)


def lose_one(link: Link, after: int, times: int) -> list[int]:
    """Of the packets of data the one after `after` others is lost so many times; its losses."""
    losses: list[int] = []
    seen = [0]

    def drop(source: Address, data: bytes) -> bool:
        packet = parse(bytes(4) + data)  # a bare packet has no number of a channel
        if source != A or packet.type != DATA:
            return False
        seen[0] += 1
        if seen[0] > after and len(losses) < times and packet.seq in (losses or [packet.seq]):
            losses.append(packet.seq)
            return True
        return False

    link.drop = drop
    return losses


def longest_wait(link: Link, bytes_per_s: float, seconds: float) -> float:
    """The longest time between two reads while a writer writes at a steady rate."""
    a, b = link.connect()
    begun = last = link.now
    longest, written, received = 0.0, 0, 0
    while link.now < begun + seconds:
        wanted = int((link.now - begun) * bytes_per_s) // PAYLOAD * PAYLOAD
        written += link.a.write(a, bytes(wanted - written))
        pass_time(link, TICK_S)
        while count := len(link.b.read(b, MIB)):
            longest = max(longest, link.now - last) if received else 0.0
            received, last = received + count, link.now
    return max(longest, link.now - last)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("packets", [6, 20])
@pytest.mark.parametrize("rtt_s", [0.02, 0.1])
def test_a_packet_lost_again_and_again(rtt_s: float, packets: int, times: int) -> None:
    link = Link(delay_s=rtt_s / 2, bare=True)
    losses = lose_one(link, 200, times)
    waited = longest_wait(link, packets * PAYLOAD / rtt_s, 250 / packets * rtt_s + 2)
    assert len(losses) == times
    assert waited < 0.5


def seconds_for(size: int, delay_s: float, jitter_s: float = 0.0, seed: int = 0) -> float:
    """How long so many bytes take over a path that delays each packet for itself."""
    link = Link(delay_s=delay_s, jitter_s=jitter_s, seed=seed)
    a, b = link.connect()
    begun = link.now
    link.run(Transfer(link, (link.a, a), (link.b, b), bytes(size)).go)
    return link.now - begun


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("delay_s", "jitter_s", "times"),
    [(0.08, 0.01, 1.2), (0.08, 0.03, 1.3), (0.04, 0.01, 1.2), (0.01, 0.005, 1.4)],
)
def test_reordering_costs_little(delay_s: float, jitter_s: float, times: float, seed: int) -> None:
    # A part of it is the delay itself, which jitter makes longer: by an eighth at 40 ms and 10.
    assert seconds_for(MIB, delay_s, jitter_s, seed) <= times * seconds_for(MIB, delay_s)


@pytest.mark.parametrize("seed", range(4))
def test_jitter_longer_than_the_round_trip(seed: int) -> None:
    # The least round trip is 20 ms and the longest 80: the reordering window has to widen, and what
    # it was too narrow for has to be forgiven.
    assert seconds_for(MIB, 0.01, 0.03, seed) <= 1.4 * seconds_for(MIB, 0.025)


def test_losses_and_reordering_together() -> None:
    link = Link(delay_s=0.02, jitter_s=0.01, loss=0.02, duplicate=0.02)
    a, b = link.connect()
    link.run(Transfer(link, (link.a, a), (link.b, b), bytes(MIB)).go)


def test_the_last_packet_is_asked_about_before_the_timer() -> None:
    # The last packets of a window are lost and nothing comes after them. The timer's floor is
    # 200 ms; two round trips and one to repair are less.
    link = Link(delay_s=0.01, bare=True)
    a, b = link.connect()
    for _ in range(8):  # measures the round trip
        link.a.write(a, bytes(PAYLOAD))
        pass_time(link, 0.05)
    link.b.read(b, MIB)
    begun = link.now
    sent = [0, 0]

    def drop(source: Address, data: bytes) -> bool:
        if source != A or len(data) < PAYLOAD // 2:
            return False
        sent[link.now > begun] += 1
        return link.now == begun and sent[0] > 5

    link.drop = drop
    link.a.write(a, bytes(9 * PAYLOAD))
    link.run_for(0.15)
    assert sent[0] >= 9
    assert sent[1] >= 4
    assert len(link.b.read(b, MIB)) == 9 * PAYLOAD


def test_packets_beyond_the_acknowledgement_are_not_taken_for_lost() -> None:
    # A selective acknowledgement tells of 1,024 packets. Two holes in a window of several times as
    # many: when the first is filled, what was sent before and is beyond the second has arrived long
    # since, though nobody has said so.
    link = Link(delay_s=0.05, bare=True)
    a, b = link.connect()
    sent: dict[int, int] = {}
    holes: list[int] = []

    def drop(source: Address, data: bytes) -> bool:
        packet = parse(bytes(4) + data)
        if source != A or packet.type != DATA:
            return False
        sent[packet.seq] = sent.get(packet.seq, 0) + 1
        if len(sent) in (6000, 7500) and len(holes) < 2 and packet.seq not in holes:
            holes.append(packet.seq)
            return True
        return False

    link.drop = drop
    link.run(Transfer(link, (link.a, a), (link.b, b), bytes(16 * MIB)).go)
    assert len(holes) == 2
    assert [seq for seq, times in sent.items() if times > 1] == holes


def test_who_has_measured_no_round_trip_waits_a_second_for_it() -> None:
    # RFC 8985, section 7.2. Who accepts has nothing acknowledged before it sends something.
    peer = RawPeer()
    channel = peer.connect()
    peer.pump.finish(channel)
    assert [packet.type for packet in peer.take()] == [FIN]
    assert peer.wait(0.99) == []
    assert peer.wait(0.02)[0].type == FIN
