"""Nodes on loopback for tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from consensus import Group, Node, NodeConfig, accept
from tests.support.waiting import PATIENCE_S, until

__all__ = ["PATIENCE_S", "gather_group", "open_nodes", "until"]


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
