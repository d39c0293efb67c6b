"""Bulk data over one channel between two processes.

Bytes go from the server to this process, which reads and drops them; what is timed is from the
request to the last byte. Processor seconds are of both processes together.
"""

import os
import resource
import sys
import time

import anyio

from benchmarks.children import Child, child, say
from benchmarks.report import options, row
from consensus import Node
from transport.channel import Channel

PIECE = bytes(1 << 18)


def quorate_server() -> None:
    """Child: sends as many bytes as a channel asks for in its first eight bytes."""

    async def main() -> None:
        async with Node.open(None) as node:

            @node.serve("bytes")
            async def give(channel: Channel) -> None:
                asked = b""
                while len(asked) < 8:
                    asked += await channel.receive(8 - len(asked))
                left = int.from_bytes(asked, "big")
                while left:
                    size = min(left, len(PIECE))
                    await channel.send(PIECE[:size])
                    left -= size
                await channel.send_eof()
                while await channel.receive():
                    pass

            say({"key": node.key.hex(), "address": list(node.address)})
            lines = anyio.wrap_file(sys.stdin)
            async for _ in lines:
                say(_processor_s())

    anyio.run(main)


def _processor_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _fetch(node: Node, key: bytes, size: int) -> tuple[float, float]:
    """Seconds to the first byte and to the last."""
    started = time.perf_counter()
    channel = await node.open_channel(key, "bytes")
    await channel.send(size.to_bytes(8, "big"))
    got = len(await channel.receive())
    first = time.perf_counter() - started
    while got < size:
        got += len(await channel.receive())
    last = time.perf_counter() - started
    await channel.send_eof()
    await channel.aclose()
    return first, last


def _both(server: Child) -> float:
    server.tell("processor")
    return float(server.hear()) + _processor_s()


async def quorate(rounds: int, size: int) -> None:
    """This project."""
    with child("benchmarks.bulk", "quorate_server") as server:
        key = bytes.fromhex(server.ready["key"])
        async with Node.open(None) as node:
            node.know(key, [tuple(server.ready["address"])])
            await node.connect(key)
            await _fetch(node, key, size // 8)
            speeds, costs = [], []
            for _ in range(rounds):
                before = _both(server)
                _, seconds = await _fetch(node, key, size)
                speeds.append(size / seconds / 1e6)
                costs.append((_both(server) - before) * (1 << 30) / size)
            row("bulk", "quorate", f"{size >> 20} MiB", speeds, "MB/s")
            row("bulk", "quorate", "processor, both sides", costs, "s/GiB")
            for small in (1 << 10, 1 << 14, 1 << 20):
                firsts, lasts = [], []
                for _ in range(4 * rounds):
                    first, last = await _fetch(node, key, small)
                    firsts.append(1e3 * first)
                    lasts.append(1e3 * last)
                row("bulk", "quorate", f"{small >> 10} KiB, first byte", firsts, "ms")
                row("bulk", "quorate", f"{small >> 10} KiB, last byte", lasts, "ms")


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    size = (32 << 20) if chosen.quick else int(os.environ.get("BULK_MIB", "512")) << 20
    anyio.run(quorate, chosen.rounds, size)


if __name__ == "__main__":
    main()
