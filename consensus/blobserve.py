"""Giving blobs away: one session for each incoming channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from anyio.to_thread import run_sync

from consensus.blobdisk import PartialBlob, WholeBlob
from consensus.bloberrors import BlobError
from consensus.core.blobtree import BlobRef, Tree
from consensus.core.serving import Opened, ReadChunk, ReadNodes, Serve
from consensus.core.transferwire import TransferError
from transport.core.errors import TransportError

RECEIVE_SIZE = 1 << 18
UNOPENED_S = 30.0
"""How long a channel may say nothing before it names a blob."""
ABSENT_WAIT_S = 120.0
"""How long a fetcher of something that is not here may wait for it to come."""
CHANNEL_ERRORS = (
    TransportError,
    OSError,
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
    anyio.EndOfStream,
)
"""How a channel says that it has ended."""


class ByteChannel(Protocol):
    """An ordered, reliable stream of bytes in both directions."""

    async def send(self, data: bytes) -> None:
        """Hand over all of `data`; waits while the other side takes nothing."""

    async def receive(self, max_bytes: int = ...) -> bytes:
        """Between 1 and `max_bytes` bytes; b"" at the end."""

    async def aclose(self) -> None:
        """End both directions."""


class Holding:
    """A blob in use: all of it, or what has come so far."""

    __slots__ = ("blob", "sessions", "users")

    def __init__(self, blob: WholeBlob | PartialBlob) -> None:
        self.blob = blob
        self.users = 0
        self.sessions: set[Session] = set()

    @property
    def tree(self) -> Tree:
        """The blob's hashes."""
        return self.blob.tree

    def gained(self, mask: int) -> None:
        """Chunks have come: tell whoever is being served."""
        for session in self.sessions:
            session.gained(mask)


class Session:
    """One incoming channel being served."""

    def __init__(self, channel: ByteChannel) -> None:
        self.holding: Holding | None = None
        self.chunks_sent = 0
        self._channel = channel
        self._core = Serve()
        self._wake = anyio.Event()
        self._ended = False
        self._fault: TransferError | BlobError | None = None

    @property
    def ref(self) -> BlobRef | None:
        """What the fetcher asked for."""
        return self._core.ref

    def attach(self, holding: Holding) -> None:
        """The blob's tree is complete here: offer what there is of it."""
        self.holding = holding
        holding.sessions.add(self)
        self._core.holding(holding.blob.mask)
        self._wake.set()

    def gained(self, mask: int) -> None:
        """More chunks are here."""
        self._core.gained(mask)
        self._wake.set()

    def given(self, mask: int) -> None:
        """Other fetchers are being given these chunks."""
        self._core.given(mask)
        self._wake.set()

    async def run(self, opened: Callable[[Session], Awaitable[None]]) -> None:
        """Serve until the fetcher ends it; `opened` is called when it has named a blob.

        Raises TransferError when the fetcher does not keep to the protocol, BlobError when this
        disk fails.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive)
            try:
                await self._answer(opened)
            except BlobError as error:
                self._fault = error
            tasks.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault

    async def _receive(self) -> None:
        try:
            while data := await self._channel.receive(RECEIVE_SIZE):
                asked = self._core.receive_data_untrusted(data)
                if asked and self.holding is not None:
                    for other in self.holding.sessions:
                        if other is not self:
                            other.given(asked)
                self._wake.set()
        except TransferError as error:
            self._fault = error
        except CHANNEL_ERRORS:
            pass
        self._ended = True
        self._wake.set()

    async def _answer(self, opened: Callable[[Session], Awaitable[None]]) -> None:
        while not self._ended:
            self._wake = anyio.Event()
            output = self._core.poll()
            if isinstance(output, Opened):
                await opened(self)
                if self.holding is None:
                    self._core.absent()
            elif isinstance(output, ReadNodes):
                self._read_nodes(output.page)
            elif isinstance(output, ReadChunk):
                await self._read_chunk(output.index)
            writes = self._core.poll_writes()
            try:
                for data in writes:
                    await self._channel.send(data)
            except CHANNEL_ERRORS:
                return
            if output is None and not writes and not await self._waited():
                return

    async def _waited(self) -> bool:
        """Wait for something to do; False when the fetcher has had its time."""
        patience_s = None
        if self.holding is None:
            patience_s = UNOPENED_S if self.ref is None else ABSENT_WAIT_S
        with anyio.move_on_after(patience_s):
            await self._wake.wait()
            return True
        return False

    def _read_nodes(self, page: int | None) -> None:
        if self.holding is not None:
            tree = self.holding.tree
            hashes = tree.page_hashes if page is None else tree.page(page)
            self._core.nodes_read(page, hashes or b"")

    async def _read_chunk(self, index: int) -> None:
        if self.holding is not None:
            data = await run_sync(self.holding.blob.read_chunk, index)
            self.chunks_sent += 1
            self._core.chunk_read(index, data)
