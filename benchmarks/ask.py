"""Request and response between two processes on a warm connection.

Peers: pyzmq with CURVE (encrypted, authenticated by public key). 64-byte requests and answers.
"""

import sys
import time
from collections.abc import Awaitable, Callable

import anyio

from benchmarks.children import child, say
from benchmarks.report import available, options, percentile, row

PAYLOAD = b"x" * 64
WINDOW = 32


async def _sequential(call: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    taken: list[float] = []
    end = time.perf_counter() + seconds
    before = time.perf_counter()
    while before < end:
        await call()
        after = time.perf_counter()
        taken.append(after - before)
        before = after
    return taken


async def _concurrent(call: Callable[[], Awaitable[object]], seconds: float) -> float:
    end = time.perf_counter() + seconds
    started = time.perf_counter()
    count = 0

    async def worker() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await call()
            count += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(WINDOW):
            tasks.start_soon(worker)
    return count / (time.perf_counter() - started)


async def measure(
    system: str, call: Callable[[], Awaitable[object]], rounds: int, seconds: float
) -> None:
    """Print the rows of one system."""
    await _sequential(call, seconds / 5)
    rates, medians, p99s, together = [], [], [], []
    for _ in range(rounds):
        taken = await _sequential(call, seconds)
        rates.append(len(taken) / sum(taken))
        medians.append(1e6 * percentile(taken, 0.5))
        p99s.append(1e6 * percentile(taken, 0.99))
        together.append(await _concurrent(call, seconds))
    row("ask", system, "one at a time", rates, "1/s")
    row("ask", system, "latency p50", medians, "us")
    row("ask", system, "latency p99", p99s, "us")
    row("ask", system, f"{WINDOW} in flight", together, "1/s")


def quorate_server() -> None:
    """Child: a node that answers."""
    from consensus import Node, accept

    async def main() -> None:
        async with Node.open(None) as node:
            node.on("echo")(lambda proposal: accept(proposal.body))
            say({"key": node.key.hex(), "address": list(node.address)})
            await anyio.to_thread.run_sync(sys.stdin.read)

    anyio.run(main)


async def quorate(rounds: int, seconds: float) -> None:
    """This project."""
    from consensus import Node

    with child("benchmarks.ask", "quorate_server") as server:
        key = bytes.fromhex(server.ready["key"])
        async with Node.open(None) as node:
            node.know(key, [tuple(server.ready["address"])])
            await measure("quorate", lambda: node.ask(key, "echo", PAYLOAD), rounds, seconds)


def curve_server() -> None:
    """Child: a pyzmq CURVE server that answers."""
    import zmq

    context = zmq.Context()
    public, secret = zmq.curve_keypair()
    socket = context.socket(zmq.ROUTER)
    socket.curve_server = True
    socket.curve_secretkey = secret
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    say({"port": port, "public": public.decode()})
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    while True:
        ready = dict(poller.poll())
        if sys.stdin.fileno() in ready:
            return
        socket.send_multipart(socket.recv_multipart())


async def curve(rounds: int, seconds: float) -> None:
    """pyzmq over asyncio, with CURVE."""
    import asyncio

    import zmq
    import zmq.asyncio

    with child("benchmarks.ask", "curve_server") as server:
        context = zmq.asyncio.Context()
        socket = context.socket(zmq.DEALER)
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.curve_serverkey = server.ready["public"].encode()
        socket.connect(f"tcp://127.0.0.1:{server.ready['port']}")
        waiting: dict[bytes, asyncio.Future[bytes]] = {}
        number = 0

        async def read() -> None:
            while True:
                name, payload = await socket.recv_multipart()
                waiting.pop(name).set_result(payload)

        async def call() -> bytes:
            nonlocal number
            number += 1
            name = number.to_bytes(8, "big")
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            waiting[name] = answer
            await socket.send_multipart([name, PAYLOAD])
            return await answer

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await measure("pyzmq CURVE", call, rounds, seconds)
            tasks.cancel_scope.cancel()
        socket.close(0)
        context.term()


def main() -> None:
    """Measure everything that is installed."""
    chosen = options(__doc__)
    seconds = 0.3 if chosen.quick else 2.0
    anyio.run(quorate, chosen.rounds, seconds)
    if available("zmq", "pyzmq"):
        anyio.run(curve, chosen.rounds, seconds)


if __name__ == "__main__":
    main()
