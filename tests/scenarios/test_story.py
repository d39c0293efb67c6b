"""The demonstration's story in the simulated network: the same code, a minute in about a second."""

from collections.abc import Callable

import pytest

from consensus.core.config import GroupConfig
from consensus.core.outputs import Decided, Expelled, Installed
from consensus.core.types import Content, Decision, Outcome, Proposal, Vote
from consensus.machine.hosted_group import GroupEvent, PairEvent
from scenarios.world.member import SimulatedNode
from scenarios.world.network import Link
from scenarios.world.world import Host, World
from tests.support.nodes.overheard import overhear
from transport.core.crypto.keys import Identity

NUMBER = 7
NAMES = ("alice", "bob", "carol", "dave")


def judge(proposal: Proposal) -> Vote:
    if proposal.content.body == b"5000":
        return Vote(False, b"", "too much")
    return Vote(True, b"yes")


def build(seed: int, link: Link) -> tuple[World, list[Host]]:
    world = World(seed, link)

    def factory(host: Host, now: float) -> SimulatedNode:
        return SimulatedNode(host, now, Identity.generate(host.random_bytes), judge)

    return world, [world.add(name, factory) for name in NAMES]


def decisions(host: Host) -> list[Decision]:
    return [
        event.output.decision
        for _, event in host.events
        if isinstance(event, GroupEvent) and isinstance(event.output, Decided)
    ]


def view_size(host: Host) -> int:
    views = [
        event.output.view
        for _, event in host.events
        if isinstance(event, GroupEvent) and isinstance(event.output, Installed)
    ]
    return len(views[-1].members) if views else 0


def knows(one: Host, other: Host) -> bool:
    return other.node.key in one.node.machine.contacts.lives


def gather(world: World, hosts: list[Host]) -> None:
    founder, *others = hosts
    founder.call(lambda n, now: n.do(lambda m, t: m.found(NUMBER, GroupConfig(), t), now))
    for count, host in enumerate(others, start=2):
        host.node.machine.contacts.know(founder.node.key, [founder.address])
        host.call(lambda n, now: n.do(lambda m, t: m.connect(founder.node.key, t, 10.0), now))
        assert world.run(lambda host=host: knows(host, founder) and knows(founder, host))  # type: ignore[misc]
        host.call(
            lambda n, now: n.do(
                lambda m, t: m.join(NUMBER, founder.node.key, GroupConfig(), t), now
            )
        )
        founder.call(
            lambda n, now, host=host: n.do(
                lambda m, t: m.sponsor(NUMBER, host.node.key, [host.address], t), now
            )
        )
        assert world.run(lambda count=count: all(view_size(h) == count for h in hosts[:count]))  # type: ignore[misc]


def propose(world: World, by: Host, members: list[Host], content: Content) -> list[Decision]:
    before = {host.name: len(decisions(host)) for host in members}
    by.call(lambda n, now: n.do(lambda m, t: m.propose(NUMBER, content, t), now))
    assert world.run(
        lambda: all(len(decisions(host)) > before[host.name] for host in members), limit_s=60.0
    )
    return [decisions(host)[-1] for host in members]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "link",
    [
        Link(delay_s=0.02),
        Link(delay_s=0.03, jitter_s=0.02, loss=0.05, duplication=0.02, reordering=0.02),
    ],
    ids=["clean", "lossy"],
)
def test_story(seed: int, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    checkers = overhear(monkeypatch)
    world, hosts = build(seed, link)
    gather(world, hosts)
    alice, bob, carol, dave = hosts

    dave.node.machine.contacts.know(bob.node.key, [bob.address])
    dave.call(lambda n, now: n.do(lambda m, t: m.ask(bob.node.key, Content("price"), t, 5.0), now))
    asked: Callable[[], bool] = lambda: any(  # noqa: E731
        isinstance(event, PairEvent) and isinstance(event.output, Decided)
        for _, event in dave.events
    )
    assert world.run(asked)

    for decision in propose(world, alice, hosts, Content("budget", b"500")):
        assert decision.outcome is Outcome.COMMITTED
        assert len(decision.answers) == 3
    for decision in propose(world, bob, hosts, Content("budget", b"5000")):
        assert decision.outcome is Outcome.REJECTED
        assert {reason for _, reason in decision.reasons} == {"too much"}

    data = alice.random_bytes(1 << 20)
    ref = alice.node.blobs.share(data)
    content = Content("publish", b"report", ((ref.root, ref.size),))
    for decision in propose(world, alice, hosts, content):
        assert decision.outcome is Outcome.COMMITTED
    assert all(host.node.blobs.data(ref) == data for host in hosts)

    dave.pause()
    staying = hosts[:3]
    assert world.run(lambda: all(view_size(host) == 3 for host in staying), limit_s=30.0)
    for decision in propose(world, carol, staying, Content("budget", b"499")):
        assert decision.outcome is Outcome.COMMITTED
    dave.resume()
    expelled: Callable[[], bool] = lambda: any(  # noqa: E731
        isinstance(event, GroupEvent) and isinstance(event.output, Expelled)
        for _, event in dave.events
    )
    assert world.run(expelled, limit_s=30.0)
    world.run(until=60.0)

    orders = [[(d.index, d.kind, d.body, d.outcome) for d in decisions(h)] for h in staying]
    assert orders[0][-len(orders[1]) :] == orders[1]
    assert orders[1][-len(orders[2]) :] == orders[2]
    assert max(checkers.facts.views) == 5, "three joins and a removal, all heard by the checkers"
    assert len(checkers.facts.outcomes) == max(d.index for d in decisions(alice))


def test_the_same_seed_gives_the_same_story() -> None:
    def trace() -> list[tuple[float, str]]:
        world, hosts = build(5, Link(delay_s=0.03, jitter_s=0.02, loss=0.05))
        gather(world, hosts)
        propose(world, hosts[1], hosts, Content("budget", b"500"))
        return [(at, repr(event)) for host in hosts for at, event in host.events]

    assert trace() == trace()
