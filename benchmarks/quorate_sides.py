"""Both sides of this project's rows: nodes, and the transport by itself."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import anyio

from benchmarks.children import say
from consensus.machine.router import MachineConfig
from quorate import Node, NodeConfig, accept
from transport.busy_poll import LIMIT_S
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.events import EntriesReceived
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.peers import Peers
from transport.core.types import Address
from transport.endpoint import Endpoint
from transport.udp_socket import bind

PAYLOAD = b"x" * 64
# The allowance of Diffie-Hellman operations protects a responder's processor; here that is what is
# measured. A side that waits for its turn beside others is still there when it comes, and one that
# a busy machine does not run for long is no dead one.
TRANSPORT = TransportConfig(
    handshake=HandshakeConfig(handshakes_per_s_max=1e6, handshakes_burst=1_000),
    idle_timeout_s=3600.0,
    silence_max_s=3600.0,
)
ASLEEP = " asleep"
"""Of sides that never stay awake for the next datagram (`transport.busy_poll`)."""


def node_config(attention_s: float = LIMIT_S) -> NodeConfig:
    """That of a node."""
    return NodeConfig(machine=MachineConfig(transport=TRANSPORT), attention_s=attention_s)


NODE = node_config()


def node(attention_s: float = LIMIT_S) -> None:
    """Child: a node that answers."""

    async def main() -> None:
        async with Node.open(None, config=node_config(attention_s)) as here:
            here.on("echo")(lambda proposal: accept(proposal.body))
            say({"key": here.key.hex(), "address": list(here.address)})
            await anyio.to_thread.run_sync(sys.stdin.read)

    anyio.run(main)


class Transport:
    """A table of peers at a socket, with nothing above it: entries, and their answers."""

    def __init__(self, *, answers: bool, attention_s: float = LIMIT_S) -> None:
        self.identity = Identity.generate(os.urandom)
        loop = asyncio.get_running_loop()
        life = int.from_bytes(os.urandom(8), "big")
        self.peers = Peers(self.identity, TRANSPORT, os.urandom, loop.time(), life)
        self.endpoint = Endpoint(
            self.peers,
            self.identity.key,
            bind("127.0.0.1:0"),
            on_event=self._answer if answers else self._take,
            on_channel=lambda peer, channel: None,  # nobody opens one
            busy_poll_s=attention_s,
        )
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []

    def _answer(self, event: object) -> None:
        if type(event) is EntriesReceived:
            for group, entry in event.entries:
                self.peers.send(event.peer, group, entry, self._loop.time())

    def _take(self, event: object) -> None:
        if type(event) is EntriesReceived:
            for waiting in self._waiting[: len(event.entries)]:
                waiting.set_result(None)
            del self._waiting[: len(event.entries)]

    async def call(self, peer: bytes, addresses: list[Address]) -> None:
        """One request and its answer, after a first contact if there is no presence."""
        now = self._loop.time()
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        if addresses:
            self.peers.connect(peer, addresses, now)
        self.peers.send(peer, 0, PAYLOAD, now)
        self.endpoint.touch()
        await waiting

    def leave(self, peer: bytes) -> None:
        """End the presence and remember nothing of it: the next call is a first contact."""
        self._waiting.clear()
        self.peers.forget(peer)
        self.peers._context.known.clear()
        self.endpoint.touch()


@asynccontextmanager
async def serving(*sides: Transport) -> AsyncIterator[None]:
    """Run them for the length of the block."""
    async with anyio.create_task_group() as tasks:
        with ExitStack() as stack:
            for each in sides:
                stack.enter_context(each.endpoint.opened())
                tasks.start_soon(each.endpoint.run)
            yield
            tasks.cancel_scope.cancel()


def transport(attention_s: float = LIMIT_S) -> None:
    """Child: a transport that sends back what it gets."""

    async def main() -> None:
        here = Transport(answers=True, attention_s=attention_s)
        async with serving(here):
            say({"key": here.identity.key.hex(), "address": list(here.endpoint.address)})
            await anyio.to_thread.run_sync(sys.stdin.read)

    anyio.run(main)
