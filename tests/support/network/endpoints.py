"""Endpoints on loopback for tests: a table of peers over a real socket, without groups."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from tests.support.nodes.nodes import PATIENCE_S
from transport.busy_poll import LIMIT_S
from transport.channel import Channel
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.events import PresenceUp
from transport.core.peers import Peers
from transport.endpoint import Endpoint
from transport.udp_socket import bind


class End:
    """One endpoint, what happened on it, and the channels that came in."""

    def __init__(
        self, config: TransportConfig | None = None, *, attention_s: float = LIMIT_S
    ) -> None:
        self.identity = Identity.generate(os.urandom)
        incarnation = int.from_bytes(os.urandom(8), "big")
        self.peers = Peers(
            self.identity, config or TransportConfig(), os.urandom,
            anyio.current_time(), incarnation,
        )  # fmt: skip
        self.events: list[object] = []
        self.endpoint = Endpoint(
            self.peers,
            self.identity.key,
            bind("127.0.0.1:0"),
            on_event=self._take,
            on_channel=self._accept,
            busy_poll_s=attention_s,
        )
        self._happened = anyio.Event()
        self._accepted: list[Channel] = []

    @property
    def key(self) -> bytes:
        return self.identity.key

    def _take(self, event: object) -> None:
        self.events.append(event)
        self._wake()

    def _accept(self, peer: bytes, channel: Channel) -> None:
        assert channel.peer == peer
        self._accepted.append(channel)
        self._wake()

    def _wake(self) -> None:
        self._happened.set()
        self._happened = anyio.Event()

    async def happened(self, kind: type) -> object:
        """The first event of that kind."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        return event
                await self._happened.wait()

    async def accept(self) -> Channel:
        """The next channel that the other side opened."""
        with anyio.fail_after(PATIENCE_S):
            while not self._accepted:
                await self._happened.wait()
            return self._accepted.pop(0)

    def counters(self) -> dict[str, int]:
        """The pump's."""
        return self.endpoint._pump.counters()

    async def meet(self, other: "End") -> None:
        """Have a presence, seen from both sides."""
        self.peers.connect(other.key, [other.endpoint.address], self.endpoint.clock())
        self.endpoint.touch()
        await self.happened(PresenceUp)
        await other.happened(PresenceUp)

    async def channel(self, other: "End", first: bytes = b"?") -> tuple[Channel, Channel]:
        """A channel opened here, and the same as the other side sees it."""
        mine = await self.endpoint.open_channel(other.key)
        await mine.send(first)
        theirs = await other.accept()
        assert await exactly(theirs, len(first)) == first
        return mine, theirs


async def exactly(channel: Channel, size: int) -> bytes:
    """So many bytes, no more."""
    data = b""
    while len(data) < size:
        piece = await channel.receive(size - len(data))
        assert piece, f"the stream ended after {len(data)} of {size} bytes"
        data += piece
    return data


async def everything(channel: Channel) -> bytes:
    """All bytes to the end of the stream."""
    pieces = []
    while piece := await channel.receive():
        pieces.append(piece)
    return b"".join(pieces)


@asynccontextmanager
async def open_ends(
    number: int = 2, config: TransportConfig | None = None
) -> AsyncIterator[list[End]]:
    """That many endpoints, running."""
    async with AsyncExitStack() as stack:
        ends = [End(config) for _ in range(number)]
        for end in ends:
            stack.enter_context(end.endpoint.opened())
        tasks = await stack.enter_async_context(anyio.create_task_group())
        for end in ends:
            tasks.start_soon(end.endpoint.run)
        try:
            yield ends
        finally:
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_pair(config: TransportConfig | None = None) -> AsyncIterator[tuple[End, End]]:
    """Two endpoints with a presence."""
    async with open_ends(2, config) as (one, other):
        await one.meet(other)
        yield one, other
