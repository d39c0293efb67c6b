"""What members say they did about a proposal that somebody waits for, and what follows from it."""

from __future__ import annotations

from typing import Any, NamedTuple

from consensus.core.config import STALL_TICKS
from consensus.core.numbers import Key, Mask, Rank

LACKS, WAITS, LATE, WEDGED, VOTED = range(5)
"""Did not get it; its program is within its deadline, or a kick waits for a second member; has not
voted though nothing is waited for any more; froze for a change; has done its part."""
NO_KEY = Key(0)
TURNS_TO_SAY = 3
"""Asked so often, an honest member's row says whom it waits for itself, or it is not wedged."""


class Said(NamedTuple):
    """What a member said last."""

    turn: int
    did: int
    pending: int
    pending_before: int
    """What it said in the turn before."""


class Stall:
    """One proposal that is waited for, and what the others said about it."""

    __slots__ = (
        "claimant", "disputes", "key", "said", "suspects", "turn", "unbelieved", "waited", "wanted",
    )  # fmt: skip

    def __init__(self) -> None:
        self.key = NO_KEY
        """What is waited for, or none."""
        self.waited = 0
        """For how long, in parts of the time to wait."""
        self.turn = 0
        """How often the others were asked."""
        self.said: dict[Rank, Said] = {}
        self.suspects: Mask = 0
        """Who is found to make no progress (S2)."""
        self.disputes: Mask = 0
        """With whom it is found to disagree (S3)."""
        self.wanted = NO_KEY
        """What somebody else waits for, and was not received here."""
        self.claimant: Rank = 0
        """Who said so."""
        self.unbelieved: Mask = 0
        """Who said so of what its proposer says it never proposed, in this view."""

    def begin(self, key: Key, *, asked: bool) -> None:
        """Wait for another one; `asked` by somebody who has waited already."""
        self.key = key
        self.waited = STALL_TICKS - 1 if asked else 0
        self.turn = 0
        self.said = {}
        self.suspects = self.disputes = 0

    def hear(self, rank: Rank, turn: int, did: int, pending: int) -> None:
        """A member has answered."""
        before = self.said.get(rank)
        if before is not None and turn <= before.turn:
            return
        self.said[rank] = Said(turn, did, pending, before.pending if before else 0)

    def fork(self) -> Stall:
        twin: Stall = object.__new__(Stall)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.said = dict(self.said)
        return twin

    def state(self) -> tuple[Any, ...]:
        plain = self.key, self.waited, self.turn, self.suspects, self.disputes, self.wanted
        return *plain, self.claimant, self.unbelieved, tuple(sorted(self.said.items()))


def hangs(said: Said) -> bool:
    """It waits for the same turn of its disk as a turn of questions ago."""
    return bool(said.pending) and said.pending == said.pending_before


def makes_no_progress(said: Said | None, turn: int, *, patience_over: bool, excused: bool) -> bool:
    """Whether what a member said, or did not say, in this turn shows that it stands still (S2).

    `patience_over`: its program's deadline has passed by any count. `excused`: its row says for
    whom it waits itself.
    """
    if said is None or said.turn < turn:
        return True
    if said.pending:
        return hangs(said)
    if said.did == LATE:
        return True
    if said.did == WAITS:
        return patience_over
    return turn >= TURNS_TO_SAY and (said.did == WEDGED or not excused)
