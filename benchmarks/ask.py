"""Request and answer of 64 bytes between two processes, on a connection that is up.

`ask` is a decision of two: proposal, vote, outcome. `entries` is the transport under it, which is
what the others are; `asleep` are both of them where nobody stays awake for the next datagram. TLS,
QUIC and CURVE encrypt; plain TCP and bare UDP say what asyncio costs.
"""

import asyncio
import contextlib
import ssl
from contextlib import AsyncExitStack
from typing import cast

import anyio

from benchmarks.children import Child, child
from benchmarks.echoes import HOST, NAME, curve_connect
from benchmarks.quorate_sides import ASLEEP, PAYLOAD, Transport, node_config, serving
from benchmarks.report import available, options
from benchmarks.rounds import System, measure
from quorate import Node
from transport.busy_poll import LIMIT_S

_NUMBER_SIZE = 8


class _Waiting:
    """Requests under way, by number; each travels with its number in front."""

    def __init__(self) -> None:
        self._futures: dict[bytes, asyncio.Future[None]] = {}
        self._number = 0
        self._held = b""

    def begin(self) -> tuple[bytes, asyncio.Future[None]]:
        """A request, and what is done when its answer is here."""
        self._number += 1
        name = self._number.to_bytes(_NUMBER_SIZE, "big")
        future = self._futures[name] = asyncio.get_running_loop().create_future()
        return name + PAYLOAD, future

    def answered(self, message: bytes) -> None:
        """A whole answer."""
        self._futures.pop(message[:_NUMBER_SIZE]).set_result(None)

    def arrived(self, data: bytes) -> None:
        """Bytes of a stream of answers."""
        data = self._held + data
        size = _NUMBER_SIZE + len(PAYLOAD)
        end = len(data) // size * size
        for at in range(0, end, size):
            self.answered(data[at : at + size])
        self._held = data[end:]


class _Stream(asyncio.Protocol):
    def __init__(self) -> None:
        self._waiting = _Waiting()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._waiting.arrived(data)

    async def call(self, worker: int) -> None:
        message, answer = self._waiting.begin()
        self._transport.write(message)
        await answer


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self._waiting = _Waiting()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._waiting.answered(data)

    async def call(self, worker: int) -> None:
        message, answer = self._waiting.begin()
        self._transport.sendto(message)
        await answer


async def _node(stack: AsyncExitStack, attention_s: float) -> System:
    server = stack.enter_context(
        child("benchmarks.quorate_sides", "node", attention_s=attention_s)
    )
    key = bytes.fromhex(server.ready["key"])
    here = await stack.enter_async_context(Node.open(None, config=node_config(attention_s)))
    here.know(key, [tuple(server.ready["address"])])
    return System(
        "quorate ask" + ASLEEP * (not attention_s),
        lambda worker: here.ask(key, "echo", PAYLOAD),
        server.process.pid,
    )


async def _transport(stack: AsyncExitStack, attention_s: float) -> System:
    server = stack.enter_context(
        child("benchmarks.quorate_sides", "transport", attention_s=attention_s)
    )
    key = bytes.fromhex(server.ready["key"])
    here = Transport(answers=False, attention_s=attention_s)
    await stack.enter_async_context(serving(here))
    await here.call(key, [tuple(server.ready["address"])])
    return System(
        "quorate entries" + ASLEEP * (not attention_s),
        lambda worker: here.call(key, []),
        server.process.pid,
    )


async def _stream(stack: AsyncExitStack, server: Child, name: str) -> System:
    context = None
    if "certificate" in server.ready:
        context = ssl.create_default_context(cadata=server.ready["certificate"])
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(
        _Stream, HOST, server.ready["port"], ssl=context, server_hostname=NAME if context else None
    )
    return System(name, protocol.call, server.process.pid)


async def _udp(stack: AsyncExitStack, server: Child) -> System:
    loop = asyncio.get_running_loop()
    address = HOST, server.ready["port"]
    _, protocol = await loop.create_datagram_endpoint(_Datagrams, remote_addr=address)
    return System("asyncio UDP, bare", protocol.call, server.process.pid)


async def _quic(stack: AsyncExitStack, server: Child) -> System:
    from aioquic.asyncio.client import connect
    from aioquic.quic.configuration import QuicConfiguration

    configuration = QuicConfiguration(
        alpn_protocols=["echo"], cadata=server.ready["certificate"].encode(), server_name=NAME
    )
    connection = await stack.enter_async_context(
        connect(HOST, server.ready["port"], configuration=configuration)
    )
    reader, writer = await connection.create_stream()
    waiting = _Waiting()

    async def read() -> None:
        while data := await reader.read(4096):
            waiting.arrived(data)

    async def call(worker: int) -> None:
        message, answer = waiting.begin()
        writer.write(message)
        await answer

    task = asyncio.get_running_loop().create_task(read())
    stack.callback(task.cancel)
    return System("aioquic", call, server.process.pid)


async def _curve(stack: AsyncExitStack, server: Child) -> System:
    import zmq
    import zmq.asyncio

    context = zmq.asyncio.Context()
    socket = context.socket(zmq.DEALER)
    there = f"tcp://{HOST}:{server.ready['port']}", server.ready["public"].encode()
    curve_connect(socket, zmq.curve_keypair(), *there)
    waiting = _Waiting()

    async def read() -> None:
        while True:
            waiting.answered(await socket.recv())

    async def call(worker: int) -> None:
        message, answer = waiting.begin()
        await socket.send(message)
        await answer

    task = asyncio.get_running_loop().create_task(read())

    async def close() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        socket.close(0)
        context.term()

    stack.push_async_callback(close)
    return System("pyzmq CURVE, asyncio", call, server.process.pid)


async def _curve_blocking(stack: AsyncExitStack, server: Child) -> System:
    import zmq

    context = stack.enter_context(zmq.Context())
    socket = stack.enter_context(context.socket(zmq.DEALER))
    there = f"tcp://{HOST}:{server.ready['port']}", server.ready["public"].encode()
    curve_connect(socket, zmq.curve_keypair(), *there)

    async def call(worker: int) -> None:
        socket.send(PAYLOAD)
        socket.recv()

    return System("pyzmq CURVE, blocking", call, server.process.pid, at_once=False)


async def run(rounds: int, seconds: float) -> None:
    """Measure everything that is installed, side by side."""
    async with AsyncExitStack() as stack:

        def started(module: str, function: str) -> Child:
            return stack.enter_context(child(f"benchmarks.{module}", function))

        systems = []
        for attention_s in (LIMIT_S, 0.0):
            systems.append(await _node(stack, attention_s))
            systems.append(await _transport(stack, attention_s))
        if available("aioquic", "aioquic"):
            systems.append(await _quic(stack, started("echoes", "quic")))
            systems.append(await _stream(stack, started("echoes", "tls"), "asyncio TLS 1.3"))
        if available("zmq", "pyzmq"):
            systems.append(await _curve(stack, started("echoes", "curve")))
            systems.append(await _curve_blocking(stack, started("echoes", "curve")))
        systems.append(await _stream(stack, started("echoes", "tcp"), "asyncio TCP, plain"))
        systems.append(await _udp(stack, started("echoes", "udp")))
        await measure("ask", systems, rounds, seconds)


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    anyio.run(run, chosen.rounds, 0.15 if chosen.quick else 2.0)


if __name__ == "__main__":
    main()
