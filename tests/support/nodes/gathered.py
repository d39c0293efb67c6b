"""Whole nodes in the simulated world, gathered in one group."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from consensus.core.config import GroupConfig
from consensus.core.outputs import Decided, Installed, Output
from consensus.core.types import Content, Decision, Outcome, Proposal, Vote
from consensus.machine.hosted_group import GroupEvent, TimedOut
from consensus.machine.lease_clock import ReadReady
from consensus.machine.machine import Machine, MachineConfig
from scenarios.world.member import SimulatedNode
from scenarios.world.network import Link
from scenarios.world.world import Factory, Host, World
from transport.core.crypto.keys import Identity

NUMBER = 7
"""The group's, on the lanes."""
Result = TypeVar("Result")


def agree(proposal: Proposal) -> Vote:
    """Everything is fine."""
    return Vote(True)


def simulated(host: Host, now: float) -> SimulatedNode:
    """A node that agrees to everything."""
    return SimulatedNode(host, now, Identity.generate(host.random_bytes), agree, MachineConfig())


def act(host: Host, action: Callable[[Machine, float], Result]) -> Result:
    """Do something with a host's machine."""
    result: Result = host.call(lambda node, now: node.do(action, now))
    return result


def outputs_of(host: Host) -> list[tuple[float, Output | TimedOut | ReadReady]]:
    """What its group said, with the times."""
    return [(at, event.output) for at, event in host.events if isinstance(event, GroupEvent)]


def decisions_of(host: Host) -> list[tuple[float, Decision]]:
    """Application decisions it reported, with the times."""
    return [
        (at, output.decision)
        for at, output in outputs_of(host)
        if isinstance(output, Decided) and not output.decision.kind.startswith("@")
    ]


def size_of(host: Host) -> int:
    """How many members its view has."""
    views = [output.view for _, output in outputs_of(host) if isinstance(output, Installed)]
    return len(views[-1].members) if views else 0


def gathered(
    number: int,
    link: Link,
    *,
    seed: int = 1,
    config: GroupConfig | None = None,
    factory: Factory = simulated,
) -> tuple[World, list[Host]]:
    """A world in which that many nodes are in one view, the first the most senior."""
    config = config or GroupConfig()
    world = World(seed, link)
    hosts = [world.add(f"node{at}", factory) for at in range(number)]
    founder = hosts[0]
    act(founder, lambda m, now: m.found(NUMBER, config, now))
    for count, host in enumerate(hosts[1:], start=2):
        admit(world, founder, host, config)
        members = hosts[:count]
        assert world.run(lambda members=members: in_view(members), limit_s=60.0)  # type: ignore[misc]
    world.run(for_s=1.0)
    return world, hosts


def admit(world: World, founder: Host, host: Host, config: GroupConfig) -> None:
    """Have the founder sponsor the host."""
    key, founder_key = host.node.key, founder.node.key
    host.node.machine.contacts.know(founder_key, [founder.address])
    act(host, lambda m, now: m.connect(founder_key, now, 10.0))
    assert world.run(
        lambda: (
            founder_key in host.node.machine.contacts.lives
            and key in founder.node.machine.contacts.lives
        )
    )
    act(host, lambda m, now: m.join(NUMBER, founder_key, config, now))
    act(founder, lambda m, now: m.sponsor(NUMBER, key, [host.address], now))


def in_view(hosts: Sequence[Host]) -> bool:
    """Whether these are each other's view."""
    return all(size_of(host) == len(hosts) for host in hosts)


def propose(host: Host, body: bytes) -> None:
    """Put something to the group."""
    act(host, lambda m, now: m.propose(NUMBER, Content("work", body), now))


def committed(host: Host) -> list[bytes]:
    """The bodies of what it reported as committed, in order."""
    return [d.body for _, d in decisions_of(host) if d.outcome is Outcome.COMMITTED]
