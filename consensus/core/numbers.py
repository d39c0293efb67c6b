"""What the engine's numbers count, told apart by the type checker.

A key, a clock, an index, the number of a view and that of a ballot are all whole numbers, and each
message carries several of them. To mypy each is a kind of its own, so that one cannot stand where
another is wanted; when the program runs they are `int`, so that it costs nothing. They are not
`NewType`s because arithmetic must keep the kind: a clock and a rank make a key without a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

RANK_BITS = 4
"""A proposal's key within its view is `clock << RANK_BITS | rank`: unique, and ordered as the
decisions are, by clock, then by the proposer's seniority. A ballot of a synod has its coordinator's
rank in the same place."""
RANK_MASK = (1 << RANK_BITS) - 1

Rank: TypeAlias = int
"""A member's place in its view, 0 for the most senior. It numbers the places of lists."""
Mask: TypeAlias = int
"""A set of ranks: bit `rank` is 1 if the rank is in it."""

if TYPE_CHECKING:

    class ViewNumber(int):
        """Which view: counts from 1, 0 before the first."""

        def __add__(self, value: int, /) -> ViewNumber: ...

    class Clock(int):
        """Lamport time. `clock << RANK_BITS | rank` is the key of that rank's proposal."""

        def __add__(self, value: int, /) -> Clock: ...
        def __lshift__(self, value: int, /) -> Key: ...

    class Key(int):
        """A proposal within its view; `key >> RANK_BITS` is its clock."""

        def __or__(self, value: int, /) -> Key: ...
        def __rshift__(self, value: int, /) -> Clock: ...

    class Index(int):
        """A decision's place, counted from 1 over all views. As the mark in a message's head: the
        last one that its sender has delivered."""

        def __add__(self, value: int, /) -> Index: ...

    class BallotNumber(int):
        """A round of a view's synod with its coordinator: `round << RANK_BITS | rank`, or 0 for
        none."""

else:
    ViewNumber = Clock = Key = Index = BallotNumber = int

NO_INDEX = Index(0)
"""Before the first decision, or no place in the order."""

__all__ = [
    "NO_INDEX",
    "RANK_BITS",
    "RANK_MASK",
    "BallotNumber",
    "Clock",
    "Index",
    "Key",
    "Mask",
    "Rank",
    "ViewNumber",
]
