"""The pieces of a blob that is being fetched: which are here, who was asked for which, which next.

A piece is a chunk, by its index, or hashes of the tree: ROOT, or `ROOT - 1 - page`.
"""

from collections.abc import Callable, Iterable

from consensus.core.blob import wire
from consensus.core.blob.rarity import Rarity
from consensus.core.blob.tree import PAGE_LEAVES, BlobRef, Tree
from consensus.core.blob.wire import ROOT_PAGE

ROOT = -1


class Source:
    """What is known of one source."""

    __slots__ = (
        "absent", "asked", "have", "interval_s", "number", "progress_at", "reader", "window",
        "writes",
    )  # fmt: skip

    def __init__(self, number: int, now: float, window: int) -> None:
        self.number = number
        self.reader = wire.FrameReader(wire.TO_FETCHER)
        self.writes: list[bytes] = []
        self.have: int | None = None  # None until it says what it holds
        self.absent = False
        self.asked: dict[int, float] = {}  # piece to the time it was asked for
        self.progress_at = now
        self.interval_s = 0.0  # between pieces, smoothed; 0 before the second
        self.window = window

    def holds(self, piece: int) -> bool:
        """Whether it could be asked for the piece."""
        return self.have is not None and (piece < 0 or bool(self.have >> piece & 1))


class Pieces:
    """Those of one fetch."""

    def __init__(
        self,
        ref: BlobRef,
        tree: Tree,
        held: int,
        random: Callable[[int], bytes],
        double_after_s: float,
    ) -> None:
        self.held = held
        """Chunks that are on the disk, as a mask."""
        self.storing = 0
        """Chunks that are on their way there."""
        self.all = (1 << ref.chunks) - 1
        self.rarity = Rarity()
        self.under_way: dict[int, tuple[int, float]] = {}
        """Piece to the number of sources asked for it and the time of asking, the oldest first."""
        self._asked_chunks = 0  # the same as a mask, for chunks
        self._askable = 0  # chunks whose page is here
        self._ref = ref
        self._tree = tree
        self._random = random
        self._double_after_s = double_after_s
        for page in range(ref.pages):
            if tree.has_page(page):
                self.ask_for_page(page)

    def ask_for_page(self, page: int) -> None:
        """The page's hashes are here: its chunks can be verified."""
        self._askable |= (((1 << PAGE_LEAVES) - 1) << page * PAGE_LEAVES) & self.all

    def stored(self, index: int) -> bool:
        """The chunk is on the disk. False if it was not on its way there."""
        if not self.storing & (bit := 1 << index):
            return False
        self.storing ^= bit
        self.held |= bit
        return True

    def lost(self, index: int) -> bool:
        """The chunk is not on the disk any more. False if it was not held."""
        if not self.held & (bit := 1 << index):
            return False
        self.held ^= bit
        return True

    def count_anew(self, masks: Iterable[int]) -> None:
        """How many hold each chunk, or are getting it, from these alone."""
        self.rarity = Rarity()
        for mask in masks:
            self.rarity.add(mask)

    # asking

    def pick(self, source: Source, alone: bool, now: float) -> int | None:
        """The piece to ask `source` for next; hashes before chunks (BT2, BT4, BT5).
        `alone`: there is no other."""
        if self._tree.page_hashes is None:
            if ROOT not in self.under_way:
                return ROOT
        elif not self._tree.complete:
            for page in range(self._ref.pages):
                if not self._tree.has_page(page) and ROOT - 1 - page not in self.under_way:
                    return ROOT - 1 - page
        wanted = self._wanted() & (source.have or 0)
        if wanted:
            return self._choose(wanted, alone)
        if not self._wanted():
            for piece, (count, asked_at) in self.under_way.items():
                if now < asked_at + self._double_after_s:
                    break
                if count == 1 and piece not in source.asked and source.holds(piece):
                    return piece
        return None

    def _choose(self, wanted: int, alone: bool) -> int:
        if alone:
            return (wanted & -wanted).bit_length() - 1  # in order, as the disk likes it
        wanted = self.rarity.rarest(wanted)
        start = int.from_bytes(self._random(4), "big") % wanted.bit_length()
        tail = wanted >> start << start
        return (tail & -tail).bit_length() - 1

    def _wanted(self) -> int:
        """Chunks nobody has been asked for."""
        return self._askable & ~(self.held | self.storing | self._asked_chunks)

    def request(self, source: Source, piece: int, now: float) -> None:
        """Ask this source for the piece."""
        if not source.asked:
            source.progress_at = now
        source.asked[piece] = now
        count, asked_at = self.under_way.get(piece, (0, now))
        self.under_way[piece] = (count + 1, asked_at)
        if piece >= 0:
            self._asked_chunks |= 1 << piece
            source.writes.append(wire.indexed(wire.WANT_CHUNK, piece))
        else:
            page = ROOT_PAGE if piece == ROOT else ROOT - 1 - piece
            source.writes.append(wire.indexed(wire.WANT_NODES, page))

    def release(self, piece: int) -> None:
        """One source fewer is asked for the piece."""
        count, asked_at = self.under_way.get(piece, (0, 0.0))
        if count > 1:
            self.under_way[piece] = (count - 1, asked_at)
        elif count == 1:
            self.obtained(piece)

    def obtained(self, piece: int) -> None:
        """The piece is not under way any more, whoever was asked for it besides."""
        self.under_way.pop(piece, None)
        if piece >= 0:
            self._asked_chunks &= ~(1 << piece)

    def next_double(self, sources: Iterable[Source]) -> float | None:
        """When the oldest piece that another source could be asked for may be asked for again."""
        if self._wanted():
            return None
        idle = [s for s in sources if len(s.asked) < s.window]
        for piece, (count, asked_at) in self.under_way.items():
            if count == 1 and any(s.holds(piece) and piece not in s.asked for s in idle):
                return asked_at + self._double_after_s
        return None
