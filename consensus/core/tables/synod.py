"""The Paxos instance that chooses the next view, as seen by one member of the present one.

A ballot number is `round << 4 | rank`: unique to its coordinator, and ordered by round. 0 is none.
"""

from __future__ import annotations

from typing import Any

from consensus.core.numbers import RANK_BITS, RANK_MASK, BallotNumber, Mask, Rank
from consensus.core.types import Promise, Value


def ballot_number(round_: int, rank: Rank) -> BallotNumber:
    return BallotNumber(round_ << RANK_BITS | rank)


class Synod:
    """One member's part: acceptor always, coordinator while `leading`."""

    __slots__ = ("accepted", "acceptors", "highest", "leading", "promises", "value", "wedged")

    def __init__(self, size: int) -> None:
        self.wedged = False
        """Frozen: no more votes, notes or proposals in this view."""
        self.highest = BallotNumber(0)
        """The highest ballot promised, accepted or begun; lower ones are refused."""
        self.accepted = BallotNumber(0)
        """The ballot whose value was accepted last, or 0."""
        self.value: Value | None = None
        """That value."""
        self.acceptors = [BallotNumber(0)] * size
        """The highest ballot each member said it accepted."""
        self.leading = BallotNumber(0)
        """The ballot this member coordinates, until it is overtaken, or 0."""
        self.promises: dict[Rank, Promise] = {}
        """By rank, for the ballot being led; emptied once its value is proposed."""

    @property
    def round(self) -> int:
        return self.highest >> RANK_BITS

    def begin(self, rank: Rank) -> BallotNumber:
        """Lead a new ballot, higher than any seen."""
        self.leading = self.highest = ballot_number(self.round + 1, rank)
        self.promises = {}
        self.wedged = True
        return self.leading

    def see(self, ballot: BallotNumber) -> bool:
        """Take note of somebody's ballot. False if it is too low to be answered."""
        if ballot < self.highest:
            return False
        if ballot > self.highest:
            self.highest = ballot
            self.leading = BallotNumber(0)
            self.promises = {}
        return True

    def accept(self, ballot: BallotNumber, value: Value, rank: Rank) -> None:
        """Accept (having seen) a ballot's value. This wedges, promised or not (R3)."""
        self.wedged = True
        self.accepted = ballot
        self.value = value
        self.accepted_by(rank, ballot)
        self.accepted_by(ballot & RANK_MASK, ballot)

    def accepted_by(self, rank: Rank, ballot: BallotNumber) -> None:
        if ballot > self.acceptors[rank]:
            self.acceptors[rank] = ballot

    def supporters(self) -> Mask:
        """Mask of those known to have accepted the value accepted here, in the same ballot."""
        if not self.accepted:
            return 0
        return sum(1 << r for r, ballot in enumerate(self.acceptors) if ballot == self.accepted)

    def fork(self) -> Synod:
        twin = object.__new__(Synod)
        twin.wedged = self.wedged
        twin.highest = self.highest
        twin.accepted = self.accepted
        twin.value = self.value
        twin.acceptors = list(self.acceptors)
        twin.leading = self.leading
        twin.promises = dict(self.promises)
        return twin

    def state(self) -> tuple[Any, ...]:
        return (
            self.wedged,
            self.highest,
            self.accepted,
            self.value,
            tuple(self.acceptors),
            self.leading,
            tuple(sorted(self.promises.items())),
        )
