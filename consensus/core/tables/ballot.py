"""One proposal's votes."""

from __future__ import annotations

from typing import Any

from consensus.core.numbers import NO_INDEX, RANK_BITS, RANK_MASK, Clock, Key, Mask, Rank
from consensus.core.types import Answers, Content, Handle, Outcome, ProposalId, Reasons, Timer

WAITS_REACH, WAITS_APPLICATION, WAITS_SECOND = 1, 2, 4
"""What an own vote still waits for: a presence with a joiner, the program, or a second member that
wants a kick (KT1)."""


class Ballot:
    """The votes on one proposal as far as they are known here, and its outcome once settled.

    A ballot exists without content if a vote overtook the proposal: votes travel on their voter's
    lane, the proposal on its proposer's.
    """

    __slots__ = (
        "accepted",
        "answers",
        "armed",
        "content",
        "handle",
        "id",
        "index",
        "key",
        "noted",
        "outcome",
        "reasons",
        "rejected",
        "resubmit",
        "waits",
    )

    def __init__(self, key: Key, content: Content | None, accepted: Mask) -> None:
        self.key = key
        self.content = content
        self.id: ProposalId | None = None
        """Once it was needed; not part of the state."""
        self.accepted = accepted
        """Mask of those who accepted."""
        self.rejected = 0
        """Mask of those who voted reject."""
        self.noted = 0
        """Mask of those who have stored a reject: those who voted it and those who noted it."""
        self.answers: dict[Rank, bytes] | None = None
        self.reasons: dict[Rank, str] | None = None
        self.outcome: Outcome | None = None
        """None while open."""
        self.index = NO_INDEX
        """Its place once delivered here."""
        self.waits = 0
        self.armed: Timer | None = None
        """Its answer timer, while that runs."""
        self.handle: Handle | None = None
        self.resubmit = False

    @property
    def clock(self) -> Clock:
        return self.key >> RANK_BITS

    @property
    def proposer(self) -> Rank:
        """The proposer's rank."""
        return self.key & RANK_MASK

    def give_reason(self, rank: Rank, reason: str) -> None:
        if self.reasons is None:
            self.reasons = {}
        self.reasons.setdefault(rank, reason)

    def give_answer(self, rank: Rank, answer: bytes) -> None:
        if self.answers is None:
            self.answers = {}
        self.answers[rank] = answer

    def said(self) -> tuple[Answers, Reasons]:
        """Answers and reasons in rank order."""
        answers = tuple(sorted(self.answers.items())) if self.answers else ()
        reasons = tuple(sorted(self.reasons.items())) if self.reasons else ()
        return answers, reasons

    def fork(self) -> Ballot:
        twin = Ballot(self.key, self.content, self.accepted)
        twin.id = self.id
        twin.rejected = self.rejected
        twin.noted = self.noted
        twin.answers = None if self.answers is None else dict(self.answers)
        twin.reasons = None if self.reasons is None else dict(self.reasons)
        twin.outcome = self.outcome
        twin.index = self.index
        twin.waits = self.waits
        twin.armed = self.armed
        twin.handle = self.handle
        twin.resubmit = self.resubmit
        return twin

    def state(self) -> tuple[Any, ...]:
        return (
            self.key,
            self.content,
            self.accepted,
            self.rejected,
            self.noted,
            self.said(),
            self.outcome,
            self.index,
            self.waits,
            self.armed,
            self.handle,
            self.resubmit,
        )
