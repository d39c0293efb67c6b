"""Byte channels in memory, with the manners of real ones: back-pressure, an end, and breaking."""

from __future__ import annotations

import anyio

from transport.core.errors import RemoteError

BUFFER_SIZE = 1 << 18


class Broken(RemoteError):
    """The other side is gone."""


class _Pipe:
    """One direction: holds BUFFER_SIZE bytes at most."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        self.broken = False
        self.changed = anyio.Event()
        self.most = 0

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def put(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            if self.broken or self.ended:
                raise Broken("the other side is gone")
            room = BUFFER_SIZE - len(self.data)
            if room:
                self.data += view[:room]
                self.most = max(self.most, len(self.data))
                view = view[room:]
                self.wake()
            else:
                await self.changed.wait()
        await anyio.lowlevel.checkpoint()

    async def take(self, size: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self.data:
            if self.broken:
                raise Broken("the other side is gone")
            if self.ended:
                return b""
            await self.changed.wait()
        data = bytes(self.data[:size])
        del self.data[:size]
        self.wake()
        return data


class MemoryChannel:
    """One end of a channel; `pair` makes both."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def send(self, data: bytes) -> None:
        await self._outgoing.put(data)

    async def receive(self, max_bytes: int = 1 << 18) -> bytes:
        return await self._incoming.take(max_bytes)

    async def aclose(self) -> None:
        for pipe in (self._incoming, self._outgoing):
            pipe.ended = True
            pipe.wake()

    def cut(self) -> None:
        """The peer vanishes: what is under way is lost."""
        for pipe in (self._incoming, self._outgoing):
            pipe.data.clear()
            pipe.broken = True
            pipe.wake()


def pair() -> tuple[MemoryChannel, MemoryChannel]:
    """Two ends of one channel."""
    there, back = _Pipe(), _Pipe()
    return MemoryChannel(back, there), MemoryChannel(there, back)
