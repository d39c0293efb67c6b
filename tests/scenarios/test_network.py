"""The simulated network does what its links say, and the same again for the same seed."""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from scenarios.world.clock import Clock, TimeStandsStill
from scenarios.world.nat import Nat, NatKind
from scenarios.world.network import HEADER_SIZE, Link, Network

A, B, C = ("a", 1), ("b", 1), ("c", 1)


def drain(clock: Clock) -> None:
    while clock.step():
        pass


def carry(link: Link, count: int, seed: int = 1, every_s: float = 0.001, size: int = 100):
    """Sends `count` numbered datagrams from A to B; returns arrivals and the network."""
    clock = Clock()
    network = Network(clock, seed, link)
    arrivals: list[tuple[float, int]] = []
    network.attach(B, lambda data, _: arrivals.append((clock.now, int.from_bytes(data[:4], "big"))))
    for number in range(count):
        data = number.to_bytes(4, "big").ljust(size, b".")
        clock.at(number * every_s, network.send, data, A, B)
    drain(clock)
    return arrivals, network


def test_a_plain_link_delays_and_keeps_order():
    arrivals, network = carry(Link(delay_s=0.05), 100)
    assert [number for _, number in arrivals] == list(range(100))
    assert all(math.isclose(at, n * 0.001 + 0.05) for at, n in arrivals)
    assert network.counters.sent == network.counters.delivered == 100
    assert network.counters.delivered_bytes == 10_000


@pytest.mark.parametrize("burst", [1.0, 5.0])
def test_loss_has_its_share_and_its_bursts(burst: float):
    arrivals, network = carry(Link(loss=0.2, loss_burst=burst), 20_000)
    assert network.counters.lost + len(arrivals) == 20_000
    assert abs(network.counters.lost / 20_000 - 0.2) < 0.03
    got = {number for _, number in arrivals}
    runs, run = [], 0
    for number in range(20_000):
        if number not in got:
            run += 1
        elif run:
            runs.append(run)
            run = 0
    expected = 1 / (1 - 0.2) if burst == 1.0 else burst
    assert abs(statistics.mean(runs) - expected) < 0.3 * expected


def test_duplicates_come_as_often_as_said():
    arrivals, network = carry(Link(duplication=0.1), 10_000)
    assert len(arrivals) == 10_000 + network.counters.duplicated
    assert abs(network.counters.duplicated - 1000) < 150


def test_reordering_and_jitter_let_later_ones_overtake_and_in_order_does_not():
    for link in (Link(reordering=0.1, reordering_s=0.01), Link(jitter_s=0.01)):
        arrivals, _ = carry(link, 1000)
        numbers = [number for _, number in arrivals]
        assert numbers != sorted(numbers)
        assert sorted(numbers) == list(range(1000))
    arrivals, _ = carry(Link(jitter_s=0.01, jitter="exponential", in_order=True), 1000)
    assert [number for _, number in arrivals] == list(range(1000))


def test_exponential_jitter_has_its_mean():
    arrivals, _ = carry(Link(delay_s=0.0, jitter_s=0.02, jitter="exponential"), 10_000)
    assert abs(statistics.mean(at - n * 0.001 for at, n in arrivals) - 0.02) < 0.002


def test_a_rate_limits_and_its_queue_drops_at_the_tail():
    link = Link(delay_s=0.0, rate_bytes_per_s=12_800, queue_bytes_max=1280)
    arrivals, network = carry(link, 1000, size=100)
    assert network.counters.overflowed == 1000 - len(arrivals) > 0
    gaps = [b - a for (a, _), (b, _) in itertools.pairwise(arrivals)]
    assert all(gap >= 128 / 12_800 - 1e-9 for gap in gaps)
    assert max(at - n * 0.001 for at, n in arrivals) <= 1280 / 12_800 + 1e-9
    assert HEADER_SIZE == 28


def test_what_is_too_large_vanishes():
    arrivals, network = carry(Link(datagram_size_max=99), 10, size=100)
    assert arrivals == []
    assert network.counters.oversized == 10


def test_equal_seeds_give_equal_histories_and_others_do_not():
    link = Link(loss=0.1, duplication=0.1, jitter_s=0.05, reordering=0.1)
    assert carry(link, 500, seed=7)[0] == carry(link, 500, seed=7)[0]
    assert carry(link, 500, seed=7)[0] != carry(link, 500, seed=8)[0]


