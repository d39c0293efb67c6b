"""One channel on a real bottleneck, beside one TCP connection of the kernel (CUBIC)."""

import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio
from anyio.to_thread import run_sync

from benchmarks import link
from benchmarks.children import child, say
from quorate import Node
from transport.channel import Channel

PIECE = bytes(1 << 16)
TCP_PORT = 4000
TICK_S = 0.1
ALONE_S, BESIDE_S, AFTER_S = 20.0, 30.0, 30.0
SETTLE_S = 5.0
"""Left out at the beginning of each part: slow start, and TCP's."""


def sink() -> None:
    """Child: takes what comes over channels and over TCP; says at last how much had come when."""
    bulk, tcp = 0, 0

    def take_tcp(listener: socket.socket) -> None:
        nonlocal tcp
        while True:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                while data := connection.recv(len(PIECE)):
                    tcp += len(data)

    async def main() -> None:
        listener = socket.create_server((link.RECEIVER, TCP_PORT))
        threading.Thread(target=take_tcp, args=(listener,), daemon=True).start()
        seen: list[tuple[float, int, int]] = []
        async with Node.open(None, listen=f"{link.RECEIVER}:0") as node:

            @node.serve("sink")
            async def take(channel: Channel) -> None:
                nonlocal bulk
                while data := await channel.receive():
                    bulk += len(data)

            async def look() -> None:
                while True:
                    seen.append((time.monotonic(), bulk, tcp))
                    await anyio.sleep(TICK_S)

            say({"key": node.key.hex(), "address": list(node.address)})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                await run_sync(sys.stdin.readline)
                tasks.cancel_scope.cancel()
        say(seen)

    anyio.run(main)


def source(key: str, address: Sequence[Any]) -> None:
    """Child: writes to a channel for ever; to TCP between two lines of standard input."""
    stop = threading.Event()

    def give_tcp() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
            sock.connect((link.RECEIVER, TCP_PORT))
            while not stop.is_set():
                sock.sendall(PIECE)
            # What is in the socket's buffer would keep the link for seconds more.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async def main() -> None:
        peer = bytes.fromhex(key)
        async with Node.open(None, listen=f"{link.SENDER}:0") as node:
            node.know(peer, [(address[0], address[1])])
            await node.connect(peer)

            async def give() -> None:
                channel = await node.open_channel(peer, "sink")
                while True:
                    await channel.send(PIECE)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give)
                say("begun")
                await run_sync(sys.stdin.readline)
                thread = threading.Thread(target=give_tcp)
                thread.start()
                await run_sync(sys.stdin.readline)
                stop.set()
                await run_sync(thread.join)
                say("stopped")
                await run_sync(sys.stdin.readline)
                tasks.cancel_scope.cancel()

    anyio.run(main)


class Run:
    """What was seen of one run: bytes that had come, and how long the queue was."""

    def __init__(self, seen: list[tuple[float, int, int]], queue: list[tuple[float, float]]):
        self._seen, self._queue = seen, queue

    def rate(self, which: int, start: float, end: float) -> float:
        """Bits a second that came of one flow: 1 the channel, 2 TCP."""
        part = [each for each in self._seen if start <= each[0] <= end]
        first, last = part[0], part[-1]
        return float(8 * (last[which] - first[which]) / (last[0] - first[0]))

    def queue_median_s(self, start: float, end: float) -> float:
        """Of the time a packet waits before the bottleneck."""
        return statistics.median(wait for at, wait in self._queue if start <= at <= end)

    def back_after_s(self, start: float, wanted_bps: float) -> float:
        """Seconds from `start` until one second has `wanted_bps`; as long as was looked, if none
        has."""
        for at, *_ in self._seen:
            if start <= at <= self._seen[-1][0] - 1 and self.rate(1, at, at + 1.05) >= wanted_bps:
                return at - start
        return AFTER_S


def measure(rate_bps: float, round_trip_s: float, buffer_s: float) -> dict[str, float]:
    """One run: a channel alone, beside TCP, and alone again."""
    queue: list[tuple[float, float]] = []
    with (
        link.Link(rate_bps, round_trip_s, buffer_s) as path,
        child("benchmarks.bottleneck_real", "sink", before=path.receiver) as receiver,
        child(
            "benchmarks.bottleneck_real", "source", before=path.sender, **receiver.ready
        ) as sender,
    ):

        def watch(seconds: float) -> tuple[float, float]:
            begun = time.monotonic()
            while time.monotonic() < begun + seconds:
                queue.append((time.monotonic(), path.queue_s()))
                time.sleep(TICK_S)
            return begun + SETTLE_S, time.monotonic()

        alone = watch(ALONE_S)
        sender.tell("tcp")
        beside = watch(BESIDE_S)
        sender.tell("stop")
        sender.hear()
        stopped = time.monotonic()
        watch(AFTER_S)
        receiver.tell("end")
        run = Run([tuple(each) for each in receiver.hear()], queue)
        sender.tell("end")
    steady = run.rate(1, *alone)
    return {
        "goodput alone, Mb/s": steady / 1e6,
        "median queue alone, ms": 1e3 * run.queue_median_s(*alone),
        "beside TCP, Mb/s": run.rate(1, *beside) / 1e6,
        "TCP's, Mb/s": run.rate(2, *beside) / 1e6,
        "median queue beside TCP, ms": 1e3 * run.queue_median_s(*beside),
        "at 90 % of before after, s": run.back_after_s(stopped, 0.9 * steady),
    }


PATHS = {
    "20 Mb/s, 20 ms, buffer 200 ms": (20e6, 0.02, 0.2),
    "20 Mb/s, 50 ms, buffer 250 ms": (20e6, 0.05, 0.25),
}


def main(rounds: int) -> None:
    """A row for each path and figure: the median of the rounds, least and most."""
    why = link.missing()
    if why is not None:
        print(f"a real bottleneck: not measured, {why}", file=sys.stderr)
        return
    for name, path in PATHS.items():
        runs = [measure(*path) for _ in range(rounds)]
        for metric in runs[0]:
            values = sorted(round(run[metric], 2) for run in runs)
            row = {
                "bench": "bottleneck, real", "path": name, "metric": metric,
                "value": statistics.median(values), "min": values[0], "max": values[-1],
                "n": rounds,
            }  # fmt: skip
            print(json.dumps(row), flush=True)
