"""Bulk data over one channel between two processes, and what others need for the same.

Bytes go from the server to this process, which reads and drops them; what is timed is from the
request to the last byte. Processor seconds are of both processes together, per GiB; on a machine
that has other work to do they say more than the speed does. Peers: stock libutp in a C++ driver,
npm's utp-native, TLS 1.3 and plain TCP over asyncio, aioquic. Rounds of all of them alternate.
"""

import os
import sys
import time

import anyio

from benchmarks import bulk_peers
from benchmarks.children import Child, child, say
from benchmarks.report import options, row
from consensus import Node
from transport.channel import Channel

PIECE = bytes(1 << 18)
CHANNELS = 16


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
                say(bulk_peers.processor_s())

    anyio.run(main)


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
    return float(server.hear()) + bulk_peers.processor_s()


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
            together = []
            for _ in range(rounds):
                started = time.perf_counter()
                async with anyio.create_task_group() as tasks:
                    for _ in range(CHANNELS):
                        tasks.start_soon(_fetch, node, key, size // CHANNELS)
                together.append(size / (time.perf_counter() - started) / 1e6)
            row("bulk", "quorate", f"{size >> 20} MiB over {CHANNELS} channels", together, "MB/s")
            for small in (1 << 10, 1 << 14, 1 << 20):
                firsts, lasts = [], []
                for _ in range(4 * rounds):
                    first, last = await _fetch(node, key, small)
                    firsts.append(1e3 * first)
                    lasts.append(1e3 * last)
                row("bulk", "quorate", f"{small >> 10} KiB, first byte", firsts, "ms")
                row("bulk", "quorate", f"{small >> 10} KiB, last byte", lasts, "ms")


def peers(rounds: int, size: int) -> None:
    """The channel without the node above it, and everybody else."""
    found: dict[str, bulk_peers.Peer | None] = {
        "utp_native, XChaCha20-Poly1305": bulk_peers.utp_native(1, offload=True),
        "utp_native, AEGIS-256": bulk_peers.utp_native(2, offload=True),
        "utp_native, XChaCha20-Poly1305, no offload": bulk_peers.utp_native(1, offload=False),
        "stock libutp in C, not sealed, no offload": bulk_peers.stock_libutp(),
        "npm utp-native, not sealed": bulk_peers.npm_utp_native(),
        "asyncio TLS 1.3": bulk_peers.tcp(tls=True),
        "asyncio TCP": bulk_peers.tcp(tls=False),
        "aioquic": bulk_peers.aioquic(),
    }
    measured: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name, peer in found.items():
            if peer is not None:
                measured.setdefault(name, []).append(peer(size))
    for name, rates in measured.items():
        row("bulk", name, f"{size >> 20} MiB", [speed / 1e6 for speed, _ in rates], "MB/s")
        costs = [cost * (1 << 30) / size for _, cost in rates]
        row("bulk", name, "processor, both sides", costs, "s/GiB")


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    size = (32 << 20) if chosen.quick else int(os.environ.get("BULK_MIB", "512")) << 20
    anyio.run(quorate, chosen.rounds, size)
    peers(chosen.rounds, size)


if __name__ == "__main__":
    main()
