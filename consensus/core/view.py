"""A numbered membership."""

from __future__ import annotations

from typing import NamedTuple

from consensus.core.numbers import Mask, ViewNumber
from consensus.core.quorum import is_quorum
from consensus.core.types import Member

VIEW_SIZE_MAX = 16
"""A rank fits four bits; everyone talks to everyone, so larger groups would not pay."""


class View(NamedTuple):
    """The members of one view by seniority: the position is the rank, 0 is the most senior."""

    number: ViewNumber
    members: tuple[Member, ...]
    casting_vote: bool = True

    @property
    def full(self) -> Mask:
        """The mask of all ranks."""
        return (1 << len(self.members)) - 1

    def is_quorum(self, mask: Mask) -> bool:
        return is_quorum(mask, len(self.members), self.casting_vote)

    def mask(self, members: frozenset[Member] | tuple[Member, ...]) -> Mask:
        """The ranks of those of `members` that are in this view."""
        found = set(members)
        return sum(1 << rank for rank, member in enumerate(self.members) if member in found)

    def following(self, kept: Mask, joiner: Member | None) -> View:
        """The next view: those kept, in their order, then the joiner."""
        members = tuple(m for rank, m in enumerate(self.members) if kept >> rank & 1)
        if joiner is not None:
            members += (joiner,)
        return View(self.number + 1, members, self.casting_vote)


def ranks(mask: int) -> list[int]:
    """The ranks in a mask, most senior first."""
    return [rank for rank in range(mask.bit_length()) if mask >> rank & 1]
