"""Giving blobs away: one session for each incoming channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
from anyio.to_thread import run_sync

from consensus.blobs.disk import PartialBlob, WholeBlob
from consensus.blobs.errors import BlobError
from consensus.core.blob.serve import Opened, ReadChunk, ReadNodes, Serve
from consensus.core.blob.tree import BlobRef, Tree
from consensus.core.blob.wire import TransferError
from transport.core.errors import TransportError

RECEIVE_SIZE = 1 << 18
SESSIONS_MAX = 64
"""Incoming channels served at a time. When all are taken, whoever has most loses the one on which
nothing was asked for longest, to somebody who has fewer."""
SESSIONS_PER_PEER_MAX = 16
"""Of these for one peer; more are closed at once."""
UNOPENED_S = 30.0
"""How long a channel may say nothing before it names a blob."""
ABSENT_WAIT_S = 120.0
"""How long a fetcher of something that is not here may wait for it to come."""
IDLE_S = 90.0
"""How long a fetcher may ask for nothing, or take nothing of what it asked for. One that waits for
what others are to give this node opens another channel then."""
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

    __slots__ = ("blob", "on_lost", "sessions", "users")

    def __init__(self, blob: WholeBlob | PartialBlob) -> None:
        self.blob = blob
        self.users = 0
        self.sessions: dict[Session, None] = {}
        self.on_lost: Callable[[int], None] | None = None
        """Told by whoever finds that a chunk is not what it was."""

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

    def __init__(self, channel: ByteChannel, peer: bytes) -> None:
        self.peer = peer
        self.asked_at = anyio.current_time()
        """When the fetcher last asked for anything."""
        self.holding: Holding | None = None
        self.chunks_sent = 0
        self._channel = channel
        self._core = Serve()
        self._wake = anyio.Event()
        self._ended = False
        self._scope = anyio.CancelScope()
        self._fault: TransferError | BlobError | None = None

    @property
    def ref(self) -> BlobRef | None:
        """What the fetcher asked for."""
        return self._core.ref

    def attach(self, holding: Holding) -> None:
        """The blob's tree is complete here: offer what there is of it."""
        self.holding = holding
        holding.sessions[self] = None
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
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._receive)
                try:
                    await self._answer(opened)
                except BlobError as error:
                    self._fault = error
                tasks.cancel_scope.cancel()
        if self._fault is not None:
            raise self._fault

    def stop(self) -> None:
        """Somebody else needs the place."""
        self._scope.cancel()

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
            if output is not None:
                self.asked_at = anyio.current_time()
            if isinstance(output, Opened):
                await opened(self)
                if self.holding is None:
                    self._core.absent()
            elif isinstance(output, ReadNodes):
                self._read_nodes(output.page)
            elif isinstance(output, ReadChunk):
                await self._read_chunk(output.index)
            writes = self._core.poll_writes()
            if not await self._sent(writes):
                return
            if output is None and not writes and not await self._waited():
                return

    async def _sent(self, writes: list[bytes]) -> bool:
        """False when the fetcher has gone, or takes nothing."""
        try:
            for data in writes:
                with anyio.move_on_after(IDLE_S) as late:
                    await self._channel.send(data)
                if late.cancelled_caught:
                    return False
        except CHANNEL_ERRORS:
            return False
        return True

    async def _waited(self) -> bool:
        """Wait for something to do; False when the fetcher has had its time."""
        patience_s = IDLE_S
        if self.holding is None:
            patience_s = UNOPENED_S if self.ref is None else ABSENT_WAIT_S
        with anyio.CancelScope(deadline=self.asked_at + patience_s):
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


class Places:
    """The sessions of a store: so many that memory is bounded, and places for everybody."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []

    def take(self, session: Session) -> bool:
        """Whether there is a place for one more; another session may be stopped for it."""
        taken = Counter(each.peer for each in self._sessions)
        if taken[session.peer] >= SESSIONS_PER_PEER_MAX:
            return False
        if len(self._sessions) >= SESSIONS_MAX:
            peer, most = taken.most_common(1)[0]
            if most <= taken[session.peer] + 1:
                return False
            of_peer = (each for each in self._sessions if each.peer == peer)
            idlest = min(of_peer, key=lambda each: each.asked_at)
            self.leave(idlest)
            idlest.stop()
        self._sessions.append(session)
        return True

    def leave(self, session: Session) -> None:
        """Its place is free; harmless if it has none."""
        if session in self._sessions:
            self._sessions.remove(session)
