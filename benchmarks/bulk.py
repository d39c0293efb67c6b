"""Bulk data over one channel between two processes, and what others need for the same.

Bytes go from the server to this process, which reads and drops them; what is timed is from the
request to the last byte. Processor seconds are of both processes together, per GiB; on a machine
that has other work to do they say more than the speed does. Peers: stock libutp in a C++ driver,
npm's utp-native, TLS 1.3 and plain TCP over asyncio, aioquic. Rounds of all of them alternate.
`BULK_MIB` is what a transfer moves, 1,024 unless said otherwise.
"""

import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from benchmarks import bulk_peers
from benchmarks.children import Child, child, say
from benchmarks.report import options, row
from consensus.machine.machine import MachineConfig
from quorate import Node, NodeConfig
from transport.channel import Channel
from transport.core.config import TransportConfig
from transport.core.handshake.negotiation import HandshakeConfig
from utp_native import SUITE_AEGIS256, SUITE_XCHACHA20, Address, Pump
from utp_native.native import has_aes

PIECE = bytes(1 << 18)
CHANNELS = 16
SLOW = {"aioquic": 64, "npm utp-native, not sealed": 8}
"""Systems that move a part only: a gibibyte would take them minutes."""


def config(suite: int) -> NodeConfig:
    """A node that seals with this suite only."""
    handshake = HandshakeConfig(suites=(suite,))
    return NodeConfig(machine=MachineConfig(transport=TransportConfig(handshake=handshake)))


def quorate_server(suite: int) -> None:
    """Child: sends as many bytes as a channel asks for in its first eight bytes."""

    async def main() -> None:
        async with Node.open(None, config=config(suite)) as node:

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


def quorate(suite: int) -> bulk_peers.Peer:
    """This project, node to node."""

    async def move(size: int) -> tuple[float, float]:
        with child("benchmarks.bulk", "quorate_server", suite=suite) as server:
            async with _met(server, suite) as node:
                before = _both(server)
                _, seconds = await _fetch(node, _key(server), size)
                return size / seconds, _both(server) - before

    return lambda size: anyio.run(move, size)


def _key(server: Child) -> bytes:
    return bytes.fromhex(server.ready["key"])


@asynccontextmanager
async def _met(server: Child, suite: int) -> AsyncIterator[Node]:
    """A node that has a presence with the server, and has moved something."""
    async with Node.open(None, config=config(suite)) as node:
        node.know(_key(server), [tuple(server.ready["address"])])
        await node.connect(_key(server))
        await _fetch(node, _key(server), 8 << 20)
        yield node


async def channels(rounds: int, size: int, suite: int, name: str) -> None:
    """Many channels at once, small ones, and what another thread does meanwhile."""
    with child("benchmarks.bulk", "quorate_server", suite=suite) as server:
        async with _met(server, suite) as node:
            key = _key(server)
            together = []
            for _ in range(rounds):
                started = time.perf_counter()
                async with anyio.create_task_group() as tasks:
                    for _ in range(CHANNELS):
                        tasks.start_soon(_fetch, node, key, size // CHANNELS)
                together.append(size / (time.perf_counter() - started) / 1e6)
            row("bulk", name, f"{size >> 20} MiB over {CHANNELS} channels", together, "MB/s")
            for small in (1 << 10, 1 << 14, 1 << 20):
                firsts, lasts = [], []
                for _ in range(4 * rounds):
                    first, last = await _fetch(node, key, small)
                    firsts.append(1e3 * first)
                    lasts.append(1e3 * last)
                row("bulk", name, f"{small >> 10} KiB, first byte", firsts, "ms")
                row("bulk", name, f"{small >> 10} KiB, last byte", lasts, "ms")
            shares = [await _beside(node, key, size) for _ in range(rounds)]
            row("bulk", name, "another thread's turns inside native calls", shares, "% of alone")


async def _beside(node: Node, key: bytes, size: int) -> float:
    """How much of its pure Python another thread gets done inside the native calls of a transfer,
    in per cent of what it does alone in as much time: nothing if they held the interpreter."""
    inside_s, turns = 0.0, 0
    receive = Pump.receive

    def watched(pump: Pump, now: float, *bounds: int) -> list[tuple[bytes, Address]]:
        nonlocal inside_s, turns
        started, before = time.perf_counter(), counter.turns
        batch = receive(pump, now, *bounds)
        turns += counter.turns - before
        inside_s += time.perf_counter() - started
        return batch

    with Counter() as counter:
        before, started = counter.turns, time.perf_counter()
        # The thread may not have been run meanwhile.
        while counter.turns == before:  # noqa: ASYNC110 - it tells nobody of a turn
            await anyio.sleep(0.5)
        alone = (counter.turns - before) / (time.perf_counter() - started)
        Pump.receive = watched  # type: ignore[assignment, method-assign]
        try:
            await _fetch(node, key, size)
        finally:
            Pump.receive = receive  # type: ignore[method-assign]
    return 100 * turns / (alone * inside_s)


class Counter:
    """A thread that counts turns of a loop in Python."""

    def __init__(self) -> None:
        self.turns = 0
        self._ended = False
        self._thread = threading.Thread(target=self._count, daemon=True)

    def _count(self) -> None:
        while not self._ended:
            self.turns += 1

    def __enter__(self) -> "Counter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()


def peers(rounds: int, size: int) -> None:
    """Node to node, the channel without the node above it, and everybody else."""
    found: dict[str, bulk_peers.Peer | None] = {
        "quorate, XChaCha20-Poly1305": quorate(SUITE_XCHACHA20),
        "quorate, AEGIS-256": quorate(SUITE_AEGIS256),
        "utp_native, XChaCha20-Poly1305": bulk_peers.utp_native(SUITE_XCHACHA20, offload=True),
        "utp_native, AEGIS-256": bulk_peers.utp_native(SUITE_AEGIS256, offload=True),
        "utp_native, XChaCha20-Poly1305, no offload": bulk_peers.utp_native(
            SUITE_XCHACHA20, offload=False
        ),
        "stock libutp in C, not sealed, no offload": bulk_peers.stock_libutp(),
        "npm utp-native, not sealed": bulk_peers.npm_utp_native(),
        "asyncio TLS 1.3": bulk_peers.tcp(tls=True),
        "asyncio TCP": bulk_peers.tcp(tls=False),
        "aioquic": bulk_peers.aioquic(),
    }
    measured: dict[str, list[tuple[float, float]]] = {}
    sizes = {name: max(size // SLOW.get(name, 1), 1 << 20) for name in found}
    for _ in range(rounds):
        for name, peer in found.items():
            if peer is not None:
                measured.setdefault(name, []).append(peer(sizes[name]))
    for name, rates in measured.items():
        moved = sizes[name]
        row("bulk", name, f"{moved >> 20} MiB", [speed / 1e6 for speed, _ in rates], "MB/s")
        costs = [cost * (1 << 30) / moved for _, cost in rates]
        row("bulk", name, "processor, both sides", costs, "s/GiB")


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    size = (32 << 20) if chosen.quick else int(os.environ.get("BULK_MIB", "1024")) << 20
    peers(chosen.rounds, size)
    for suite, name in ((SUITE_XCHACHA20, "XChaCha20-Poly1305"), (SUITE_AEGIS256, "AEGIS-256")):
        if suite == SUITE_XCHACHA20 or has_aes():
            anyio.run(channels, chosen.rounds, size // 8, suite, f"quorate, {name}")


if __name__ == "__main__":
    main()
