"""Members of a group of this project as processes of their own, for `decide` and `outage`."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import anyio

from benchmarks.children import Child, child, say

PAYLOAD = b"x" * 64
GAP_S = 0.2
"""What counts as an outage: far above a decision, and below what a suspicion takes."""
PATIENCE_S = 10.0
SMOKE_S = 2.0
"""How long a member may be silent in a smoke run, which says nothing of outages and must not fail
because a busy machine has not run a member for a while."""


def member(suspicion_s: float | None = None) -> None:
    """Child: founds, invites, joins, proposes, reads and measures as told."""
    from consensus.machine.router import MachineConfig
    from quorate import Node, NodeConfig, accept
    from transport.endpoint import config_here

    config = NodeConfig()
    if suspicion_s is not None:
        transport = replace(config_here(), suspicion_s=suspicion_s)
        config = NodeConfig(machine=MachineConfig(transport=transport))

    async def main() -> None:
        async with Node.open(None, config=config) as node:
            node.on("work")(lambda proposal: accept())
            say({"key": node.key.hex()})
            group: Any = None
            async for line in anyio.wrap_file(sys.stdin):
                command = json.loads(line)
                match command["do"]:
                    case "found":
                        group = await node.found("bench")
                        say(True)
                    case "invite":
                        say(group.invite(bytes.fromhex(command["key"])))
                    case "join":
                        group = await node.join(command["token"])
                        say(len(group.view.members))
                    case "cpu":
                        say(time.process_time())
                    case "latency":
                        say(await _latency(group, command["seconds"]))
                    case "throughput":
                        say(await _throughput(group, command["seconds"], command["window"]))
                    case "propose":
                        await _propose(group)
                    case "read":
                        await _read(group, command["seconds"])

    anyio.run(main)


async def _latency(group: Any, seconds: float) -> list[float]:
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end or not taken:
        await group.propose("work", PAYLOAD)
        taken.append(time.perf_counter() - before)
    return taken


async def _throughput(group: Any, seconds: float, window: int) -> tuple[int, float]:
    count = 0
    started = time.perf_counter()
    end = started + seconds

    async def worker() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await group.propose("work", PAYLOAD)
            count += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(window):
            tasks.start_soon(worker)
    return count, time.perf_counter() - started


async def _propose(group: Any) -> None:
    """Propose until nothing came for a while and then something did; say when what came before
    and after the gap did."""
    say("proposing")
    before = time.monotonic()
    began = before
    while True:
        await group.propose("work", PAYLOAD)
        now = time.monotonic()
        if now - before > GAP_S or now - began > PATIENCE_S:
            say([before, now])
            return
        before = now


async def _read(group: Any, seconds: float) -> None:
    """Read for a while; say how long the longest read took."""
    await group.read()
    say("reading")
    longest = 0.0
    end = time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        await group.read()
        longest = max(longest, time.monotonic() - before)
        await anyio.sleep(0.001)
    say(longest)


@contextmanager
def gathered(number: int, suspicion_s: float | None = None) -> Iterator[list[Child]]:
    """The members of one group, by seniority, and how long each may be silent if not as long as by
    default."""
    with ExitStack() as stack:
        members = [
            stack.enter_context(child("benchmarks.members", "member", suspicion_s=suspicion_s))
            for _ in range(number)
        ]
        members[0].do("found")
        for joiner in members[1:]:
            token = members[0].do("invite", key=joiner.ready["key"])
            joiner.do("join", token=token)
        yield members
