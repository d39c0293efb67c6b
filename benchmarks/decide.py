"""Decisions of a group of processes: latency of one proposer, throughput of a full window.

Peers: PySyncObj (Raft in Python, a replicated method with `sync=True` semantics by callback), as
shipped and with a short tick. The members run as processes of their own; figures are taken in one
of them.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio

from benchmarks.children import Child, child, say
from benchmarks.report import available, options, percentile, row

MEMBERS = 3
WINDOW = 64
PAYLOAD = b"x" * 64


def quorate_member() -> None:
    """Child: a member that founds or joins as told, and measures as told."""
    import json

    from consensus import Node, accept

    async def main() -> None:
        async with Node.open(None) as node:
            node.on("work")(lambda proposal: accept())
            say({"key": node.key.hex()})
            group = None
            async for line in anyio.wrap_file(sys.stdin):
                command = json.loads(line)
                match command["do"]:
                    case "found":
                        group = await node.found("bench")
                        say(True)
                    case "invite":
                        assert group is not None
                        say(group.invite(bytes.fromhex(command["key"])))
                    case "join":
                        group = await node.join(command["token"])
                        say(len(group.view.members))
                    case "latency":
                        assert group is not None
                        say(await _latency(group, command["seconds"]))
                    case "throughput":
                        assert group is not None
                        say(await _throughput(group, command["seconds"]))

    anyio.run(main)


async def _latency(group: Any, seconds: float) -> list[float]:
    taken = []
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        await group.propose("work", PAYLOAD)
        taken.append(time.perf_counter() - before)
    return taken


async def _throughput(group: Any, seconds: float) -> float:
    count = 0
    started = time.perf_counter()
    end = started + seconds

    async def worker() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await group.propose("work", PAYLOAD)
            count += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(WINDOW):
            tasks.start_soon(worker)
    return count / (time.perf_counter() - started)


def _report(system: str, latency: Callable[[], list[float]], rate: Callable[[], float],
            rounds: int) -> None:  # fmt: skip
    medians, p99s, rates = [], [], []
    for _ in range(rounds):
        taken = latency()
        medians.append(1e3 * percentile(taken, 0.5))
        p99s.append(1e3 * percentile(taken, 0.99))
        rates.append(rate())
    row("decide", system, "latency p50", medians, "ms", members=MEMBERS)
    row("decide", system, "latency p99", p99s, "ms", members=MEMBERS)
    row("decide", system, f"{WINDOW} in flight", rates, "1/s", members=MEMBERS)


def _do(member: Child, **command: object) -> Any:
    member.tell(command)
    return member.hear()


def quorate(rounds: int, seconds: float) -> None:
    """This project."""
    with (
        child("benchmarks.decide", "quorate_member") as first,
        child("benchmarks.decide", "quorate_member") as second,
        child("benchmarks.decide", "quorate_member") as third,
    ):
        _do(first, do="found")
        for joiner in (second, third):
            token = _do(first, do="invite", key=joiner.ready["key"])
            _do(joiner, do="join", token=token)
        for name, member in (("senior member", first), ("junior member", third)):
            _do(member, do="latency", seconds=seconds / 5)
            _report(
                f"quorate, from the {name}",
                lambda member=member: _do(member, do="latency", seconds=seconds),  # type: ignore[misc]
                lambda member=member: _do(member, do="throughput", seconds=seconds),  # type: ignore[misc]
                rounds,
            )


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def pysyncobj_member(own: int, others: list[int], tuned: bool) -> None:
    """Child: a Raft node that measures as told."""
    import json

    from pysyncobj import SyncObj, SyncObjConf, replicated

    class Counter(SyncObj):  # type: ignore[misc]
        def __init__(self) -> None:
            more = {"autoTickPeriod": 0.001, "appendEntriesUseBatch": False} if tuned else {}
            super().__init__(
                f"127.0.0.1:{own}",
                [f"127.0.0.1:{port}" for port in others],
                SyncObjConf(commandsWaitLeader=True, **more),
            )
            self.count = 0

        @replicated  # type: ignore[untyped-decorator]
        def work(self, payload: bytes) -> int:
            self.count += 1
            return self.count

    node = Counter()
    while not node.isReady():
        time.sleep(0.01)
    say({"ready": True})

    def one() -> float:
        done = threading.Event()
        before = time.perf_counter()
        node.work(PAYLOAD, callback=lambda result, error: done.set())
        done.wait(10)
        return time.perf_counter() - before

    for line in sys.stdin:
        command = json.loads(line)
        end = time.perf_counter() + command["seconds"]
        if command["do"] == "leader":
            say(node._isLeader())
        elif command["do"] == "latency":
            taken = []
            while time.perf_counter() < end:
                taken.append(one())
            say(taken)
        else:
            count = 0
            window = threading.Semaphore(WINDOW)

            def finished(result: object, error: object, window: Any = window) -> None:
                nonlocal count
                count += 1
                window.release()

            started = time.perf_counter()
            while time.perf_counter() < end:
                window.acquire()
                node.work(PAYLOAD, callback=finished)
            for _ in range(WINDOW):
                window.acquire(timeout=10)
            say(count / (time.perf_counter() - started))
    node.destroy()


def pysyncobj(rounds: int, seconds: float, tuned: bool) -> None:
    """PySyncObj, figures taken at its leader."""
    ports = _free_ports(MEMBERS)
    arguments = [
        {"own": own, "others": [port for port in ports if port != own], "tuned": tuned}
        for own in ports
    ]
    # All have to be running before the first is ready, so they are started side by side.
    with _together("pysyncobj_member", arguments) as members:
        leader = next(m for m in members if _do(m, do="leader", seconds=0))
        _do(leader, do="latency", seconds=seconds / 5)
        _report(
            "PySyncObj tuned, at its leader" if tuned else "PySyncObj, at its leader",
            lambda: _do(leader, do="latency", seconds=seconds),
            lambda: _do(leader, do="throughput", seconds=seconds),
            rounds,
        )


def _together(function: str, arguments: list[dict[str, Any]]) -> Any:
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import ExitStack, contextmanager

    @contextmanager
    def run() -> Any:
        with ExitStack() as stack, ThreadPoolExecutor(len(arguments)) as pool:
            managers = [child("benchmarks.decide", function, **each) for each in arguments]
            entered = list(pool.map(lambda manager: manager.__enter__(), managers))
            for manager in managers:
                stack.push(manager)
            yield entered

    return run()


def main() -> None:
    """Measure everything that is installed."""
    chosen = options(__doc__)
    seconds = 0.5 if chosen.quick else 3.0
    quorate(chosen.rounds, seconds)
    if available("pysyncobj", "PySyncObj"):
        pysyncobj(chosen.rounds, seconds, tuned=True)
        if not chosen.quick:
            pysyncobj(chosen.rounds, seconds, tuned=False)


if __name__ == "__main__":
    main()
