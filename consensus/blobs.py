"""The blobs of a node: a content-addressed store on disk, and moving blobs between peers.

The store owns its directory. A fetch asks all its sources at once, verifies every chunk before it
is written, writes as it goes, and resumes where an earlier one ended, also one that was killed.
What is held of a blob is served while the rest is still being fetched. All disk work runs in
worker threads; memory is a few chunks for each channel and the hashes of the blobs in use.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.to_thread import run_sync

from consensus.blobdisk import Files, Import, PartialBlob, WholeBlob, export, read_ref
from consensus.bloberrors import (
    BlobDamaged,
    BlobDiskFull,
    BlobError,
    BlobLimit,
    BlobStoreBusy,
    BlobUnavailable,
    disk_error,
)
from consensus.blobfetch import DroppedSource, FetchRun, Source
from consensus.blobserve import CHANNEL_ERRORS, ByteChannel, Holding, Session
from consensus.core.blobtree import BlobRef
from consensus.core.transferevents import Drop, FetchConfig, Progress

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
SESSIONS_MAX = 64
"""Incoming channels served at a time; more are closed at once."""


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
        self._directory = directory
        self._limit_bytes = limit_bytes
        self._lock = lock
        self._whole: set[BlobRef] = set()
        self._partial: set[BlobRef] = set()
        self._linked: set[BlobRef] = set()
        self._pinned: set[BlobRef] = set()
        self._in_use: dict[BlobRef, Holding] = {}
        self._fetching: dict[BlobRef, anyio.Lock] = {}
        self._waiting: set[Session] = set()
        self._sessions = 0

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
            store._scan()
        except OSError as error:
            os.close(lock)
            raise disk_error(error, str(directory)) from error
        return store

    def _scan(self) -> None:
        """See what is there, and clear away what a killed process left half done."""
        for pattern in ("import-*", "*-new"):
            for path in self._directory.glob(pattern):
                path.unlink()
        for path in self._directory.glob("*.tree"):
            ref = read_ref(path)
            if ref is None:
                continue
            files = self._files(ref)
            blob = files["blob"]
            if files["link"].exists():
                self._whole.add(ref)
                self._linked.add(ref)
            elif blob.exists() and blob.stat().st_size == ref.size:
                files["have"].unlink(missing_ok=True)
                self._whole.add(ref)
            else:
                self._partial.add(ref)
            if files["pin"].exists():
                self._pinned.add(ref)

    def close(self) -> None:
        """Let the directory go. Fetches and sessions have ended by then."""
        for holding in self._in_use.values():
            holding.blob.close()
        self._in_use.clear()
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
        return ref in self._whole

    def refs(self) -> list[BlobRef]:
        """The blobs that are here."""
        return sorted(self._whole)

    @property
    def used_bytes(self) -> int:
        """Bytes that count against the limit: copies, and incomplete blobs at their full size."""
        return sum(ref.size for ref in (self._whole | self._partial) - self._linked)

    async def share(self, path: str | os.PathLike[str], *, copy: bool = True) -> BlobRef:
        """Take a file in and name it. Without `copy` it stays where it is and must not change.

        Raises BlobLimit, BlobDiskFull, BlobError.
        """
        taken = await run_sync(Import, self._directory, Path(path), copy)
        try:
            if copy:
                await self._make_room(taken.size, Path(path).name)
            while await run_sync(taken.step):
                pass
            ref, linked = await run_sync(taken.finish)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(taken.close)
        self._whole.add(ref)
        self._partial.discard(ref)
        (self._linked.add if linked else self._linked.discard)(ref)
        if any(session.ref == ref for session in self._waiting):
            self._offer(ref, await self._hold_whole(ref))
        return ref

    async def export(self, ref: BlobRef, to: str | os.PathLike[str]) -> None:
        """Copy a blob that is here to a file, whole or not at all, each chunk verified."""
        if ref not in self._whole:
            raise BlobUnavailable(f"{ref} is not here: fetch it first")
        try:
            await run_sync(export, self._files(ref), Path(to))
        except BlobDamaged:
            self._damaged(ref)
            raise

    async def pin(self, ref: BlobRef) -> None:
        """Keep the blob whatever else needs room."""
        if ref not in self._whole:
            raise BlobUnavailable(f"{ref} is not here: fetch it first")
        try:
            await run_sync(self._files(ref)["pin"].touch, 0o600)
        except OSError as error:
            raise disk_error(error, f"{ref}") from error
        self._pinned.add(ref)

    async def unpin(self, ref: BlobRef) -> None:
        """The blob may go when room is needed."""
        self._pinned.discard(ref)
        with suppress(FileNotFoundError):
            await run_sync(self._files(ref)["pin"].unlink)

    async def remove(self, ref: BlobRef) -> None:
        """Forget the blob, also what there is of an incomplete one; harmless if there is none.

        A file that was shared in place stays. Raises BlobError while the blob is in use.
        """
        if ref in self._in_use:
            raise BlobError(f"{ref} is in use")
        self._whole.discard(ref)
        self._partial.discard(ref)
        self._linked.discard(ref)
        self._pinned.discard(ref)
        await run_sync(self._files(ref).remove)

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
        turn = self._fetching.setdefault(ref, anyio.Lock())
        try:
            async with turn:
                report = FetchReport(ref, 0, ref.chunks, ())
                if ref not in self._whole:
                    report = await self._fetch(ref, sources, on_progress, on_drop, config)
                elif on_progress is not None:
                    on_progress(Progress(ref.chunks, ref.chunks, ref.size, ref.size))
        finally:
            if not turn.statistics().locked and not turn.statistics().tasks_waiting:
                self._fetching.pop(ref, None)
        await run_sync(self._files(ref).touch)
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
        if ref not in self._partial:
            await self._make_room(ref.size, str(ref))
            self._partial.add(ref)
        held = self._in_use.get(ref)
        if held is not None and isinstance(held.blob, PartialBlob):
            blob = held.blob  # of a fetch that failed; it is being served
        else:
            blob = await run_sync(PartialBlob, self._files(ref))
            held = Holding(blob)
        resumed = blob.mask.bit_count()
        async with self._using(ref, held) as holding:
            run = FetchRun(
                holding,
                blob,
                config,
                on_progress,
                lambda: self._offer(ref, holding),
                on_drop,
            )
            await run.run(sources)
            with anyio.CancelScope(shield=True):
                await run_sync(blob.finish)
            self._partial.discard(ref)
            self._whole.add(ref)
        return FetchReport(ref, run.core.received_size, resumed, tuple(run.dropped))

    async def serve(self, channel: ByteChannel) -> int:
        """Answer one incoming channel until it ends, and close it: the number of chunks sent.

        Raises TransferError when the fetcher does not keep to the protocol, BlobError when this
        disk fails; both after closing the channel.
        """
        session = Session(channel)
        self._sessions += 1
        try:
            if self._sessions <= SESSIONS_MAX:
                await session.run(self._opened)
        except BlobDamaged:
            if session.ref is not None:
                self._damaged(session.ref)
            raise
        finally:
            self._sessions -= 1
            self._waiting.discard(session)
            if session.holding is not None and session.ref is not None:
                session.holding.sessions.discard(session)
                self._release(session.ref, session.holding)
            with anyio.move_on_after(1.0, shield=True), suppress(*CHANNEL_ERRORS):
                await channel.aclose()
        return session.chunks_sent

    async def _opened(self, session: Session) -> None:
        """A fetcher has named a blob: offer it, or keep the fetcher until it comes."""
        ref = session.ref
        if ref is None:
            return
        holding = self._in_use.get(ref)
        if holding is None and ref in self._whole:
            holding = await self._hold_whole(ref)
        if holding is not None and holding.tree.complete:
            holding.users += 1
            session.attach(holding)
        else:
            self._waiting.add(session)

    async def _hold_whole(self, ref: BlobRef) -> Holding:
        """A whole blob, open; the caller uses it before it awaits anything."""
        opened = await run_sync(self._open_whole, ref)
        holding = self._in_use.setdefault(ref, opened)
        if holding is not opened:
            opened.blob.close()
        return holding

    def _open_whole(self, ref: BlobRef) -> Holding:
        files = self._files(ref)
        holding = Holding(WholeBlob(files))
        files.touch()
        return holding

    def _damaged(self, ref: BlobRef) -> None:
        """A blob is not what it was: another fetch verifies what there is and gets the rest."""
        if ref in self._whole:
            self._whole.discard(ref)
            self._linked.discard(ref)
            self._partial.add(ref)

    def _offer(self, ref: BlobRef, holding: Holding) -> None:
        """The tree of a blob being fetched is complete: whoever waits for it is served."""
        for session in [each for each in self._waiting if each.ref == ref]:
            self._waiting.discard(session)
            holding.users += 1
            session.attach(holding)

    @asynccontextmanager
    async def _using(self, ref: BlobRef, holding: Holding) -> AsyncIterator[Holding]:
        self._in_use[ref] = holding
        holding.users += 1
        try:
            yield holding
        finally:
            self._release(ref, holding)

    def _release(self, ref: BlobRef, holding: Holding) -> None:
        holding.users -= 1
        if holding.users == 0:
            if self._in_use.get(ref) is holding:
                del self._in_use[ref]
            holding.blob.close()

    async def _make_room(self, size: int, what: str) -> None:
        """Remove what was not used for longest until `size` more bytes are within the limit."""
        if size > self._limit_bytes:
            raise BlobLimit(
                f"{what} has {size} bytes and the store's limit is {self._limit_bytes}: raise it"
            )
        while self.used_bytes + size > self._limit_bytes:
            victim = await run_sync(self._oldest)
            if victim is None:
                raise BlobLimit(
                    f"no room for {what} within the store's limit of {self._limit_bytes} bytes:"
                    " the rest is pinned or in use"
                )
            await self.remove(victim)

    def _oldest(self) -> BlobRef | None:
        spare = (self._whole | self._partial) - self._linked - self._pinned - self._in_use.keys()
        aged = []
        for ref in spare:
            with suppress(OSError):
                aged.append((self._files(ref)["tree"].stat().st_mtime_ns, ref))
        return min(aged)[1] if aged else None

    def _files(self, ref: BlobRef) -> Files:
        return Files(self._directory, ref)
