"""Blobs of a node: its store, opened when the first blob comes, and the channels they go over."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from os import PathLike
from pathlib import Path

import anyio

from consensus.blobs.store import (
    BlobError,
    BlobStore,
    BlobUnavailable,
    Drop,
    DroppedSource,
    FetchReport,
    Progress,
    Source,
)
from consensus.core.blob.tree import BlobRef
from consensus.core.errors import ConsensusError
from consensus.network.services import Services
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

    async def share(self, path: str | PathLike[str], copy: bool) -> BlobRef:
        """Import a file, or remember where it lies. Raises BlobError."""
        return await (await self._opened()).share(path, copy=copy)

    async def pin(self, ref: BlobRef, pinned: bool) -> None:
        """Keep a blob whatever else needs room, or no longer. Raises BlobError."""
        store = await self._opened()
        await (store.pin(ref) if pinned else store.unpin(ref))

    async def fetch(
        self,
        ref: BlobRef,
        peers: Sequence[bytes],
        to: str | PathLike[str] | None,
        on_progress: OnProgress | None,
        timeout_s: float | None,
    ) -> FetchReport:
        """Get a blob from those of `peers` who hold it. Raises BlobError, TimeoutError."""
        store = await self._opened()

        def progress(state: Progress) -> None:
            if on_progress is not None:
                on_progress(ref, state.bytes, state.bytes_total)

        def dropped(source: DroppedSource) -> None:
            why = source.reason.value + (f" ({source.detail})" if source.detail else "")
            log.log(
                logging.INFO if source.reason is Drop.GONE else logging.WARNING,
                "%s is not asked for %s now: it %s", source.peer.hex()[:16], ref, why,
            )  # fmt: skip

        sources = [self._source(peer) for peer in peers]
        try:
            with anyio.fail_after(timeout_s):
                return await store.fetch(ref, sources, to, progress, on_drop=dropped)
        except TimeoutError as error:
            raise TimeoutError(
                f"{ref} is not here after {timeout_s:g} s; what came is kept"
            ) from error

    async def put(self, ref: BlobRef, to: str | PathLike[str]) -> None:
        """Make a file of a blob that is here and that nobody will ask this node for any more: not
        a second copy where the file system can do without. Raises BlobError."""
        await (await self._opened()).export(ref, to, link=True)

    async def wanted(self, refs: Sequence[BlobRef]) -> AbstractContextManager[None]:
        """While it is entered none of these makes room for anything, not even for each other.
        Raises BlobLimit if they cannot be here together."""
        store = await self._opened()
        store.check_fits(refs)
        return store.held(refs)

    @asynccontextmanager
    async def named(self, refs: Sequence[BlobRef]) -> AsyncIterator[None]:
        """As `wanted`, for what a proposal of this node names. Raises BlobUnavailable if any of it
        is not here: who proposes votes for it, and is whom the others get it from."""
        store = await self._opened()
        with store.held(refs):
            for ref in refs:
                if not store.holds(ref):
                    raise BlobUnavailable(f"{ref} is not here: share or fetch it to propose it")
            yield

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
            try:
                await (await self._opened()).serve(channel, channel.peer)
            except BlobError as error:
                log.warning("a blob is not given any more: %s", error)
            except ConsensusError as error:
                log.warning("%s asks for blobs against the protocol: %s", _short(channel), error)

    async def _opened(self) -> BlobStore:
        async with self._opening:
            if self._closed:
                raise BlobError("the node is closed")
            if self._store is None:
                self._store = await BlobStore.open(self._directory(), self._limit_bytes)
            return self._store


def _short(channel: Channel) -> str:
    return channel.peer.hex()[:16]
