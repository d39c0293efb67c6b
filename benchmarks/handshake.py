"""A fresh presence with its first request and answer, between two processes.

Every round meets the same responder with a new identity, so nothing is reused but the
responder's transient.
"""

import time

import anyio

from benchmarks.children import child
from benchmarks.report import options, percentile, row
from consensus import Node

WINDOW = 32


async def _once(key: bytes, address: tuple[str, int]) -> float:
    async with Node.open(None) as node:
        node.know(key, [address])
        before = time.perf_counter()
        await node.ask(key, "echo", b"x" * 64)
        return time.perf_counter() - before


async def quorate(rounds: int, seconds: float) -> None:
    """This project: one at a time, then many at once."""
    with child("benchmarks.ask", "quorate_server") as server:
        key = bytes.fromhex(server.ready["key"])
        address = tuple(server.ready["address"])
        await _once(key, address)
        rates, latencies, together = [], [], []
        for _ in range(rounds):
            taken: list[float] = []
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                taken.append(await _once(key, address))
            rates.append(len(taken) / sum(taken))
            latencies.append(1e3 * percentile(taken, 0.5))
            count = 0
            started = time.perf_counter()
            end = started + seconds

            async def worker(end: float = end) -> None:
                nonlocal count
                while time.perf_counter() < end:
                    await _once(key, address)
                    count += 1

            async with anyio.create_task_group() as tasks:
                for _ in range(WINDOW):
                    tasks.start_soon(worker)
            together.append(count / (time.perf_counter() - started))
        row("handshake", "quorate", "one at a time", rates, "1/s")
        row("handshake", "quorate", "latency p50", latencies, "ms")
        row("handshake", "quorate", f"{WINDOW} in flight", together, "1/s")


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    anyio.run(quorate, chosen.rounds, 0.3 if chosen.quick else 2.0)


if __name__ == "__main__":
    main()
