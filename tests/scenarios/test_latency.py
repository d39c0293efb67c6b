"""One round trip: 50 ms one way, and everybody knows every outcome after 100 ms."""

import pytest

from consensus.core.types import Outcome
from scenarios.world.network import Link
from scenarios.world.world import Host, World
from tests.support.nodes.gathered import committed, decisions_of, gathered, propose

ONE_WAY_S = 0.05
ROUND_TRIP_S = 2 * ONE_WAY_S
SOON_S = 1e-6
"""Nodes take no time here: what is more than rounding is a delay of the protocol's."""


def told_at(host: Host, body: bytes) -> float:
    (at,) = [at for at, decision in decisions_of(host) if decision.body == body]
    return at


def settled(world: World, hosts: list[Host], bodies: list[bytes]) -> None:
    assert world.run(lambda: all(set(bodies) <= set(committed(host)) for host in hosts))


@pytest.mark.parametrize("number", range(2, 17))
def test_from_any_member_to_everybody_in_one_round_trip(number: int) -> None:
    world, hosts = gathered(number, Link(delay_s=ONE_WAY_S))
    proposers = hosts if number < 9 else [hosts[0], hosts[number // 2], hosts[-1]]
    for proposer in proposers:
        body = proposer.name.encode()
        began = world.now
        propose(proposer, body)
        settled(world, hosts, [body])
        assert told_at(proposer, body) - began == pytest.approx(ROUND_TRIP_S, abs=SOON_S)
        for host in hosts:
            assert told_at(host, body) - began <= ROUND_TRIP_S + SOON_S
        world.run(for_s=0.5)

    # Two at the same instant, and then everybody: all of it is committed, in one order.
    for rivals in ([hosts[0], hosts[-1]], hosts):
        bodies = [f"{len(rivals)} {host.name}".encode() for host in rivals]
        began = world.now
        for host, body in zip(rivals, bodies, strict=True):
            propose(host, body)
        settled(world, hosts, bodies)
        for host in hosts:
            for body in bodies:
                assert told_at(host, body) - began <= ROUND_TRIP_S + SOON_S
        world.run(for_s=0.5)
    assert len({tuple(committed(host)) for host in hosts}) == 1
    assert len(committed(hosts[0])) == len(proposers) + 2 + number


@pytest.mark.parametrize("number", [2, 3, 16])
@pytest.mark.parametrize("proposers", ["one", "all"])
def test_a_steady_stream_is_never_held_back(number: int, proposers: str) -> None:
    """A proposal every 15 ms, though several are under way and acknowledgements are delayed (and
    fewer than the ten datagrams a fresh lane may have in flight).

    From one member each takes a round trip. From all in turn one may wait for another of a lower
    clock, made up to a one-way trip later by a member that had not heard of it.
    """
    world, hosts = gathered(number, Link(delay_s=ONE_WAY_S))
    began = {}
    for count in range(40):
        body = b"%d" % count
        began[body] = world.now
        propose(hosts[count % number if proposers == "all" else -1], body)
        world.run(for_s=0.015)
    settled(world, hosts, list(began))
    longest_s = ROUND_TRIP_S if proposers == "one" else ROUND_TRIP_S + ONE_WAY_S
    for host in hosts:
        for at, decision in decisions_of(host):
            assert decision.outcome is Outcome.COMMITTED
            assert at - began[decision.body] <= longest_s + SOON_S
