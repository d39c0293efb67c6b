"""A durable member whose disk is full after so many steps, and that is opened again once it is not.

    python -m tests.support.disk.full_node DIRECTORY BACKEND

Prints how often the disk was full. Run with the library of `room.c`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio

from consensus.storage.node_store import StoreCorrupt
from quorate import Group, Node, StoreError, accept
from tests.support.disk.room import room_for, room_hit

PROPOSALS = 3
STRIDE = 7
"""Every so many steps is tried; each is in `filled`."""


async def live(path: Path, kept: list[int], steps: int) -> None:
    """A node that meets a peer and founds a group; the disk is full after so many steps."""
    async with Node.open(None) as other:
        room_for(steps)
        async with Node.open(path) as node:
            node.on("work")(lambda proposal: accept())
            node.know(other.key, [other.address])
            await node.connect(other.key)
            groups = await node.resume()
            group = groups[0] if groups else await node.found("board", durable=True)
            for number in range(PROPOSALS):
                await group.propose("work", number)
                kept.append(number)


async def bodies(group: Group) -> list[Any]:
    return [decision.body for decision in await group.recorded() if decision.kind == "work"]


async def again(path: Path, kept: list[int]) -> None:
    """What was decided is there, and more can be."""
    async with Node.open(path) as node:
        node.on("work")(lambda proposal: accept())
        groups = await node.resume()
        assert groups or not kept, kept
        group = groups[0] if groups else await node.found("board", durable=True)
        found = await bodies(group)
        assert found[: len(kept)] == kept, (found, kept)
        await group.propose("work", "more")
        assert (await bodies(group))[-1] == "more"


async def main(directory: str) -> None:
    steps, full, hit = 0, 0, True
    while hit:
        path = Path(directory, f"{steps}.db")
        kept: list[int] = []
        try:
            await live(path, kept, steps)
        except StoreCorrupt:
            raise
        except StoreError:
            assert room_hit()
        hit = room_hit()
        room_for(-1)
        await again(path, kept)
        steps += STRIDE
        full += hit
    print(full)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend=sys.argv[2])