def listen(network: Network, *addresses: tuple[str, int]) -> list[tuple[bytes, tuple[str, int]]]:
    got: list[tuple[bytes, tuple[str, int]]] = []
    for address in addresses:
        network.attach(address, lambda data, source: got.append((data, source)))
    return got


def test_cuts_stop_one_or_both_ways_and_heal():
    clock = Clock()
    network = Network(clock)
    got = listen(network, A, B, C)
    one_way = network.cut(["a"], [B], one_way=True)
    network.send(b"stopped", A, B)
    network.send(b"back", B, A)
    network.send(b"aside", A, C)
    network.heal(one_way)
    network.send(b"healed", A, B)
    network.cut(["a", "b"], ["c"], heal_after_s=1.0)
    network.send(b"stopped", C, B)
    network.send(b"among us", A, B)
    clock.at(1.5, network.send, b"again", C, B)
    drain(clock)
    assert [data for data, _ in got] == [b"back", b"aside", b"healed", b"among us", b"again"]
    assert network.counters.cut == 2
    assert network.counters_between(A, B).cut == 1


def test_the_trace_sees_every_fate():
    clock = Clock()
    network = Network(clock)
    seen: list[str] = []
    network.trace = lambda now, what, *_: seen.append(what)
    network.send(b"x", A, B)
    network.set_link(A, C, Link(loss=1.0))
    network.send(b"x", A, C)
    drain(clock)
    assert sorted(seen) == ["lost", "unroutable"]


def behind(kind: NatKind):
    clock = Clock()
    network = Network(clock)
    got = listen(network, A, B, C)
    nat = Nat("nat", kind, 1)
    network.put_behind(A, nat, "nat")
    return clock, network, got, nat


@pytest.mark.parametrize(
    ("kind", "stranger", "other_port"),
    [
        (NatKind.full_cone(), True, True),
        (NatKind("endpoint", "address"), False, True),
        (NatKind.port_restricted(), False, False),
        (NatKind.symmetric(), False, False),
    ],
)
def test_nats_filter_by_kind(kind: NatKind, stranger: bool, other_port: bool):
    clock, network, got, _ = behind(kind)
    network.send(b"out", A, B)
    drain(clock)
    outside = got[0][1]
    assert outside[0] == "nat"
    network.send(b"answer", B, outside)
    network.send(b"stranger", C, outside)
    network.send(b"other port", ("b", 2), outside)
    drain(clock)
    received = {data for data, _ in got}
    assert b"answer" in received
    assert (b"stranger" in received) == stranger
    assert (b"other port" in received) == other_port


def test_nats_map_by_kind_forget_in_time_and_are_bounded():
    for kind, same in ((NatKind.port_restricted(), True), (NatKind.symmetric(), False)):
        _, _, _, nat = behind(kind)
        assert (nat.outward(A, B, 0.0) == nat.outward(A, C, 0.0)) == same
    _, _, _, nat = behind(NatKind(lifetime_s=30.0, mappings_max=2))
    outside = nat.outward(A, B, 0.0)
    assert outside is not None
    assert nat.inward(B, outside, 29.0) == A
    assert nat.inward(B, outside, 31.0) is None
    assert nat.outward(("x", 1), B, 31.0) is not None
    assert nat.outward(("x", 2), B, 31.0) is not None
    assert nat.outward(("x", 3), B, 31.0) is None
    nat.reboot()
    assert nat.outward(("x", 3), B, 31.0) is not None


def test_a_clock_that_never_advances_is_a_defect():
    clock = Clock()

    def again() -> None:
        clock.at(clock.now, again)

    again()
    with pytest.raises(TimeStandsStill):
        drain(clock)


def test_a_cancelled_action_does_not_run():
    clock = Clock()
    ran: list[int] = []
    clock.at(1.0, ran.append, 1).cancel()
    clock.at(2.0, ran.append, 2)
    assert clock.next_time() == 2.0
    drain(clock)
    assert ran == [2]


def test_a_link_refuses_what_is_no_probability():
    with pytest.raises(ValueError, match="loss"):
        Link(loss=1.5)
    with pytest.raises(ValueError, match="burst"):
        Link(loss_burst=0.5)
