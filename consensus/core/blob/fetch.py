"""Fetching one blob from several holders at once.

Pure: the shell gives each source's channel a number (`add_source`), feeds what arrives
(`receive_data`), sends what `poll_writes` returns and does what `poll` says; a `StoreChunk` is
answered with `chunk_stored` once the chunk is on the disk. Nothing is handed out unverified.

Which chunk next: of those a source holds and nobody has been asked for, the ones that fewest are
known to hold or to be getting, at random among equals. Holders tell each fetcher what they are
giving to others (GIVEN), so that members that fetch the same blob ask its origin for different
chunks and get the rest from each other: the origin uploads the blob about once.

Who is dropped: a source that sends a piece that does not verify or was not asked for, at once; one
that finishes no piece for `piece_timeout_s` while asked for some. What it was asked for is asked of
others. When nothing is left to ask for, pieces that have been under way for `double_after_s` are
asked of a second source, so that one slow source does not hold up the end.

When it fails: its sources are spent, nobody offers what is missing, or for `stalled_s` no piece has
come although some were promised.
"""

from collections import deque
from collections.abc import Callable

from consensus.core.blob import wire
from consensus.core.blob.fetch_events import (
    Drop,
    Failed,
    FetchConfig,
    FetchOutput,
    Finished,
    Progress,
    SourceDropped,
    StoreChunk,
    StorePage,
    StoreRoot,
)
from consensus.core.blob.pieces import ROOT, Pieces, Source
from consensus.core.blob.tree import BlobRef, Tree
from consensus.core.blob.wire import ROOT_PAGE, TransferError

SOURCES_MAX = 31
"""Channels of one fetch at a time: each member of a full group twice over."""


