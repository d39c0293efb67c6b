"""One proposal's votes."""

from __future__ import annotations

from typing import Any

from consensus.core.types import RANK_BITS, Content, Outcome, ProposalId, Timer

WAITS_REACH, WAITS_APPLICATION = 1, 2
"""What an own vote still waits for."""


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
        "id",
        "index",
        "key",
        "noted",
        "outcome",
        "reasons",
        "rejected",
        "resubmit",
        "ticket",
        "waits",
    )

    def __init__(self, key: int, content: Content | None, accepted: int) -> None:
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
        self.answers: dict[int, bytes] | None = None
        self.reasons: dict[int, str] | None = None
        self.outcome: Outcome | None = None
        """None while open."""
        self.index = 0
        """Its place once delivered here."""
        self.waits = 0
        self.armed: Timer | None = None
        """Its answer timer, while that runs."""
        self.ticket: int | None = None
        self.resubmit = False

    @property
    def clock(self) -> int:
        return self.key >> RANK_BITS

    @property
    def proposer(self) -> int:
        """The proposer's rank."""
        return self.key & (1 << RANK_BITS) - 1

    def give_reason(self, rank: int, reason: str) -> None:
        if self.reasons is None:
            self.reasons = {}
        self.reasons.setdefault(rank, reason)

    def give_answer(self, rank: int, answer: bytes) -> None:
        if self.answers is None:
            self.answers = {}
        self.answers[rank] = answer

    def said(self) -> tuple[Any, Any]:
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
        twin.ticket = self.ticket
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
            self.ticket,
            self.resubmit,
        )
