"""Whom to remove: the suspicion matrix of one view.

Row r holds what member r told: the ranks it does not hear, and the ranks it agrees to remove. A
link counts as cut if either end does not hear the other.
"""

from __future__ import annotations

from typing import Any

from consensus.core.numbers import Mask
from consensus.core.view import View, ranks


def smallest_removal(cuts: list[int], view: View) -> int | None:
    """The mask of the smallest set whose removal leaves a fully connected quorum.

    `cuts[r]` is the (symmetric) mask of ranks with no link to r. Among sets of one size it is the
    one that spares the most senior member, then the next, and so on. None if there is no such
    set: then the matrix asks for nothing (R17). One end of every cut link has to go, so this is a
    vertex cover: whoever has most cut links goes, or all those it is cut off from do. As at most
    half of 16 members may go, at most 2**8 sets are looked at, and far fewer as a rule.
    """
    size = len(view.members)
    full = view.full
    best: tuple[int, tuple[int, ...], int] | None = None
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
            found = (-removed.bit_count(), tuple(ranks(removed)), removed)
            if best is None or found > best:
                best = found
                most = removed.bit_count()

    branch(0)
    return None if best is None else best[2]


class Matrix:
    """Who does not hear whom, and who agrees to which removal."""

    __slots__ = ("agreed", "down", "told")

    def __init__(self, size: int) -> None:
        self.down: list[Mask] = [0] * size
        self.agreed: list[Mask] = [0] * size
        self.told: tuple[Mask, Mask] = (0, 0)
        """The row last sent."""

    def cuts(self) -> list[int]:
        size = len(self.down)
        return [
            self.down[r] | sum(1 << q for q in range(size) if self.down[q] >> r & 1)
            for r in range(size)
        ]

    def removed(self, view: View) -> Mask:
        """The mask of those a quorum of the view, the target left out, suspects or agrees to
        remove (R12), as far as the matrix asks for their removal (D15): so who stays contains a
        fully connected quorum, and where there is none nobody is removed (R17)."""
        if not any(self.down) and not any(self.agreed):
            return 0
        mask = 0
        for target in range(len(self.down)):
            bit = 1 << target
            against = sum(
                1 << r
                for r in range(len(self.down))
                if r != target and (self.down[r] | self.agreed[r]) & bit
            )
            if against and view.is_quorum(against):
                mask |= bit
        return mask & (smallest_removal(self.cuts(), view) or 0) if mask else 0

    def fork(self) -> Matrix:
        twin = object.__new__(Matrix)
        twin.down = list(self.down)
        twin.agreed = list(self.agreed)
        twin.told = self.told
        return twin

    def state(self) -> tuple[Any, ...]:
        return tuple(self.down), tuple(self.agreed), self.told
