"""Quorum arithmetic on its own. Sets of members are masks: bit r stands for rank r."""

from __future__ import annotations

from enum import Enum


class Standing(Enum):
    """What a count of yes and no says about reaching a quorum of yes."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


def is_quorum(mask: int, size: int, casting_vote: bool) -> bool:
    """Whether the mask is a quorum of a view of `size` members.

    A strict majority is one. With the casting vote exactly half is one too if it contains the
    most senior member (rank 0). Two quorums always meet: two halves of an even view that both
    contain rank 0 meet in it, and anything larger than half meets every half.
    """
    twice = 2 * mask.bit_count()
    return twice > size or (casting_vote and twice == size and mask & 1 == 1)


def standing(yes: int, no: int, size: int, casting_vote: bool) -> Standing:
    """WON once the yes are a quorum; LOST once those who have not said no cannot become one."""
    if is_quorum(yes, size, casting_vote):
        return Standing.WON
    if not is_quorum((1 << size) - 1 & ~no, size, casting_vote):
        return Standing.LOST
    return Standing.PENDING
