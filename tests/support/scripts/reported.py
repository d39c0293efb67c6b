"""What the members of one group have reported, all of them and ever, and what must hold of it."""

from __future__ import annotations

from consensus.core.types import Content, Decision, Member, Outcome, ProposalId
from consensus.core.view import View


class Violation(AssertionError):
    """A safety property failed."""


class Reported:
    """Everybody's reports. Every method raises Violation for one that contradicts another."""

    def __init__(self) -> None:
        self.sequence: dict[int, ProposalId] = {}
        self.views: dict[int, tuple[Member, ...]] = {}
        self._outcomes: dict[ProposalId, tuple[Outcome, Content]] = {}
        self._installed_at: dict[int, int] = {}
        self._proposed: set[tuple[Member, bytes]] = set()
        self._rejects: dict[ProposalId, set[Member]] = {}

    def proposed(self, member: Member, body: bytes) -> None:
        """The member's application has put this to the group."""
        self._proposed.add((member, body))

    def rejected(self, member: Member, proposal: ProposalId) -> None:
        """The member's reject counts: it will stand by it."""
        self._rejects.setdefault(proposal, set()).add(member)

    def outcome(self, decision: Decision) -> None:
        """A member knows what has become of a proposal."""
        said = decision.outcome, decision.content
        if self._outcomes.setdefault(decision.id, said) != said:
            raise Violation(f"{decision.id}: {said} and {self._outcomes[decision.id]}")

    def decided(self, decision: Decision, after: int) -> int:
        """A member has told its application, which was told of all up to the index `after` before.
        The index that it is told up to now."""
        if decision.outcome == Outcome.UNKNOWN:
            return after
        self.outcome(decision)
        if decision.index != after + 1:
            raise Violation(f"index {decision.index} after {after}")
        if self.sequence.setdefault(decision.index, decision.id) != decision.id:
            raise Violation(f"two decisions at {decision.index}")
        theirs = decision.outcome == Outcome.COMMITTED and decision.content.kind == "app"
        if theirs and (decision.proposer, decision.content.body) not in self._proposed:
            raise Violation("never proposed")
        return decision.index

    def installed(self, view: View, index: int | None) -> None:
        """A member that was told of all up to `index` went to a view; None: it was told nothing."""
        if self.views.setdefault(view.number, view.members) != view.members:
            raise Violation(f"two views {view.number}")
        if index is not None and self._installed_at.setdefault(view.number, index) != index:
            raise Violation("different sets before one installation")
        for proposal, members in self._rejects.items():
            if proposal.view == view.number - 1 and members & set(view.members):
                outcome = self._outcomes.get(proposal)
                if outcome is not None and outcome[0] == Outcome.COMMITTED:
                    raise Violation("committed against a veto")
