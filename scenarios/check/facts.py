"""What a history has said so far, as all checkers look it up, and what they raise.

Arithmetic of quorums is written again here, naively, and not taken from the engine.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from scenarios.check.history import (
    Decided,
    Event,
    Expelled,
    Id,
    Installed,
    Name,
    Noted,
    Proposed,
    Voted,
    Wedged,
)

__all__ = ["COMMITTED", "UNKNOWN", "Facts", "Violation", "is_quorum"]

COMMITTED, UNKNOWN = "committed", "unknown"


class Violation(AssertionError):
    """An invariant does not hold: which, for whom, and what shows it."""

    def __init__(self, invariant: str, members: Iterable[Name], evidence: str):
        self.invariant = invariant
        self.members = tuple(members)
        self.evidence = evidence
        who = ", ".join(map(str, self.members))
        super().__init__(f"{invariant} [{who}]: {evidence}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Violation, (self.invariant, self.members, self.evidence)


def is_quorum(some: Collection[Name], view: Sequence[Name], casting_vote: bool) -> bool:
    """Whether `some` are a quorum of `view` (members by seniority)."""
    count = sum(1 for member in view if member in some)
    if 2 * count > len(view):
        return True
    return casting_vote and 2 * count == len(view) and view[0] in some


class Facts:
    """What the history said so far, for all checkers to look up."""

    def __init__(self, casting_vote: bool = True):
        self.casting_vote = casting_vote
        self.proposed: dict[Id, tuple[Name, Any]] = {}
        self.votes: dict[Id, dict[Name, bool]] = {}
        self.noted: dict[Id, set[Name]] = {}
        self.wedged: dict[int, set[Name]] = {}
        self.views: dict[int, tuple[Name, ...]] = {}
        self.outcomes: dict[Id, Decided] = {}
        self.current: dict[Name, int] = {}
        """The view each member installed last."""
        self.delivered: dict[tuple[Name, int], list[Id]] = {}
        """What each member delivered while in each view."""
        self.removed: dict[int, set[Name]] = {}
        """Who was kicked or left by a committed ballot of each view."""
        self.reporters: dict[Id, set[Name]] = {}
        """Who reported an outcome of each proposal."""
        self.expelled: set[Name] = set()
        self.admitted: dict[int, dict[Name, Id]] = {}
        """Whose join was committed in each view, and by which proposal."""

    def quorum(self, some: Collection[Name], view: int) -> bool:
        """Whether `some` are a quorum of the view with this number."""
        return is_quorum(some, self.views[view], self.casting_vote)

    def add(self, member: Name, event: Event) -> None:
        """Records an event, after the checkers saw it."""
        if isinstance(event, Voted):
            self.votes.setdefault(event.id, {})[member] = event.accept
        elif isinstance(event, Proposed):
            self.proposed[event.id] = (member, event.content)
        elif isinstance(event, Noted):
            self.noted.setdefault(event.id, set()).add(member)
        elif isinstance(event, Wedged):
            self.wedged.setdefault(event.view, set()).add(member)
        elif isinstance(event, Installed):
            self.views.setdefault(event.view, event.members)
            self.current[member] = event.view
        elif isinstance(event, Expelled):
            self.expelled.add(member)
        elif isinstance(event, Decided) and event.outcome != UNKNOWN:
            self.outcomes.setdefault(event.id, event)
            self.reporters.setdefault(event.id, set()).add(member)
            here = self.current.get(member, event.id.view)
            self.delivered.setdefault((member, here), []).append(event.id)
            if event.outcome == COMMITTED and event.kind in ("kick", "leave"):
                self.removed.setdefault(event.id.view, set()).add(event.subject)
            if event.outcome == COMMITTED and event.kind == "join":
                self.admitted.setdefault(event.id.view, {})[event.subject] = event.id
