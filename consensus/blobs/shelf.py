"""Which blobs lie in a store's directory, how much room they take, and what makes room."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from consensus.blobs.disk import Files, claims_nothing, read_ref
from consensus.blobs.errors import BlobError, BlobLimit, disk_error
from consensus.blobs.serve import Holding
from consensus.core.blob.tree import BlobRef


class Shelf:
    """The blobs of one directory.

    What counts against the limit: whole copies; incomplete blobs at their full size, from when
    their claim to it has been verified; and what was reserved for files being taken in.
    """

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self.whole: set[BlobRef] = set()
        self.partial: set[BlobRef] = set()
        self.linked: set[BlobRef] = set()
        """Of those that are whole: the ones shared in place, which take no room."""
        self.pinned: set[BlobRef] = set()
        self.in_use: dict[BlobRef, Holding] = {}
        """Those that are open."""
        self.being_fetched: set[BlobRef] = set()
        self._claimed: set[BlobRef] = set()
        """Incomplete blobs that count."""
        self._held: Counter[BlobRef] = Counter()
        self._reserved: dict[object, int] = {}
        self._changing: dict[BlobRef, anyio.Event] = {}
        """Blobs whose files are being put in their place or removed."""

    def files(self, ref: BlobRef) -> Files:
        """The names of a blob's files."""
        return Files(self.directory, ref)

    def scan(self) -> None:
        """See what is there, and clear away what a killed process left half done. Raises
        OSError."""
        for pattern in ("import-*", "*-new"):
            for path in self.directory.glob(pattern):
                path.unlink()
        for path in self.directory.glob("*.tree"):
            ref = read_ref(path)
            if ref is None:
                continue
            files = self.files(ref)
            blob = files["blob"]
            if files["link"].exists():
                self.whole.add(ref)
                self.linked.add(ref)
            elif blob.exists() and blob.stat().st_size == ref.size:
                files["have"].unlink(missing_ok=True)
                self.whole.add(ref)
            elif blob.exists() or files["pin"].exists() or not claims_nothing(files):
                self.partial.add(ref)
                self._claimed.add(ref)
            else:
                files.remove()  # Somebody named it, and nothing of it ever came.
                continue
            if files["pin"].exists():
                self.pinned.add(ref)

    # what stays

    @contextmanager
    def held(self, refs: Iterable[BlobRef]) -> Iterator[None]:
        """What is here of these blobs, or comes, does not make room for others meanwhile."""
        held = Counter(set(refs))
        self._held += held
        try:
            yield
        finally:
            self._held -= held

    def check_fits(self, refs: Iterable[BlobRef]) -> None:
        """Raise BlobLimit if these cannot be here together."""
        distinct = set(refs) - self.linked
        size = sum(ref.size for ref in distinct)
        if size > self.limit_bytes:
            what = str(*distinct) if len(distinct) == 1 else f"the {len(distinct)} blobs together"
            raise BlobLimit(
                f"{what} has {size} bytes and the store's limit is {self.limit_bytes}: raise it"
            )

    # room

    @property
    def used_bytes(self) -> int:
        """Bytes that count against the limit."""
        copies = (self.whole - self.linked) | self._claimed
        return sum(ref.size for ref in copies) + sum(self._reserved.values())

    async def claim(self, ref: BlobRef) -> None:
        """An incomplete blob is what it says: have room for all of it. Raises BlobLimit."""
        if ref not in self._claimed:
            await self._make_room(ref.size, str(ref))
            self._claimed.add(ref)

    async def reserve(self, whom: object, size: int, what: str) -> None:
        """Have room for `size` bytes, with what `whom` has reserved before. Raises BlobLimit."""
        await self._make_room(size - self._reserved.get(whom, 0), what)
        self._reserved[whom] = size

    def release(self, whom: object) -> None:
        """What was reserved is not needed any more."""
        self._reserved.pop(whom, None)

    async def _make_room(self, size: int, what: str) -> None:
        """Remove what was not used for longest until `size` more bytes are within the limit. The
        caller takes them before it awaits anything."""
        if size > self.limit_bytes:
            raise BlobLimit(
                f"{what} has {size} bytes and the store's limit is {self.limit_bytes}: raise it"
            )
        while self.used_bytes + size > self.limit_bytes:
            spare = self._spare()
            if not spare:
                raise BlobLimit(
                    f"no room for {what} within the store's limit of {self.limit_bytes} bytes:"
                    " the rest is pinned or in use"
                )
            victim = await run_sync(self._oldest, spare)
            if victim in self._spare():  # It may have come into use meanwhile.
                await self.remove(victim)

    def _spare(self) -> set[BlobRef]:
        copies = (self.whole - self.linked) | self._claimed
        used = self.in_use.keys() | self._held.keys() | self._changing.keys()
        return copies - self.pinned - self.being_fetched - used

    def _oldest(self, refs: set[BlobRef]) -> BlobRef:
        def used_at(ref: BlobRef) -> tuple[int, BlobRef]:
            try:
                return self.files(ref)["tree"].stat().st_mtime_ns, ref
            except OSError:
                return 0, ref

        return min(refs, key=used_at)

    # what comes and goes

    def came(self, ref: BlobRef, *, linked: bool) -> None:
        """All of it is here."""
        self.partial.discard(ref)
        self.whole.add(ref)
        (self.linked.add if linked else self.linked.discard)(ref)
        if ref not in self.being_fetched:
            self._claimed.discard(ref)

    def fetched(self, ref: BlobRef) -> None:
        """All of it has been fetched."""
        self.being_fetched.discard(ref)
        self.came(ref, linked=False)

    def given_up(self, ref: BlobRef) -> None:
        """No fetch is at it any more."""
        self.being_fetched.discard(ref)
        if ref in self.whole:
            self._claimed.discard(ref)

    def damaged(self, ref: BlobRef) -> None:
        """It is not what it was; what there is of it stays."""
        if ref in self.whole:
            self.whole.discard(ref)
            self.partial.add(ref)
            if ref not in self.linked:
                self._claimed.add(ref)
            self.linked.discard(ref)

    async def remove(self, ref: BlobRef) -> None:
        """Forget a blob and remove its files. Raises BlobError."""
        for known in (self.whole, self.partial, self.linked, self.pinned, self._claimed):
            known.discard(ref)
        async with self.changing(ref):
            try:
                with anyio.CancelScope(shield=True):
                    await run_sync(self.files(ref).remove)
            except OSError as error:
                raise disk_error(error, f"{ref}") from error

    async def remove_empty(self, ref: BlobRef) -> None:
        """Remove what there is of an incomplete blob of which no chunk is here."""
        files = self.files(ref)
        with suppress(OSError, BlobError), anyio.CancelScope(shield=True):
            if not files["blob"].exists() and await run_sync(claims_nothing, files):
                await self.remove(ref)

    def check_removable(self, ref: BlobRef) -> None:
        """Raise BlobError while somebody needs the blob."""
        if ref in self.in_use or ref in self._held:
            raise BlobError(f"{ref} is in use")

    @asynccontextmanager
    async def changing(self, ref: BlobRef) -> AsyncIterator[None]:
        """Nobody else moves the blob's files meanwhile, or begins to fetch it."""
        await self.settled(ref)
        over = self._changing[ref] = anyio.Event()
        try:
            yield
        finally:
            del self._changing[ref]
            over.set()

    async def settled(self, ref: BlobRef) -> None:
        """Until the blob's files are where they belong."""
        while ref in self._changing:
            await self._changing[ref].wait()
