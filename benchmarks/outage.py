"""How long a group decides nothing after SIGKILL of a member.

Three members as processes of their own. One proposes in a loop, each proposal after the outcome of
the one before; another is killed. The outage ends with the next decision at the one that proposes.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio

from benchmarks.children import Child, child, say
from benchmarks.decide import _free_ports
from benchmarks.report import available, options, row

WARM_S = 0.5
PATIENCE_S = 10.0


def quorate_member() -> None:
    """Child: founds, invites, joins and proposes as told."""
    from consensus import Node, accept

    async def main() -> None:
        async with Node.open(None) as node:
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
                    case "propose":
                        await _propose(group)
                    case "read":
                        await _read(group, command["seconds"])

    anyio.run(main)


async def _propose(group: Any) -> None:
    """Propose until nothing came for a while and then something did; say when what came before
    and after the gap did."""
    say("proposing")
    before = time.monotonic()
    began = before
    while True:
        await group.propose("work", b"x" * 64)
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


GAP_S = 0.2
"""What counts as the outage: far above a decision, and below what a suspicion takes."""


def _do(member: Child, **command: object) -> Any:
    member.tell(command)
    return member.hear()


def _kill(victim: Child, told: Callable[[], list[float]]) -> float:
    """Kill it; the milliseconds from then to the end of the gap."""
    time.sleep(WARM_S)
    killed = time.monotonic()
    os.kill(victim.process.pid, signal.SIGKILL)
    _, after = told()
    return 1e3 * (after - killed)


@contextmanager
def _members() -> Iterator[list[Child]]:
    """Three members of a group, by seniority."""
    with ExitStack() as stack:
        members = [
            stack.enter_context(child("benchmarks.outage", "quorate_member")) for _ in range(3)
        ]
        _do(members[0], do="found")
        for joiner in members[1:]:
            token = _do(members[0], do="invite", key=joiner.ready["key"])
            _do(joiner, do="join", token=token)
        yield members


def quorate(rounds: int, victim: int, proposer: int) -> list[float]:
    """Outages in ms; members are counted by seniority from 0."""
    taken = []
    for _ in range(rounds):
        with _members() as members:
            _do(members[proposer], do="propose")
            taken.append(_kill(members[victim], members[proposer].hear))
    return taken


def quorate_reads(rounds: int, victim: int, reader: int) -> list[float]:
    """The longest read in ms, from before a kill to well after the dead member is out."""
    taken = []
    for _ in range(rounds):
        with _members() as members:
            _do(members[reader], do="read", seconds=WARM_S + 3.0)
            time.sleep(WARM_S)
            os.kill(members[victim].process.pid, signal.SIGKILL)
            taken.append(1e3 * members[reader].hear())
    return taken


def pysyncobj_member(own: int, others: Sequence[int]) -> None:
    """Child: a Raft node that proposes as told, as shipped but for a short tick."""
    import logging

    from pysyncobj import SyncObj, SyncObjConf, replicated

    logging.disable(logging.WARNING)  # It warns of every entry a new leader sends once more.

    class Counter(SyncObj):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                f"127.0.0.1:{own}",
                [f"127.0.0.1:{port}" for port in others],
                SyncObjConf(autoTickPeriod=0.001, appendEntriesUseBatch=False),
            )
            self.count = 0

        @replicated  # type: ignore[untyped-decorator]
        def work(self) -> int:
            self.count += 1
            return self.count

    node = Counter()
    while not node.isReady():
        time.sleep(0.01)
    say({"ready": True})
    for line in sys.stdin:
        if json.loads(line)["do"] == "leader":
            say(node._isLeader())
            continue
        say("proposing")
        before = began = time.monotonic()
        while True:
            done = threading.Event()
            went: list[bool] = []

            def told(result: object, error: object, went: Any = went, done: Any = done) -> None:
                went.append(not error)
                done.set()

            node.work(callback=told)
            done.wait(0.05)
            now = time.monotonic()
            if not any(went):
                time.sleep(0.001)
                continue
            if now - before > GAP_S or now - began > PATIENCE_S:
                say([before, now])
                break
            before = now
    node.destroy()


@contextmanager
def _together(function: str, arguments: Sequence[dict[str, Any]]) -> Iterator[list[Child]]:
    """Children of which none is ready before all of them run."""
    with ExitStack() as stack, ThreadPoolExecutor(len(arguments)) as pool:
        managers = [child("benchmarks.outage", function, **each) for each in arguments]
        entered = list(pool.map(lambda manager: manager.__enter__(), managers))
        for manager in managers:
            stack.push(manager)
        yield entered


def pysyncobj(rounds: int) -> list[float]:
    """Outages in ms after SIGKILL of the leader."""
    taken = []
    for _ in range(rounds):
        ports = _free_ports(3)
        arguments = [{"own": p, "others": [q for q in ports if q != p]} for p in ports]
        with _together("pysyncobj_member", arguments) as members:
            leader = next(m for m in members if _do(m, do="leader"))
            other = next(m for m in members if m is not leader)
            _do(other, do="propose")
            taken.append(_kill(leader, other.hear))
    return taken


def main() -> None:
    """Measure what is installed."""
    chosen = options(__doc__)
    cases = [("the junior member", 2, 1), ("the senior member", 0, 1)]
    for name, victim, proposer in cases:
        taken = quorate(chosen.rounds, victim, proposer)
        row("outage", "quorate", f"after SIGKILL of {name}", taken, "ms", members=3)
    taken = quorate_reads(chosen.rounds, 0, 1)
    row("outage", "quorate", "longest read around SIGKILL of the senior member", taken, "ms",
        members=3)  # fmt: skip
    if available("pysyncobj", "PySyncObj") and not chosen.quick:
        row("outage", "PySyncObj tuned", "after SIGKILL of the leader",
            pysyncobj(chosen.rounds), "ms", members=3)  # fmt: skip


if __name__ == "__main__":
    main()
