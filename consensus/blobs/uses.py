"""The blobs of a store that are in use: who reads one, who is served, and who waits for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.to_thread import run_sync

from consensus.blobs.disk import PartialBlob, WholeBlob
from consensus.blobs.errors import BlobDamaged, BlobError
from consensus.blobs.serve import CHANNEL_ERRORS, ByteChannel, Holding, Places, Session
from consensus.blobs.shelf import Shelf
from consensus.core.blob.tree import BlobRef


class BlobUses:
    """One store's. A blob is open as long as somebody uses it."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._places = Places()
        self.waiting: dict[Session, None] = {}
        """Fetchers of what is not here yet."""

    async def serve(self, channel: ByteChannel, peer: bytes) -> int:
        """As `BlobStore.serve`."""
        session = Session(channel, peer)
        try:
            if self._places.take(session):
                await session.run(self._named)
        except BlobDamaged as error:
            await self._damaged(session, error)
            raise
        finally:
            self._places.leave(session)
            self.waiting.pop(session, None)
            if session.holding is not None and session.ref is not None:
                session.holding.sessions.pop(session, None)
                await self._release(session.ref, session.holding)
            with anyio.move_on_after(1.0, shield=True), suppress(*CHANNEL_ERRORS):
                await channel.aclose()
        return session.chunks_sent

    def offer(self, ref: BlobRef, holding: Holding) -> None:
        """The tree of a blob being fetched is complete: whoever waits for it is served."""
        for session in [each for each in self.waiting if each.ref == ref]:
            self.waiting.pop(session, None)
            holding.users += 1
            session.attach(holding)

    async def offer_whole(self, ref: BlobRef) -> None:
        """The blob is here: whoever waits for it is served."""
        if any(session.ref == ref for session in self.waiting):
            async with self._using_whole(ref) as holding:
                self.offer(ref, holding)

    def being_written(self, ref: BlobRef) -> bool:
        """A fetch is at the blob, or what one has left is being served."""
        held = self._shelf.in_use.get(ref)
        partial = held is not None and isinstance(held.blob, PartialBlob)
        return ref in self._shelf.being_fetched or partial

    @asynccontextmanager
    async def using(self, ref: BlobRef, holding: Holding) -> AsyncIterator[Holding]:
        """Keep it open meanwhile."""
        self._shelf.in_use[ref] = holding
        holding.users += 1
        try:
            yield holding
        finally:
            await self._release(ref, holding)

    def open_whole(self, ref: BlobRef) -> Holding:
        """Open a blob that is here. Blocks; raises BlobError."""
        files = self._shelf.files(ref)
        holding = Holding(WholeBlob(files))
        files.touch()
        return holding

    async def _named(self, session: Session) -> None:
        """A fetcher has named a blob: offer it, or keep the fetcher until it comes."""
        ref = session.ref
        if ref is None:
            return
        if ref in self._shelf.whole and ref not in self._shelf.in_use:
            async with self._using_whole(ref) as holding:
                holding.users += 1
                session.attach(holding)
            return
        held = self._shelf.in_use.get(ref)
        if held is not None and held.tree.complete:
            held.users += 1
            session.attach(held)
        else:
            self.waiting[session] = None

    @asynccontextmanager
    async def _using_whole(self, ref: BlobRef) -> AsyncIterator[Holding]:
        """A whole blob, open."""
        with self._shelf.held((ref,)):
            opened = await run_sync(self.open_whole, ref)
            holding = self._shelf.in_use.setdefault(ref, opened)
            if holding is not opened:
                opened.blob.close()
            async with self.using(ref, holding):
                yield holding

    async def _damaged(self, session: Session, error: BlobDamaged) -> None:
        """A blob is not what it was: another fetch verifies what there is and gets the rest; one
        that is under way gets the chunk again."""
        ref, holding = session.ref, session.holding
        if ref is None:
            return
        if ref in self._shelf.whole or holding is None or not isinstance(holding.blob, PartialBlob):
            self._shelf.damaged(ref)
        elif error.chunk is not None:
            holding.blob.mask &= ~(1 << error.chunk)
            with suppress(BlobError), anyio.CancelScope(shield=True):
                await run_sync(holding.blob.disclaim, error.chunk)
            if holding.on_lost is not None:
                holding.on_lost(error.chunk)

    async def _release(self, ref: BlobRef, holding: Holding) -> None:
        holding.users -= 1
        if holding.users > 0:
            return
        shelf, blob = self._shelf, holding.blob
        if shelf.in_use.get(ref) is holding:
            del shelf.in_use[ref]
        blob.close()
        if (
            isinstance(blob, PartialBlob)
            and not blob.mask
            and ref in shelf.partial
            and ref not in shelf.being_fetched
            and ref not in shelf.pinned
        ):
            # Whatever somebody names leaves nothing behind if nobody gave any of it.
            with suppress(BlobError), anyio.CancelScope(shield=True):
                await shelf.remove(ref)
