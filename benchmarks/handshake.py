"""A fresh connection with its first request and answer, again and again, between two processes.

One client process, which makes no new processes, files or event loops: a new connection with a new
key agreement, one request of 64 bytes, its answer, the end. Nothing is resumed: this project's
sides make first contact each time (P1 to P4), the transient of the last time is forgotten, and
nobody remembers the connection. The identities are the same; 32 in flight are 32 identities, since
two peers have one presence. `asleep`: nobody stays awake for the next datagram. TLS and QUIC
authenticate the server only.

`responder` is one core of this project's alone, without sockets: processor time for P1, P3 and P4,
beside the five X25519 operations in it, measured in turn.
"""

import asyncio
import os
import ssl
import time
from contextlib import AsyncExitStack
from typing import cast

import anyio

from benchmarks.children import Child, child
from benchmarks.echoes import HOST, NAME, curve_connect
from benchmarks.quorate_sides import ASLEEP, NODE, PAYLOAD, TRANSPORT, Transport, serving
from benchmarks.report import available, options, row
from benchmarks.rounds import WINDOW, System, measure
from quorate import Node
from transport.busy_poll import LIMIT_S
from transport.core.crypto.keys import Identity, KeyPair, diffie_hellman_untrusted
from transport.core.initiator.initiator import Initiator
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder
from transport.core.types import Address

HOME: Address = ("192.0.2.1", 4000)
"""Where the calls of a core without sockets come from."""


async def _nodes(stack: AsyncExitStack) -> System:
    server = stack.enter_context(child("benchmarks.quorate_sides", "node"))
    key = bytes.fromhex(server.ready["key"])
    nodes = [await stack.enter_async_context(Node.open(None, config=NODE)) for _ in range(WINDOW)]
    for each in nodes:
        each.know(key, [tuple(server.ready["address"])])

    async def call(worker: int) -> None:
        here = nodes[worker]
        await here.ask(key, "echo", PAYLOAD)
        machine = here._context.machine
        machine.peers.forget(key)
        machine.peers._context.known.clear()
        machine._work(here._context.endpoint.clock())
        here._context.endpoint.touch()

    return System("quorate ask", call, server.process.pid)


async def _transports(stack: AsyncExitStack, attention_s: float) -> System:
    server = stack.enter_context(
        child("benchmarks.quorate_sides", "transport", attention_s=attention_s)
    )
    key = bytes.fromhex(server.ready["key"])
    addresses: list[Address] = [tuple(server.ready["address"])]
    sides = [Transport(answers=False, attention_s=attention_s) for _ in range(WINDOW)]
    await stack.enter_async_context(serving(*sides))

    async def call(worker: int) -> None:
        here = sides[worker]
        await here.call(key, addresses)
        here.leave(key)

    return System("quorate entries" + ASLEEP * (not attention_s), call, server.process.pid)


class _Once(asyncio.Protocol):
    """One request on one connection."""

    def __init__(self) -> None:
        self.answered = asyncio.get_running_loop().create_future()
        self._missing = len(PAYLOAD)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(PAYLOAD)

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if not self._missing:
            self.answered.set_result(None)


async def _stream(stack: AsyncExitStack, server: Child, name: str) -> System:
    context = None
    if "certificate" in server.ready:
        context = ssl.create_default_context(cadata=server.ready["certificate"])
    loop = asyncio.get_running_loop()
    port = server.ready["port"]
    host = NAME if context else None

    async def call(worker: int) -> None:
        transport, protocol = await loop.create_connection(
            _Once, HOST, port, ssl=context, server_hostname=host
        )
        await protocol.answered
        transport.abort()

    return System(name, call, server.process.pid)


async def _quic(stack: AsyncExitStack, server: Child) -> System:
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.connection import QuicConnection

    configuration = QuicConfiguration(
        alpn_protocols=["echo"], cadata=server.ready["certificate"].encode(), server_name=NAME
    )
    loop = asyncio.get_running_loop()

    async def call(worker: int) -> None:
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: QuicConnectionProtocol(QuicConnection(configuration=configuration)),
            local_addr=(HOST, 0),
        )
        protocol.connect((HOST, server.ready["port"]))
        await protocol.wait_connected()
        reader, writer = await protocol.create_stream()
        writer.write(PAYLOAD)
        await reader.readexactly(len(PAYLOAD))
        # Told, and not waited for: its closing state lasts three probe timeouts.
        protocol.close()
        transport.close()

    return System("aioquic", call, server.process.pid)


