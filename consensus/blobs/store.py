"""The blobs of a node: a content-addressed store on disk, and moving blobs between peers.

The store owns its directory. A fetch asks all its sources at once, verifies every chunk before it
is written, writes as it goes, and resumes where an earlier one ended, also one that was killed.
What is held of a blob is served while the rest is still being fetched. All disk work runs in
worker threads; memory is a few chunks for each channel and the hashes of the blobs in use.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.to_thread import run_sync

from consensus.blobs.disk import STEP_SIZE, PartialBlob
from consensus.blobs.errors import (
    BlobDamaged,
    BlobDiskFull,
    BlobError,
    BlobLimit,
    BlobStoreBusy,
    BlobUnavailable,
    disk_error,
)
from consensus.blobs.export_file import Export
from consensus.blobs.fetch import DroppedSource, FetchRun, Source
from consensus.blobs.import_file import Import
from consensus.blobs.serve import ByteChannel, Holding
from consensus.blobs.shelf import Shelf
from consensus.blobs.uses import BlobUses
from consensus.core.blob.fetch_events import Drop, FetchConfig, Progress
from consensus.core.blob.tree import BLOB_SIZE_MAX, BlobRef
from transport.forks import let_go_in_children

__all__ = [
    "BlobDamaged",
    "BlobDiskFull",
    "BlobError",
    "BlobLimit",
    "BlobRef",
    "BlobStore",
    "BlobStoreBusy",
    "BlobUnavailable",
    "ByteChannel",
    "Drop",
    "DroppedSource",
    "FetchConfig",
    "FetchReport",
    "Progress",
    "Source",
]

LIMIT_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What came of a fetch."""

    ref: BlobRef
    received_size: int
    """Bytes of chunks received by this call; 0 if the blob was here."""
    resumed_chunks: int
    """Chunks that were here, verified, before it began."""
    dropped: tuple[DroppedSource, ...]
    """Sources given up on the way; who lied is among them."""


