"""Blobs of a node: its store, opened when the first blob comes, and the channels they go over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path

import anyio

from consensus.blobs import BlobError, BlobStore, DroppedSource, FetchReport, Progress, Source
from consensus.core.blobtree import BlobRef
from consensus.core.errors import ConsensusError
from consensus.services import Services
from transport.channel import Channel

log = logging.getLogger("quorate")
SERVICE = "quorate.blobs"
OnProgress = Callable[[BlobRef, int, int], None]
"""Called with the blob, the bytes that are here and verified, and all its bytes."""


class BlobService:
    """What a node does with blobs. Only peers of whom `trusted(key)` is true are served."""

    def __init__(
        self,
        directory: Callable[[], Path],
        limit_bytes: int,
        services: Services,
        trusted: Callable[[bytes], bool],
    ) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._services = services
        self._trusted = trusted
        self._store: BlobStore | None = None
        self._opening = anyio.Lock()
        self._closed = False
        services.register(SERVICE, self._serve)

    async def share(self, path: str | PathLike[str]) -> BlobRef:
        """Import a file. Raises BlobError."""
        return await (await self._opened()).share(path)

    async def fetch(
        self,
        ref: BlobRef,
        peers: Sequence[bytes],
        to: str | PathLike[str] | None,
        on_progress: OnProgress | None,
    ) -> FetchReport:
        """Get a blob from those of `peers` who hold it. Raises BlobError."""
        store = await self._opened()

        def progress(state: Progress) -> None:
            if on_progress is not None:
                on_progress(ref, state.bytes, state.bytes_total)

        def dropped(source: DroppedSource) -> None:
            log.warning(
                "%s is no longer asked for %s: %s", source.peer.hex()[:16], ref, source.detail
            )

        sources = [self._source(peer) for peer in peers]
        return await store.fetch(ref, sources, to, progress, on_drop=dropped)

    def close(self) -> None:
        """Let the directory go."""
        self._closed = True
        if self._store is not None:
            self._store.close()
            self._store = None

    def _source(self, peer: bytes) -> Source:
        async def open_channel() -> Channel:
            return await self._services.open(peer, SERVICE)

        return Source(peer, open_channel)

    async def _serve(self, channel: Channel) -> None:
        if self._trusted(channel.peer):
            # A fetcher that breaks the protocol, or a disk that fails, ends this channel only.
            with suppress(ConsensusError):
                await (await self._opened()).serve(channel)

    async def _opened(self) -> BlobStore:
        async with self._opening:
            if self._closed:
                raise BlobError("the node is closed")
            if self._store is None:
                self._store = await BlobStore.open(self._directory(), self._limit_bytes)
            return self._store
