"""Hosts live, die, stop and go on; the world drives a node as the endpoint does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from scenarios.world import world as world_module
from scenarios.world.network import Address, Link
from scenarios.world.world import Host, World


class Transmit(NamedTuple):
    data: bytes
    address: Address


class Beacon:
    """A small real node: greets its peers every second and reports the greetings it hears."""

    def __init__(self, host: Host, now: float):
        self.salt = host.random_bytes(2)
        self.peers = [other.address for other in host.world.hosts.values() if other is not host]
        self.due = now + 1.0
        self.transmits: list[Transmit] = []
        self.heard: list[bytes] = []
        self.batches: list[int] = []

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> None:
        self.batches.append(len(batch))
        self.heard += [data for data, _ in batch]

    def handle_timeout(self, now: float) -> None:
        assert now >= self.due
        self.due = now + 1.0
        self.greet()

    def greet(self) -> None:
        self.transmits += [Transmit(self.salt, peer) for peer in self.peers]

    def poll_transmits(self) -> list[Transmit]:
        out, self.transmits = self.transmits, []
        return out

    def poll_events(self) -> list[bytes]:
        out, self.heard = self.heard, []
        return out

    def next_timeout(self) -> float | None:
        return self.due


def three(seed: int = 1, **link: float) -> World:
    world = World(seed, Link(**link))
    for name in "abc":
        world.add(name, Beacon, start=False)
    for host in world.hosts.values():
        host.start()
    return world


def history(world: World) -> list[tuple[str, float, bytes]]:
    return [(h.name, at, event) for h in world.hosts.values() for at, event in h.events]


def test_nodes_are_driven_and_time_passes_to_the_instant():
    world = three()
    assert world.run(10.5)
    assert world.now == 10.5
    assert [len(host.events) for host in world.hosts.values()] == [20, 20, 20]


def test_equal_seeds_give_equal_traces():
    def trace(seed: int) -> list[tuple[str, float, bytes]]:
        world = three(seed, jitter_s=0.1, loss=0.2)
        world.at(3.2, world["b"].crash)
        world.at(4.1, world["b"].restart)
        world.run(20.0)
        return history(world)

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


def test_a_crashed_host_is_silent_and_a_restart_is_a_new_life():
    world = three()
    world.run(2.5)
    first = (world["a"].incarnation, world["a"].node.salt)
    world["a"].crash()
    before = len(world["b"].events)
    with pytest.raises(ValueError, match="down"):
        world["a"].call(lambda node, now: None)
    world.run(5.5)
    assert len(world["b"].events) - before == 3
    world["a"].restart()
    assert (world["a"].incarnation, world["a"].node.salt) != first
    assert world["a"].lives == 2
    with pytest.raises(ValueError, match="lives already"):
        world["a"].start()


def test_a_paused_host_finds_what_queued_and_its_timer_when_it_goes_on(monkeypatch):
    monkeypatch.setattr(world_module, "SOCKET_BUFFER_MAX", 8)
    world = three()
    world["a"].pause()
    world.run(10.5)
    assert world["a"].events == []
    assert world["a"].overflowed == 12
    assert world["a"].up
    assert world["a"].paused
    sent = world.network.counters.sent
    world["a"].resume()
    world.run(10.9)
    assert len(world["a"].events) == 8
    assert world.network.counters.sent == sent + 2
    assert world["a"].node.batches == [8]


def test_a_sleeping_host_hears_nothing_and_its_clock_stands():
    world = three()
    world.run(0.5)
    host = world["a"]
    host.sleep()
    host.sleep()
    world.run(10.7)
    assert host.now == 0.5
    assert host.paused
    assert world.network.counters.unroutable == 20
    host.wake()
    assert (host.now, host.slept_s) == (pytest.approx(0.5), pytest.approx(10.2))
    sent = world.network.counters.sent
    world.run(11.1)
    assert world.network.counters.sent == sent + 4, "its own timer is not due yet"
    assert len(host.events) == 2, "what came before it woke is lost"
    world.run(11.3)
    assert world.network.counters.sent == sent + 6
    assert host.node.due == pytest.approx(2.0, abs=1e-6), "by its own clock"


def test_processing_takes_time_in_which_a_node_is_deaf_and_mute():
    world = three(delay_s=0.01)
    world["a"].processing_s = 0.2
    world.run(1.5)
    assert [round(at, 3) for at, _ in world["a"].events] == [1.41, 1.41]
    assert world["a"].node.batches == [2]


def test_cuts_by_name_heal_and_actions_run_at_their_time():
    world = three(delay_s=0.01)
    heal = world.cut("a", "bc", one_way=True)
    world.at(2.5, heal)
    world.at(2.6, world["a"].take_events)
    world.run(3.5)
    assert [len(world[name].events) for name in "abc"] == [6, 4, 4]
    assert len(world["a"].take_events()) == 2


def test_a_predicate_ends_a_run_or_its_limit_does():
    world = three(delay_s=0.01)
    assert world.run(lambda: len(world["a"].events) >= 3)
    assert 2.0 < world.now < 2.1
    assert not world.run(lambda: False, limit_s=1.0)
    assert 3.0 < world.now < 3.2


def test_a_moved_host_sends_from_and_listens_at_its_new_address():
    world = three(delay_s=0.01)
    world["a"].move(("10.9.9.9", 1))
    world.run(1.5)
    assert world["a"].events == []
    world["b"].node.peers = [world["a"].address]
    world.run(2.5)
    assert len(world["a"].events) == 1


def test_names_are_unique():
    world = three()
    with pytest.raises(ValueError, match="already"):
        world.add("a", Beacon)