class BlobStore:
    """A directory of blobs. Open it with `async with await BlobStore.open(...)`, or `close` it."""

    def __init__(self, directory: Path, limit_bytes: int, lock: int) -> None:
        self._shelf = Shelf(directory, limit_bytes)
        self._lock = lock
        self._uses = BlobUses(self._shelf)
        self._fetching: dict[BlobRef, anyio.Lock] = {}
        let_go_in_children(self)

    @classmethod
    async def open(
        cls, directory: str | os.PathLike[str], limit_bytes: int = LIMIT_BYTES
    ) -> BlobStore:
        """Open the store in `directory`, making it if there is none.

        `limit_bytes` bounds the sum of the sizes of the blobs in it; those shared in place do not
        count. Raises BlobStoreBusy, BlobError.
        """
        return await run_sync(cls._open, Path(directory), limit_bytes)

    @classmethod
    def _open(cls, directory: Path, limit_bytes: int) -> BlobStore:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise disk_error(error, str(directory)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise BlobStoreBusy(f"{directory} is in use by another node") from error
        store = cls(directory, limit_bytes, lock)
        try:
            store._shelf.scan()
        except OSError as error:
            os.close(lock)
            raise disk_error(error, str(directory)) from error
        return store

    def close(self) -> None:
        """Let the directory go. Fetches and sessions have ended by then."""
        for holding in self._shelf.in_use.values():
            holding.blob.close()
        self._shelf.in_use.clear()
        self.let_go()

    def let_go(self) -> None:
        """Close the lock, which in a forked child leaves it to the parent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # what is here

    def holds(self, ref: BlobRef) -> bool:
        """All of the blob is here."""
        return ref in self._shelf.whole

    def refs(self) -> list[BlobRef]:
        """The blobs that are here."""
        return sorted(self._shelf.whole)

    @property
    def used_bytes(self) -> int:
        """Bytes that count against the limit: copies, and incomplete blobs at their full size
        once their hashes have begun to come."""
        return self._shelf.used_bytes

    def held(self, refs: Iterable[BlobRef]) -> AbstractContextManager[None]:
        """These make no room for others meanwhile, whether they are here or come."""
        return self._shelf.held(refs)

    def check_fits(self, refs: Iterable[BlobRef]) -> None:
        """Raise BlobLimit if these cannot be here together."""
        self._shelf.check_fits(refs)

    async def share(self, path: str | os.PathLike[str], *, copy: bool = True) -> BlobRef:
        """Take a file in and name it. Without `copy` it stays where it is and must not change.

        Raises BlobLimit, BlobDiskFull, BlobError.
        """
        shelf = self._shelf
        taken = await run_sync(Import, shelf.directory, Path(path), copy)
        try:
            until = BLOB_SIZE_MAX + 1
            if copy:
                until = taken.size
                await shelf.reserve(taken, until, Path(path).name)
            while await run_sync(taken.step, until):
                if taken.at == until:  # It has grown since.
                    until = max(until + 1, min(until + STEP_SIZE, shelf.limit_bytes))
                    await shelf.reserve(taken, until, Path(path).name)
            ref = await run_sync(taken.name)
            async with shelf.changing(ref):
                with anyio.CancelScope(shield=True):
                    linked = await run_sync(taken.finish, self._uses.being_written(ref))
                shelf.came(ref, linked=linked)
        finally:
            shelf.release(taken)
            with anyio.CancelScope(shield=True):
                await run_sync(taken.close)
        await self._uses.offer_whole(ref)
        return ref

    async def export(self, ref: BlobRef, to: str | os.PathLike[str], *, link: bool = False) -> None:
        """Copy a blob that is here to a file, whole or not at all, each chunk verified. With
        `link`, `to` becomes another name of the store's own file where that can be done, which is
        for a store that will not be used any more. Raises BlobDamaged, BlobDiskFull, BlobError."""
        shelf = self._shelf
        if ref not in shelf.whole:
            raise BlobUnavailable(f"{ref} is not here: fetch it first")
        with shelf.held((ref,)):
            try:
                made = await run_sync(Export, shelf.files(ref), Path(to), link)
                try:
                    while await run_sync(made.step):
                        pass
                    await run_sync(made.finish)
                finally:
                    with anyio.CancelScope(shield=True):
                        await run_sync(made.close)
            except BlobDamaged:
                shelf.damaged(ref)
                raise

    async def pin(self, ref: BlobRef) -> None:
        """Keep the blob whatever else needs room. Raises BlobError."""
        if ref not in self._shelf.whole:
            raise BlobUnavailable(f"{ref} is not here: fetch it first")
        with self._shelf.held((ref,)):
            try:
                await run_sync(self._shelf.files(ref)["pin"].touch, 0o600)
            except OSError as error:
                raise disk_error(error, f"{ref}") from error
            self._shelf.pinned.add(ref)

    async def unpin(self, ref: BlobRef) -> None:
        """The blob may go when room is needed. Raises BlobError."""
        try:
            with suppress(FileNotFoundError):
                await run_sync(self._shelf.files(ref)["pin"].unlink)
        except OSError as error:
            raise disk_error(error, f"{ref}") from error
        self._shelf.pinned.discard(ref)

    async def remove(self, ref: BlobRef) -> None:
        """Forget the blob, also what there is of an incomplete one; harmless if there is none.

        A file that was shared in place stays. Raises BlobError while the blob is in use.
        """
        self._shelf.check_removable(ref)
        await self._shelf.remove(ref)

    # moving

    async def fetch(
        self,
        ref: BlobRef,
        sources: Sequence[Source],
        to: str | os.PathLike[str] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        on_drop: Callable[[DroppedSource], None] | None = None,
        config: FetchConfig | None = None,
    ) -> FetchReport:
        """Get the blob from the sources together, verified; and a copy of it at `to`.

        At most 31 sources are asked. A blob that is here costs nothing; one that another call is
        fetching is waited for. Raises BlobUnavailable, BlobDiskFull, BlobLimit, BlobError; what
        was verified by then is kept and not fetched again.
        """
        shelf = self._shelf
        shelf.check_fits((ref,))
        with shelf.held((ref,)):
            turn = self._fetching.setdefault(ref, anyio.Lock())
            try:
                async with turn:
                    await shelf.settled(ref)
                    report = FetchReport(ref, 0, ref.chunks, ())
                    if ref not in shelf.whole:
                        report = await self._fetch(ref, sources, on_progress, on_drop, config)
                    elif on_progress is not None:
                        on_progress(Progress(ref.chunks, ref.chunks, ref.size, ref.size))
            finally:
                if not turn.statistics().locked and not turn.statistics().tasks_waiting:
                    self._fetching.pop(ref, None)
            await run_sync(shelf.files(ref).touch)
            if to is not None:
                await self.export(ref, to)
        return report

    async def _fetch(
        self,
        ref: BlobRef,
        sources: Sequence[Source],
        on_progress: Callable[[Progress], None] | None,
        on_drop: Callable[[DroppedSource], None] | None,
        config: FetchConfig | None,
    ) -> FetchReport:
        shelf = self._shelf
        shelf.partial.add(ref)
        shelf.being_fetched.add(ref)
        try:
            held, blob = await self._begun(ref)
            resumed = blob.mask.bit_count()
            async with self._uses.using(ref, held) as holding:
                run = FetchRun(
                    holding,
                    blob,
                    config,
                    on_progress,
                    lambda: shelf.claim(ref),
                    lambda: self._uses.offer(ref, holding),
                    on_drop,
                )
                await self._run(ref, run, blob, sources)
        finally:
            shelf.given_up(ref)
        return FetchReport(ref, run.core.received_size, resumed, tuple(run.dropped))

    async def _begun(self, ref: BlobRef) -> tuple[Holding, PartialBlob]:
        """What is here of a blob of which not all is."""
        held = self._shelf.in_use.get(ref)
        if held is not None and isinstance(held.blob, PartialBlob):
            return held, held.blob  # of a fetch that failed; it is being served
        try:
            blob = await run_sync(PartialBlob, self._shelf.files(ref))
        except BlobError:
            await self._shelf.remove_empty(ref)
            raise
        return Holding(blob), blob

    async def _run(
        self, ref: BlobRef, run: FetchRun, blob: PartialBlob, sources: Sequence[Source]
    ) -> None:
        shelf = self._shelf
        try:
            await run.run(sources)
            with anyio.CancelScope(shield=True):
                await run_sync(blob.finish)
            shelf.fetched(ref)
        except BlobError:
            if ref not in shelf.whole:  # Or it was shared here meanwhile.
                raise
        finally:
            if ref in shelf.being_fetched:
                with anyio.CancelScope(shield=True):
                    await self._give_up(ref, blob)

    async def _give_up(self, ref: BlobRef, blob: PartialBlob) -> None:
        """Not all of the blob has come."""
        self._shelf.given_up(ref)
        if ref in self._shelf.whole:
            with suppress(BlobError):
                await run_sync(blob.abandon)

    async def serve(self, channel: ByteChannel, peer: bytes = b"") -> int:
        """Answer one incoming channel until it ends, and close it: the number of chunks sent.

        Raises TransferError when the fetcher does not keep to the protocol, BlobError when this
        disk fails; both after closing the channel.
        """
        return await self._uses.serve(channel, peer)