class Fetch:
    """One blob being fetched.

    `held` is the mask of the chunks already stored and verified, `tree` what is known of its
    hashes, from an earlier attempt.
    """

    def __init__(
        self,
        ref: BlobRef,
        random: Callable[[int], bytes],
        now: float,
        *,
        tree: Tree | None = None,
        held: int = 0,
        config: FetchConfig | None = None,
    ) -> None:
        self.ref = ref
        self.tree = tree or Tree(ref)
        self.done = False
        self.received_size = 0
        """Bytes of chunks that came, verified or not, doubled ones included."""
        self._config = config or FetchConfig()
        self._pieces = Pieces(ref, self.tree, held, random, self._config.double_after_s)
        self._bytes = sum(ref.chunk_length(index) for index in wire.bits(held))
        self._sources: dict[int, Source] = {}
        self._next_number = 0
        self._more_sources = True
        self._opening = True
        self._given = 0
        self._idle_since = now
        self._piece_at = now
        """When the last piece came that verified."""
        self._outputs: deque[FetchOutput] = deque()
        self._check_finished()

    @property
    def held(self) -> int:
        """The mask of the chunks that are stored and verified."""
        return self._pieces.held

    # what the shell does

    def add_source(self, now: float) -> int:
        """A channel to a possible holder was opened: its number. Raises TransferError at 31."""
        if len(self._sources) >= SOURCES_MAX:
            raise TransferError(f"more than {SOURCES_MAX} sources at once")
        number = self._next_number
        self._next_number += 1
        source = self._sources[number] = Source(number, now, self._config.window_min)
        body = bytes((wire.VERSION,)) + self.ref.encode()
        source.writes.append(wire.frame(wire.OPEN, body))
        self._idle_since = now
        return number

    def opening(self, under_way: bool, now: float) -> None:
        """Whether sources are being opened that have not said yet what they hold."""
        self._opening = under_way
        self._check_starved(now)

    def no_more_sources(self, now: float) -> None:
        """There will be no other sources: failing is allowed when these are spent."""
        self._more_sources = False
        self._check_starved(now)

    def receive_data(self, source: int, data: bytes, now: float) -> None:
        """Bytes from a source's channel; what is wrong with them costs only the source (BT3)."""
        origin = self._sources.get(source)
        if origin is None or self.done:
            return
        told: dict[int, list[bytes]] = {wire.HAVE: [], wire.GIVEN: []}
        try:
            for kind, body in origin.reader.frames_untrusted(data):
                if kind in told:
                    if origin.have is None:
                        raise TransferError("announced chunks before it said what it holds")
                    told[kind].append(body)
                else:
                    self._take_untrusted(origin, kind, body, now)
                if source not in self._sources:
                    break
            else:
                self._take_told_untrusted(origin, told, now)
        except TransferError as error:
            self._drop(origin, Drop.BROKE_PROTOCOL, str(error), now)
        self._ask(now)

    def source_closed(self, source: int, now: float) -> None:
        """A source's channel has ended."""
        origin = self._sources.get(source)
        if origin is not None:
            self._drop(origin, Drop.GONE, "", now)
            self._ask(now)

    def chunk_stored(self, index: int, now: float) -> None:
        """A chunk is on the disk."""
        if not self._pieces.stored(index):
            return
        self._bytes += self.ref.chunk_length(index)
        self._idle_since = self._piece_at = now
        held = self.held.bit_count()
        self._outputs.append(Progress(held, self.ref.chunks, self._bytes, self.ref.size))
        self._check_finished()

    def chunk_lost(self, index: int, now: float) -> None:
        """A chunk that was on the disk is not there any more: get it again."""
        if not self.done and self._pieces.lost(index):
            self._bytes -= self.ref.chunk_length(index)
            self._idle_since = now
            self._ask(now)

    # the four verbs' other three

    def handle_timeout(self, now: float) -> None:
        """Drop who is late, ask again for what is late."""
        limit = self._config.piece_timeout_s
        for source in list(self._sources.values()):
            if source.asked and now >= source.progress_at + limit:
                self._drop(source, Drop.SLOW, f"no piece within {limit:g} s", now)
        self._ask(now)
        self._check_starved(now)
        stalled = now >= self._piece_at + self._config.stalled_s
        if stalled and not self.done and not self._pieces.storing:
            self._fail(f"nothing has come for {self._config.stalled_s:g} s")

    def next_timeout(self) -> float | None:
        """When `handle_timeout` has something to do."""
        if self.done:
            return None
        times = [
            source.progress_at + self._config.piece_timeout_s
            for source in self._sources.values()
            if source.asked
        ]
        double = self._pieces.next_double(self._sources.values())
        if double is not None:
            times.append(double)
        if not self._pieces.storing:
            times.append(self._piece_at + self._config.stalled_s)
            if not self._pieces.under_way:
                times.append(self._idle_since + self._patience_s())
        return min(times, default=None)

    def poll(self) -> FetchOutput | None:
        """The next thing to do; None when there is nothing."""
        return self._outputs.popleft() if self._outputs else None

    def poll_writes(self) -> list[tuple[int, bytes]]:
        """What is to be sent: source and bytes, a few bytes for each piece asked for."""
        found = []
        for source in self._sources.values():
            if source.writes:
                found.append((source.number, b"".join(source.writes)))
                source.writes.clear()
        return found

    # frames

    def _take_untrusted(self, source: Source, kind: int, body: bytes, now: float) -> None:
        if kind == wire.CHUNK:
            self._take_chunk_untrusted(source, body, now)
        elif kind == wire.NODES:
            self._take_nodes_untrusted(source, body, now)
        elif kind == wire.HOLDING:
            if source.have is not None:
                raise TransferError("said twice what it holds")
            source.have = wire.bitmap_untrusted(body, self.ref.chunks)
            self._pieces.rarity.add(source.have)
            self._idle_since = now
        else:
            source.absent = True

    def _take_told_untrusted(
        self, source: Source, told: dict[int, list[bytes]], now: float
    ) -> None:
        """All of one kind at once: the cost is that of the blob's length, however short a frame."""
        if told[wire.HAVE]:
            have = source.have or 0
            fresh = wire.indexes_untrusted(told[wire.HAVE], self.ref.chunks) & ~have
            source.have = have | fresh
            self._pieces.rarity.add(fresh)
            if fresh & ~self.held:
                self._idle_since = now
        if told[wire.GIVEN]:
            fresh = wire.indexes_untrusted(told[wire.GIVEN], self.ref.chunks) & ~self._given
            self._given |= fresh
            self._pieces.rarity.add(fresh)

    def _take_nodes_untrusted(self, source: Source, body: bytes, now: float) -> None:
        page = wire.index_untrusted(body)
        hashes = body[4:]
        if page == ROOT_PAGE:
            self._answered(source, ROOT, now)
            if self.tree.page_hashes is not None:
                return
            if not self.tree.add_root_untrusted(hashes):
                self._drop(source, Drop.LYING, "the hashes of the pages", now)
                return
            self._pieces.obtained(ROOT)
            self._piece_at = now
            self._outputs.append(StoreRoot(hashes))
        else:
            self._answered(source, ROOT - 1 - page, now)
            if self.tree.has_page(page):
                return
            if not self.tree.add_page_untrusted(page, hashes):
                self._drop(source, Drop.LYING, f"the leaf hashes of page {page}", now)
                return
            self._pieces.obtained(ROOT - 1 - page)
            self._piece_at = now
            self._pieces.ask_for_page(page)
            self._outputs.append(StorePage(page, hashes, self.tree.complete))
        self._check_finished()

    def _take_chunk_untrusted(self, source: Source, body: bytes, now: float) -> None:
        index = wire.index_untrusted(body)
        data = memoryview(body)[4:]
        self._answered(source, index, now)
        self.received_size += len(data)
        if (self.held | self._pieces.storing) >> index & 1:
            return  # asked of two, and the other was faster
        if not self.tree.verify_chunk(index, data):
            self._drop(source, Drop.LYING, f"chunk {index}", now)
            return
        self._pieces.obtained(index)
        self._pieces.storing |= 1 << index
        self._outputs.append(StoreChunk(index, data))

    def _answered(self, source: Source, piece: int, now: float) -> None:
        if source.asked.pop(piece, None) is None:
            raise TransferError("sent a piece that was not asked for")
        self._pieces.release(piece)
        interval, source.progress_at = now - source.progress_at, now
        if piece < 0:
            return  # hashes come faster than chunks and say nothing about their pace
        smoothed = source.interval_s
        source.interval_s = interval if smoothed == 0.0 else smoothed + (interval - smoothed) / 8
        ahead = self._config.window_max
        if source.interval_s * ahead > self._config.pipeline_s:
            ahead = int(self._config.pipeline_s / source.interval_s) + 1
        source.window = max(self._config.window_min, min(source.window + 1, ahead))

    # asking

    def _ask(self, now: float) -> None:
        """Fill every source's window (BT2)."""
        if self.done:
            return
        for source in self._sources.values():
            while source.have is not None and len(source.asked) < source.window:
                piece = self._pieces.pick(source, len(self._sources) == 1, now)
                if piece is None:
                    break
                self._pieces.request(source, piece, now)

    # ending

    def _drop(self, source: Source, reason: Drop, detail: str, now: float) -> None:
        del self._sources[source.number]
        for piece in source.asked:
            self._pieces.release(piece)
        self._pieces.count_anew([self._given, *(s.have or 0 for s in self._sources.values())])
        self._idle_since = now
        self._outputs.append(SourceDropped(source.number, reason, detail))
        if not self._sources:
            self._check_starved(now)

    def _check_finished(self) -> None:
        if not self.done and self.tree.complete and self.held == self._pieces.all:
            self.done = True
            self._outputs.append(Finished())

    def _patience_s(self) -> float:
        """How long to wait from now on while nothing is under way."""
        if not self._sources:
            return self._config.starved_s if self._more_sources else 0.0
        absent = all(source.absent and source.have is None for source in self._sources.values())
        if absent and not (self._opening and self._more_sources):
            return self._config.absent_grace_s
        return self._config.starved_s

    def _check_starved(self, now: float) -> None:
        if self.done or self._pieces.under_way or self._pieces.storing:
            return
        if now < self._idle_since + self._patience_s():
            return
        if not self._sources:
            reason = "no source is left"
        elif all(source.have is None for source in self._sources.values()):
            reason = "no source holds any of it"
        else:
            missing = (self._pieces.all & ~self.held).bit_count()
            reason = f"no source holds the {missing} chunks that are missing"
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        self.done = True
        self._outputs.append(Failed(reason))
