"""PySyncObj, Raft in Python: members as processes of their own, for `decide` and `outage`.

A replicated method, told of its outcome by a callback. Tuned means a short tick, and entries sent
when they are there and not with the next tick.
"""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.children import Child, free_ports, say, together
from benchmarks.members import GAP_S, PATIENCE_S, PAYLOAD

TUNING = {"autoTickPeriod": 0.001, "appendEntriesUseBatch": False}


def member(own: int, others: Sequence[int], tuned: bool) -> None:
    """Child: a node that measures as told."""
    from pysyncobj import SyncObj, SyncObjConf, replicated

    logging.disable(logging.CRITICAL)  # It tells of every entry a leader sends once more.

    class Counter(SyncObj):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                f"127.0.0.1:{own}",
                [f"127.0.0.1:{port}" for port in others],
                SyncObjConf(commandsWaitLeader=True, **(TUNING if tuned else {})),
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
    for line in sys.stdin:
        command = json.loads(line)
        match command["do"]:
            case "leader":
                say(node._isLeader())
            case "cpu":
                say(time.process_time())
            case "latency":
                say(_latency(node, command["seconds"]))
            case "throughput":
                say(_throughput(node, command["seconds"], command["window"]))
            case "propose":
                say("proposing")
                say(_until_gap(node))
    node.destroy()


def _latency(node: Any, seconds: float) -> list[float]:
    taken = []
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        done = threading.Event()
        node.work(PAYLOAD, callback=lambda result, error, done=done: done.set())
        done.wait(10)
        taken.append(time.perf_counter() - before)
    return taken


def _throughput(node: Any, seconds: float, window: int) -> tuple[int, float]:
    count = 0
    room = threading.Semaphore(window)

    def finished(result: object, error: object) -> None:
        nonlocal count
        count += not error
        room.release()

    started = time.perf_counter()
    while time.perf_counter() < started + seconds:
        room.acquire()
        node.work(PAYLOAD, callback=finished)
    for _ in range(window):
        room.acquire(timeout=10)
    return count, time.perf_counter() - started


def _until_gap(node: Any) -> tuple[float, float]:
    before = began = time.monotonic()
    while True:
        done = threading.Event()
        went: list[bool] = []

        def told(result: object, error: object, went: Any = went, done: Any = done) -> None:
            went.append(not error)
            done.set()

        node.work(PAYLOAD, callback=told)
        done.wait(0.05)
        now = time.monotonic()
        if not any(went):
            time.sleep(0.001)
            continue
        if now - before > GAP_S or now - began > PATIENCE_S:
            return before, now
        before = now


@contextmanager
def raft(number: int, *, tuned: bool) -> Iterator[list[Child]]:
    """A cluster, its leader first."""
    ports = free_ports(number)
    arguments = [
        {"own": own, "others": [port for port in ports if port != own], "tuned": tuned}
        for own in ports
    ]
    with together("benchmarks.raft", "member", arguments) as members:
        yield sorted(members, key=lambda each: not each.do("leader"))
