"""Fetching one blob: its sources' channels on one side, the disk on the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync

from consensus.blobs.disk import PartialBlob
from consensus.blobs.errors import BlobError, BlobUnavailable
from consensus.blobs.serve import CHANNEL_ERRORS, RECEIVE_SIZE, ByteChannel, Holding
from consensus.core.blob.fetch import SOURCES_MAX, Fetch
from consensus.core.blob.fetch_events import (
    Drop,
    Failed,
    FetchConfig,
    Finished,
    Progress,
    SourceDropped,
    StoreChunk,
    StorePage,
    StoreRoot,
)
from transport.surroundings import current

OPEN_TIMEOUT_S = 30.0
"""Time for a channel to open."""
REOPEN_DELAYS_S = (0.2, 1.0, 3.0)
"""Pauses before a source that went away is asked again; it is given up after the last."""
STEADY_S = 60.0
"""A source that stayed for so long is given all of these chances again."""


@dataclass(frozen=True, slots=True)
class Source:
    """A peer that may hold the blob, and how to open a channel to it."""

    peer: bytes
    open: Callable[[], Awaitable[ByteChannel]]


@dataclass(frozen=True, slots=True)
class DroppedSource:
    """A source that is no longer asked, and why."""

    peer: bytes
    reason: Drop
    detail: str


_STORED = (StoreRoot, StorePage, StoreChunk)


class _Conversation:
    """One open channel of a source."""

    __slots__ = ("dropped", "peer", "pending", "scope", "wake")

    def __init__(self, peer: bytes) -> None:
        self.peer = peer
        self.scope = anyio.CancelScope()
        self.pending: list[bytes] = []
        self.wake = anyio.Event()
        self.dropped: SourceDropped | None = None


class FetchRun:
    """Drives a `Fetch` until the blob is here. `dropped` says who was given up on the way.

    `on_root` is awaited when the size of the blob has been verified with the hashes of its pages,
    before anything of it is written: until then whoever made a name up costs nobody any room.
    """

    def __init__(
        self,
        holding: Holding,
        blob: PartialBlob,
        config: FetchConfig | None,
        on_progress: Callable[[Progress], None] | None,
        on_root: Callable[[], Awaitable[None]],
        on_tree: Callable[[], None],
        on_drop: Callable[[DroppedSource], None] | None,
    ) -> None:
        self._holding = holding
        self._blob = blob
        self.core = Fetch(
            blob.files.ref,
            current().random,
            anyio.current_time(),
            tree=blob.tree,
            held=blob.mask,
            config=config,
        )
        self._on_progress = on_progress
        self._on_root = on_root
        self._has_room = False
        self._asking_for_room = anyio.Lock()
        self._on_tree = on_tree
        self._on_drop = on_drop
        self.dropped: list[DroppedSource] = []
        self._conversations: dict[int, _Conversation] = {}
        self._live_sources = 0
        self._opening = 0
        self._rearm = anyio.Event()
        self._over = anyio.Event()
        self._error: BlobError | None = None

    async def run(self, sources: Sequence[Source]) -> None:
        """Fetch. Raises BlobUnavailable, BlobDiskFull, BlobError."""
        chosen = sources[:SOURCES_MAX]
        self._live_sources = self._opening = len(chosen)
        if self.core.tree.page_hashes is not None:
            await self._room()
        self._holding.on_lost = self._lost
        async with anyio.create_task_group() as tasks:
            for source in chosen:
                tasks.start_soon(self._use, source)
            if not chosen:
                self.core.no_more_sources(anyio.current_time())
            if self.core.tree.complete:
                self._on_tree()
            await self._process()
            tasks.start_soon(self._keep_time)
            await self._over.wait()
            tasks.cancel_scope.cancel()
        if self._error is not None:
            raise self._error

    async def _use(self, source: Source) -> None:
        """Ask one source, and again when it went away."""
        attempt = 0
        while True:
            began = anyio.current_time()
            try:
                with anyio.fail_after(OPEN_TIMEOUT_S):
                    channel = await source.open()
            except (*CHANNEL_ERRORS, TimeoutError):
                pass
            else:
                dropped = await self._converse(source, channel)
                if dropped is not None and dropped.reason in (Drop.LYING, Drop.BROKE_PROTOCOL):
                    break
                if anyio.current_time() >= began + STEADY_S:
                    attempt = 0
            if attempt == len(REOPEN_DELAYS_S):
                break
            await anyio.sleep(REOPEN_DELAYS_S[attempt])
            attempt += 1
        self._live_sources -= 1
        self._opens(-1)
        if self._live_sources == 0:
            self.core.no_more_sources(anyio.current_time())
            await self._process()

    def _opens(self, more: int) -> None:
        self._opening += more
        self.core.opening(self._opening > 0, anyio.current_time())
        self._rearm.set()

    async def _converse(self, source: Source, channel: ByteChannel) -> SourceDropped | None:
        """Until the source is dropped or the fetch is over; the channel is closed then."""
        number = self.core.add_source(anyio.current_time())
        self._opens(-1)
        conversation = self._conversations[number] = _Conversation(source.peer)
        try:
            with conversation.scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._send, number, conversation, channel)
                    self._flush()
                    await self._receive(number, channel)
        finally:
            del self._conversations[number]
            self._opens(+1)
            with anyio.move_on_after(1.0, shield=True), suppress(*CHANNEL_ERRORS):
                await channel.aclose()
        return conversation.dropped

    async def _receive(self, number: int, channel: ByteChannel) -> None:
        while number in self._conversations:
            try:
                data = await channel.receive(RECEIVE_SIZE)
            except CHANNEL_ERRORS:
                data = b""
            if data:
                self.core.receive_data(number, data, anyio.current_time())
            else:
                self.core.source_closed(number, anyio.current_time())
            await self._process()

    async def _send(self, number: int, conversation: _Conversation, channel: ByteChannel) -> None:
        while True:
            pending, conversation.pending = conversation.pending, []
            conversation.wake = anyio.Event()
            try:
                for data in pending:
                    await channel.send(data)
            except CHANNEL_ERRORS:
                self.core.source_closed(number, anyio.current_time())
                await self._process()
                return
            if not conversation.pending:
                await conversation.wake.wait()

    async def _keep_time(self) -> None:
        while True:
            self._rearm = anyio.Event()
            at = self.core.next_timeout()
            with anyio.CancelScope(deadline=float("inf") if at is None else at):
                await self._rearm.wait()
            now = anyio.current_time()
            if at is not None and now >= at:
                self.core.handle_timeout(now)
                await self._process()

    async def _room(self) -> None:
        async with self._asking_for_room:
            if not self._has_room:
                await self._on_root()
                self._has_room = True

    async def _process(self) -> None:
        """Do what the core asks for. Not interrupted: what it handed out must be stored."""
        self._flush()
        ended: list[_Conversation] = []
        with anyio.CancelScope(shield=True):
            try:
                while (output := self.core.poll()) is not None:
                    if not self._has_room and isinstance(output, _STORED):
                        await self._room()
                    if isinstance(output, StoreChunk):
                        await run_sync(self._blob.write_chunk, output.index, output.data)
                        self._stored(output.index)
                    elif isinstance(output, StorePage):
                        await run_sync(self._blob.write_page, output.page, output.leaves)
                        if output.tree_complete:
                            self._on_tree()
                    elif isinstance(output, StoreRoot):
                        await run_sync(self._blob.write_root, output.page_hashes)
                    elif isinstance(output, SourceDropped):
                        conversation = self._conversations.get(output.source)
                        if conversation is not None:
                            conversation.dropped = output
                            ended.append(conversation)
                            self._tell_dropped(conversation.peer, output)
                    else:
                        self._tell(output)
            except BlobError as error:
                self._error = self._error or error
                self._over.set()
        self._flush()
        self._rearm.set()
        for conversation in ended:
            conversation.scope.cancel()

    def _stored(self, index: int) -> None:
        self._blob.mask |= 1 << index
        self._holding.gained(1 << index)
        self.core.chunk_stored(index, anyio.current_time())

    def _lost(self, index: int) -> None:
        """A chunk that was written is not what it was."""
        self.core.chunk_lost(index, anyio.current_time())
        self._flush()
        self._rearm.set()

    def _tell(self, output: Progress | Finished | Failed) -> None:
        if isinstance(output, Progress):
            if self._on_progress is not None:
                self._on_progress(output)
            return
        if isinstance(output, Failed):
            given_up = {each.peer: each.reason.value for each in self.dropped}
            told = (f"{peer.hex()[:16]} {why}" for peer, why in sorted(given_up.items()))
            after = f" ({'; '.join(told)})" if given_up else ""
            ref = self._blob.files.ref
            self._error = BlobUnavailable(f"{ref} cannot be fetched: {output.reason}{after}")
        self._over.set()

    def _tell_dropped(self, peer: bytes, dropped: SourceDropped) -> None:
        told = DroppedSource(peer, dropped.reason, dropped.detail)
        self.dropped.append(told)
        if self._on_drop is not None:
            self._on_drop(told)

    def _flush(self) -> None:
        """Hand what is to be sent to the senders."""
        for number, data in self.core.poll_writes():
            conversation = self._conversations.get(number)
            if conversation is not None:
                conversation.pending.append(data)
                conversation.wake.set()
