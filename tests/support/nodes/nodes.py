"""Nodes on loopback for tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio

from consensus import Decision, Group, GroupError, Node, NodeConfig, accept
from consensus.machine.machine import MachineConfig
from tests.support.waiting import PATIENCE_S, until
from transport.core.config import TransportConfig

__all__ = ["PATIENCE_S", "PATIENT", "gather_group", "kicked_by_two", "open_nodes", "until"]

PATIENT = NodeConfig(
    machine=MachineConfig(transport=TransportConfig(suspicion_s=20.0, silence_max_s=30.0))
)
"""Nobody is taken for gone in the time that starting a node or a process takes."""


@asynccontextmanager
async def open_nodes(number: int, config: NodeConfig | None = None) -> AsyncIterator[list[Node]]:
    """That many nodes without files, each knowing where the others are."""
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(Node.open(None, config=config)) for _ in range(number)
        ]
        for node in nodes:
            for other in nodes:
                if other is not node:
                    node.know(other.key, [other.address])
        yield nodes


async def gather_group(nodes: list[Node], name: str = "board") -> list[Group]:
    """Have the first found a group and the others join it; everybody accepts `work`."""
    for node in nodes:
        node.on("work")(lambda proposal: accept(proposal.body))
    founder, *others = nodes
    groups = [await founder.found(name)]
    for other in others:
        groups.append(await other.join(groups[0].invite(other.key)))
    return groups


async def kicked_by_two(first: Group, second: Group, key: bytes, reason: str = "") -> Decision:
    """What becomes of the first one's kick of a member that the second wants out, too (KT1)."""

    async def want() -> None:
        with suppress(GroupError):  # It is out already.
            await second.kick(key, reason)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(want)
        decision = await first.kick(key, reason)
    return decision  # noqa: RET504 - to mypy a task group may swallow an error and go on