def _curve(stack: AsyncExitStack, server: Child) -> list[System]:
    """Both ways to use pyzmq; each has a context of its own, which is not made again."""
    import zmq
    import zmq.asyncio

    contexts = zmq.asyncio.Context(), zmq.Context()
    for context in contexts:
        stack.callback(context.term)
    keys = zmq.curve_keypair()
    there = f"tcp://{HOST}:{server.ready['port']}", server.ready["public"].encode()

    async def call(worker: int) -> None:
        with contexts[0].socket(zmq.DEALER) as socket:
            curve_connect(socket, keys, *there)
            await socket.send(PAYLOAD)
            await socket.recv()

    async def call_blocking(worker: int) -> None:
        with contexts[1].socket(zmq.DEALER) as socket:
            curve_connect(socket, keys, *there)
            socket.send(PAYLOAD)
            socket.recv()

    return [
        System("pyzmq CURVE, asyncio", call, server.process.pid),
        System("pyzmq CURVE, blocking", call_blocking, server.process.pid, at_once=False),
    ]


async def run(rounds: int, seconds: float) -> None:
    """Measure everything that is installed, side by side."""
    async with AsyncExitStack() as stack:

        def started(module: str, function: str) -> Child:
            return stack.enter_context(child(f"benchmarks.{module}", function))

        systems = [
            await _nodes(stack),
            await _transports(stack, LIMIT_S),
            await _transports(stack, 0.0),
        ]
        if available("aioquic", "aioquic"):
            systems.append(await _quic(stack, started("echoes", "quic")))
            systems.append(await _stream(stack, started("echoes", "tls"), "asyncio TLS 1.3"))
        if available("zmq", "pyzmq"):
            systems += _curve(stack, started("echoes", "curve"))
        systems.append(await _stream(stack, started("echoes", "tcp"), "asyncio TCP, plain"))
        await measure("handshake", systems, rounds, seconds)


class _Core:
    """The responder's core alone, and who calls it."""

    def __init__(self) -> None:
        self._identities = [Identity.generate(os.urandom) for _ in range(2)]
        self._config = TRANSPORT.handshake
        self._responder = Responder(self._identities[0], self._config, os.urandom, 0.0)

    def handshake_s(self, now: float) -> float:
        """One whole handshake; the responder's processor time for it."""
        here, clock = self._responder, time.process_time
        initiator = Initiator(
            self._identities[1],
            self._identities[0].key,
            self._config,
            os.urandom,
            message_cid=os.urandom(8),
            bulk_cid=os.urandom(8),
            incarnation=1,
        )
        hello = initiator.hello(now)
        started = clock()
        challenge = here.receive_untrusted(hello, HOME, now)
        spent = clock() - started
        assert isinstance(challenge, Reply)
        initiator.receive_challenge_untrusted(challenge.data, now)
        initiate = initiator.initiate(PAYLOAD, now)
        started = clock()
        admitted = here.receive_untrusted(initiate, HOME, now)
        assert isinstance(admitted, Admitted)
        done = admitted.accept(PAYLOAD, os.urandom(8), os.urandom(8), 2, now)
        spent += clock() - started
        assert initiator.receive_accept_untrusted(done.datagram, now) is not None
        return spent


def responder(rounds: int, handshakes: int) -> None:
    """Processor time of the responder's core for a whole handshake, and of the X25519 in it."""
    core, clock = _Core(), time.process_time
    secret, public = os.urandom(32), KeyPair.generate(os.urandom).public
    spent, primitives = [], []
    for number in range(rounds * 5):
        now = number * 1e-3
        spent.append(1e6 * sum(core.handshake_s(now) for _ in range(handshakes)) / handshakes)
        started = clock()
        for _ in range(handshakes):
            for _ in range(4):
                diffie_hellman_untrusted(secret, public)
            KeyPair(secret)
        primitives.append(1e6 * (clock() - started) / handshakes)
    row("handshake", "quorate responder", "processor time", spent, "us")
    row("handshake", "quorate responder", "its X25519 alone", primitives, "us")
    shares = [whole / part for whole, part in zip(spent, primitives, strict=True)]
    row("handshake", "quorate responder", "ratio of the two", shares, "")


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    responder(chosen.rounds, 10 if chosen.quick else 100)
    anyio.run(run, chosen.rounds, 0.15 if chosen.quick else 2.0)


if __name__ == "__main__":
    main()
