"""Whom to remove: the suspicion matrix of one view.

Row r holds what member r told: the ranks it does not hear, those that are heard and make no
progress, those with which it does not agree on what passed between them, and those it agrees to
remove. A link counts as cut if either end says one of the first three of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consensus.core.config import STRUCK_MAX
from consensus.core.numbers import Mask, Rank
from consensus.core.types import Strikes
from consensus.core.view import View, ranks


def smallest_removal(cuts: list[int], view: View, strikes: Sequence[int] = ()) -> int | None:
    """The mask of the smallest set whose removal leaves a fully connected quorum.

    `cuts[r]` is the (symmetric) mask of ranks with no link to r. Among sets of one size it is the
    one whose members have most `strikes` (by rank, S4), then the one that spares the most senior
    member, then the next, and so on. None if there is no such
    set: then the matrix asks for nothing (R17). One end of every cut link has to go, so this is a
    vertex cover: whoever has most cut links goes, or all those it is cut off from do. As at most
    half of 16 members may go, at most 2**8 sets are looked at, and far fewer as a rule.
    """
    size = len(view.members)
    full = view.full
    best: tuple[int, int, tuple[int, ...], int] | None = None
    most = size // 2

    def branch(removed: int) -> None:
        nonlocal best, most
        if removed.bit_count() > most:
            return
        busiest, links, most_links = 0, 0, 0
        for rank in range(size):
            if not removed >> rank & 1:
                cut = cuts[rank] & ~removed
                if cut.bit_count() > most_links:
                    busiest, links, most_links = rank, cut, cut.bit_count()
        if links:
            branch(removed | 1 << busiest)
            branch(removed | links)
        elif view.is_quorum(full & ~removed):
            who = tuple(ranks(removed))
            struck = sum(strikes[rank] for rank in who) if strikes else 0
            found = (-removed.bit_count(), struck, who, removed)
            if best is None or found > best:
                best = found
                most = removed.bit_count()

    branch(0)
    return None if best is None else best[3]


def strikes_by_rank(strikes: Strikes, view: View) -> tuple[int, ...]:
    """How many strikes each member of a view has; nothing if nobody has any."""
    if not strikes:
        return ()
    by_key = dict(strikes)
    return tuple(by_key.get(member[0], 0) for member in view.members)


def struck_more(strikes: Strikes, struck: Mask, view: View) -> Strikes:
    """One more for each of these; the keys that had none for longest go when there are too many."""
    by_key = dict(strikes)
    for rank in ranks(struck):
        key = view.members[rank][0]
        by_key[key] = by_key.pop(key, 0) + 1
    return tuple(by_key.items())[-STRUCK_MAX:]


class Matrix:
    """Who does not hear whom, or gets no further with it, and who agrees to which removal."""

    __slots__ = ("agreed", "disputed", "down", "stalled", "strikes", "told")

    def __init__(self, size: int, strikes: tuple[int, ...] = ()) -> None:
        self.down: list[Mask] = [0] * size
        self.agreed: list[Mask] = [0] * size
        self.stalled: list[Mask] = [0] * size
        """Whom each member hears, but who makes no progress by its own fault (S2)."""
        self.disputed: list[Mask] = [0] * size
        """With whom each member does not agree on what passed between the two (S3)."""
        self.strikes = strikes
        """By rank, or nothing."""
        self.told: tuple[Mask, ...] = (0, 0, 0, 0)
        """The row last sent."""

    def row(self, rank: Rank) -> tuple[Mask, Mask, Mask, Mask]:
        """What a member says: the fields of SUSPECT."""
        return self.down[rank], self.agreed[rank], self.stalled[rank], self.disputed[rank]

    def set_row(self, rank: Rank, down: Mask, agreed: Mask, stalled: Mask, disputed: Mask) -> None:
        """A member has said so."""
        self.down[rank], self.agreed[rank] = down, agreed
        self.stalled[rank], self.disputed[rank] = stalled, disputed

    def cuts(self) -> list[int]:
        """Of each rank the mask of those it has no good link with, by what either end says."""
        size = len(self.down)
        said = [self.down[r] | self.stalled[r] | self.disputed[r] for r in range(size)]
        return [said[r] | sum(1 << q for q in range(size) if said[q] >> r & 1) for r in range(size)]

    def wanted(self, view: View) -> Mask | None:
        """The removal that the matrix asks for; None if there is none that leaves a quorum."""
        cuts = self.cuts()
        return smallest_removal(cuts, view, self.strikes) if any(cuts) else 0

    def _against(self, view: View, rows: Sequence[Mask]) -> Mask:
        """Those against whom the rows of a quorum are, the target's own left out."""
        mask = 0
        for target in range(len(rows)):
            against = sum(1 << r for r, row in enumerate(rows) if r != target and row >> target & 1)
            if against and view.is_quorum(against):
                mask |= 1 << target
        return mask

    def removed(self, view: View) -> Mask:
        """The mask of those a quorum of the view, the target left out, suspects or agrees to
        remove (R12), as far as the matrix asks for their removal (D15): so who stays contains a
        fully connected quorum, and where there is none nobody is removed (R17). A dispute is no
        suspicion: it is one of two who is wrong (S3)."""
        rows = [self.down[r] | self.agreed[r] | self.stalled[r] for r in range(len(self.down))]
        mask = self._against(view, rows) if any(rows) else 0
        return mask & (self.wanted(view) or 0) if mask else 0

    def struck(self, view: View) -> Mask:
        """Those who stay, but were at the other end of what costs somebody its place whom no quorum
        suspects by itself (S4)."""
        removed = self.removed(view)
        suspects = [down | stalled for down, stalled in zip(self.down, self.stalled, strict=True)]
        of_a_link = removed & ~self._against(view, suspects)
        cuts = self.cuts() if of_a_link else []
        struck = 0
        for rank in ranks(of_a_link):
            struck |= cuts[rank]
        return struck & ~removed

    def stalled_most(self) -> Mask:
        """Those of whom more say that they make no progress than that they are not heard."""
        mask = 0
        for rank in range(len(self.down)):
            stalled = sum(row >> rank & 1 for row in self.stalled)
            if stalled > sum(row >> rank & 1 for row in self.down):
                mask |= 1 << rank
        return mask

    def fork(self) -> Matrix:
        twin: Matrix = object.__new__(Matrix)
        twin.down, twin.agreed = list(self.down), list(self.agreed)
        twin.stalled, twin.disputed = list(self.stalled), list(self.disputed)
        twin.strikes, twin.told = self.strikes, self.told
        return twin

    def state(self) -> tuple[Any, ...]:
        rows = self.down, self.agreed, self.stalled, self.disputed
        return *map(tuple, rows), self.strikes, self.told
