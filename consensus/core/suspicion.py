"""Whom to remove: the suspicion matrix of one view.

Row r holds what member r told: the ranks it does not hear, and the ranks it agrees to remove. A
link counts as cut if either end does not hear the other.
"""

from __future__ import annotations

from typing import Any

from .view import View, ranks


def smallest_removal(cuts: list[int], view: View) -> int | None:
    """The mask of the smallest set whose removal leaves a fully connected quorum.

    `cuts[r]` is the (symmetric) mask of ranks with no link to r. Among sets of one size it is the
    one that spares the most senior member, then the next, and so on. None if there is no such
    set: then nobody can be removed by silence. One end of every cut link has to go, so this is a
    vertex cover; as at most half of 16 members may go, at most 2**8 branches are looked at.
    """
    size = len(view.members)
    best: tuple[int, tuple[int, ...], int] | None = None

    def branch(removed: int) -> None:
        nonlocal best
        if not view.is_quorum(view.full & ~removed):
            return
        if best is not None and removed.bit_count() > -best[0]:
            return
        for rank in range(size):
            if removed >> rank & 1:
                continue
            cut = cuts[rank] & ~removed
            if cut:
                branch(removed | 1 << cut.bit_length() - 1)
                branch(removed | 1 << rank)
                return
        found = (-removed.bit_count(), tuple(ranks(removed)), removed)
        if best is None or found > best:
            best = found

    branch(0)
    return None if best is None else best[2]


class Matrix:
    """Who does not hear whom, and who agrees to which removal."""

    __slots__ = ("agreed", "down", "told")

    def __init__(self, size: int) -> None:
        self.down = [0] * size
        self.agreed = [0] * size
        self.told: tuple[int, int] = (0, 0)
        """The row last sent."""

    def cuts(self) -> list[int]:
        size = len(self.down)
        return [
            self.down[r] | sum(1 << q for q in range(size) if self.down[q] >> r & 1)
            for r in range(size)
        ]

    def removed(self, view: View) -> int:
        """The mask of those a quorum of the view, the target left out, suspects or agrees to
        remove (rule 12)."""
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
        return mask

    def fork(self) -> Matrix:
        twin = object.__new__(Matrix)
        twin.down = list(self.down)
        twin.agreed = list(self.agreed)
        twin.told = self.told
        return twin

    def state(self) -> tuple[Any, ...]:
        return tuple(self.down), tuple(self.agreed), self.told
