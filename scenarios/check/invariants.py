"""The invariants of the protocol as checkers of histories.

Each checker sees every event (`observe`) and is asked now and then to `settle`: `observe` raises
what no continuation could mend, `settle` raises what lacks its reason, and is only right at a
consistent cut: a moment when every cause of a recorded event is recorded too. Every state of the
simulator and the explorer is one, and so are complete logs. Nothing depends on how the events of
different members interleave.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from consensus.core.types import Member
from scenarios.check.facts import COMMITTED, UNKNOWN, Facts, Violation
from scenarios.check.history import (
    Accusable,
    Accused,
    Decided,
    Doubted,
    Event,
    Id,
    Installed,
    Name,
    Noted,
    Proposed,
    Read,
    Restored,
    Voted,
)

__all__ = ["INVARIANTS", "Checkers", "check_history"]

class Checker:
    """One invariant. `facts` holds what was said before the event at hand."""

    name = ""

    def __init__(self, facts: Facts):
        self.facts = facts

    def observe(self, member: Name, event: Event) -> None:
        """Raises Violation if the event contradicts the history."""

    def settle(self) -> None:
        """Raises Violation if something recorded lacks what must have come before it."""

    def fail(self, members: Iterable[Name], evidence: str) -> None:
        """Raises the violation of this invariant."""
        raise Violation(self.name, members, evidence)


class Agreement(Checker):
    """I1: no two members report different outcomes, orders or bodies for one proposal."""

    name = "1 agreement"

    def __init__(self, facts: Facts):
        super().__init__(facts)
        self._first: dict[Id, tuple[Name, Decided]] = {}
        self._at_index: dict[int, tuple[Name, Id]] = {}

    def observe(self, member: Name, event: Event) -> None:
        if not isinstance(event, Decided) or event.outcome == UNKNOWN:
            return
        other, said = self._first.setdefault(event.id, (member, event))
        if said != event:
            self.fail((other, member), f"{other} reported {said}, {member} reported {event}")
        other, there = self._at_index.setdefault(event.index, (member, event.id))
        if there != event.id:
            self.fail(
                (other, member), f"index {event.index} is {there} at {other}, {event.id} here"
            )


class Veto(Checker):
    """I2: nothing is committed that a member of its final view rejected, or without a quorum.

    A reject known only to members left out of the next view does not count (deliberate).
    """

    name = "2 veto"

    def __init__(self, facts: Facts):
        super().__init__(facts)
        self._vetoed: list[tuple[Id, Name]] = []
        self._unproved: list[tuple[Id, Name]] = []

    def observe(self, member: Name, event: Event) -> None:
        if isinstance(event, Decided) and event.outcome == COMMITTED:
            if event.id in self.facts.outcomes:
                return
            self._unproved.append((event.id, member))
            votes = self.facts.votes.get(event.id, {})
            self._vetoed += [(event.id, voter) for voter, accept in votes.items() if not accept]
        elif isinstance(event, Voted):
            said = self.facts.votes.get(event.id, {}).get(member)
            if said is not None and said != event.accept:
                self.fail((member,), f"{member} voted both ways on {event.id}")
            if not event.accept:
                known = self.facts.outcomes.get(event.id)
                if known is not None and known.outcome == COMMITTED:
                    self._vetoed.append((event.id, member))

    def settle(self) -> None:
        views, still = self.facts.views, []
        for proposal, voter in self._vetoed:
            final = views.get(proposal.view + 1)
            # Before anybody installed the next view, a trim is reported only by who is left out.
            trimmed = self.facts.reporters[proposal] <= self.facts.expelled
            if voter in final if final is not None else not trimmed:
                self.fail((voter,), f"{proposal} is committed, but {voter} rejected it")
            still.append((proposal, voter))
        self._vetoed = [pair for pair in still if pair[0].view + 1 not in views]
        for proposal, reporter in self._unproved:
            view = views.get(proposal.view)
            if view is None:
                self.fail((reporter,), f"{proposal} is committed in a view nobody installed")
            accepts = [v for v, accept in self.facts.votes.get(proposal, {}).items() if accept]
            if not self.facts.quorum(accepts, proposal.view):
                self.fail((reporter,), f"{proposal} is committed with accepts of {accepts} only")
        self._unproved.clear()


class Order(Checker):
    """I3: deliveries are one sequence: no gaps, no repeats, by clock within a view."""

    name = "3 order"

    def __init__(self, facts: Facts):
        super().__init__(facts)
        self._last: dict[Name, tuple[int, int, int]] = {}
        self._reported: dict[Name, set[Id]] = {}
        self._indices: dict[Id, int] = {}
        self._before_view: dict[int, tuple[Name, int]] = {}

    def observe(self, member: Name, event: Event) -> None:
        if isinstance(event, Decided):
            seen = self._reported.setdefault(member, set())
            if event.id in seen:
                self.fail((member,), f"{member} reported {event.id} twice")
            seen.add(event.id)
            self._indices[event.id] = event.index
            if event.outcome == UNKNOWN:
                return
            place = (event.index, event.id.view, event.id.clock)
            last = self._last.get(member)
            if last is not None:
                if event.index != last[0] + 1:
                    self.fail((member,), f"{member} went from index {last[0]} to {event.index}")
                if last[1] >= 0 and place[1:] < last[1:]:
                    self.fail((member,), f"{member} delivered {event.id} after clock {last[1:]}")
            self._last[member] = place
        elif isinstance(event, Restored):
            self._last[member] = (event.index, -1, -1)
            self._reported[member] = {
                id for id in self._reported.get(member, ()) if self._indices[id] <= event.index
            }
        elif isinstance(event, Installed):
            last = self._last.get(member)
            if last is not None and last[0] != event.index:
                self.fail((member,), f"{member} says index {event.index} after {last[0]}")
            if last is None:
                self._last[member] = (event.index, -1, -1)
            other, index = self._before_view.setdefault(event.view, (member, event.index))
            if index != event.index:
                self.fail(
                    (other, member),
                    f"view {event.view} begins after {index} at {other}, {event.index} here",
                )


def _peer(name: Name) -> Hashable:
    """Whose member it is: its key, or the letter of one that was explored (D42)."""
    if isinstance(name, Member):
        return name.key
    return name.rstrip("'") if isinstance(name, str) else name


class Views(Checker):
    """I4: one membership a number, one successor by a wedged quorum, votes only by members."""

    name = "4 views"

    def __init__(self, facts: Facts):
        super().__init__(facts)
        self._unproved: list[tuple[int, Name]] = []
        self._voters: list[tuple[Id, Name]] = []

    def observe(self, member: Name, event: Event) -> None:
        facts = self.facts
        if isinstance(event, Installed):
            known = facts.views.get(event.view)
            if known is not None and known != event.members:
                self.fail((member,), f"view {event.view} is {known}, and {event.members} here")
            if len(set(event.members)) != len(event.members):
                self.fail((member,), f"view {event.view} names a member twice: {event.members}")
            if len({_peer(each) for each in event.members}) != len(event.members):
                self.fail((member,), f"view {event.view} has two members of a key: {event.members}")
            if member not in event.members:
                self.fail((member,), f"{member} installed a view without it: {event.members}")
            before = facts.current.get(member)
            if before is not None and event.view != before + 1:
                self.fail((member,), f"{member} went from view {before} to {event.view}")
            if known is None:
                self._unproved.append((event.view, member))
        elif isinstance(event, Voted | Noted | Proposed):
            current = facts.current.get(member)
            if current != event.id.view:
                self.fail((member,), f"{member} is in view {current}, but says {event}")
            if member in facts.wedged.get(event.id.view, ()):
                self.fail((member,), f"{member} is wedged, but says {event}")
            self._voters.append((event.id, member))

    def settle(self) -> None:
        views = self.facts.views
        for proposal, voter in self._voters:
            if voter not in views.get(proposal.view, ()):
                self.fail((voter,), f"{voter} speaks on {proposal} outside its view")
        self._voters.clear()
        for view, member in self._unproved:
            before = views.get(view - 1)
            if before is None:
                continue  # The first view known of this group.
            chosen = views[view]
            removed = self.facts.removed.get(view - 1, set())
            backers = [m for m in before if m in chosen or m in removed]
            if not self.facts.quorum(backers, view - 1):
                self.fail((member,), f"view {view} {chosen} keeps no quorum of {before}")
            wedged = self.facts.wedged.get(view - 1, set())
            if not self.facts.quorum(wedged, view - 1):
                self.fail((member,), f"view {view} was chosen with only {wedged} wedged")
            stayed = [m for m in before if m in chosen]
            if list(chosen[: len(stayed)]) != stayed:
                self.fail((member,), f"view {view} {chosen} breaks the seniority of {before}")
        self._unproved.clear()


class VirtualSynchrony(Checker):
    """I5: members that go together from one view to the next delivered the same in the first."""

    name = "5 virtual synchrony"

    def __init__(self, facts: Facts):
        super().__init__(facts)
        self._left: dict[int, tuple[Name, list[Id]]] = {}

    def observe(self, member: Name, event: Event) -> None:
        if not isinstance(event, Installed) or self.facts.current.get(member) != event.view - 1:
            return
        mine = list(self.facts.delivered.get((member, event.view - 1), ()))
        other, theirs = self._left.setdefault(event.view - 1, (member, mine))
        if theirs != mine:
            self.fail((other, member), f"in view {event.view - 1}: {theirs}, but {mine}")


class Integrity(Checker):
    """I6: every delivered proposal was proposed, once, by its claimed proposer, as delivered."""

    name = "6 integrity"

    def __init__(self, facts: Facts):
        super().__init__(facts)
        self._unproved: list[tuple[Name, Decided]] = []

    def observe(self, member: Name, event: Event) -> None:
        if isinstance(event, Proposed):
            if event.id.proposer != member:
                self.fail((member,), f"{member} proposed in another's name: {event.id}")
            if event.id in self.facts.proposed:
                self.fail((member,), f"{member} proposed {event.id} twice")
        elif isinstance(event, Decided):
            self._unproved.append((member, event))

    def settle(self) -> None:
        for member, event in self._unproved:
            proposed = self.facts.proposed.get(event.id)
            if proposed is None:
                self.fail((member,), f"{event.id} was delivered but never proposed")
            elif proposed[1] != event.content:
                self.fail((member,), f"{event.id} is {proposed[1]}, delivered as {event.content}")
        self._unproved.clear()


class Admission(Checker):
    """I7: nobody is in a view without a committed join that a majority of the last one accepted."""

    name = "7 admission"

    def __init__(self, facts: Facts):
        super().__init__(facts)
        self._unproved: list[tuple[int, Name]] = []

    def observe(self, member: Name, event: Event) -> None:
        if isinstance(event, Installed) and event.view not in self.facts.views:
            self._unproved.append((event.view, member))

    def settle(self) -> None:
        views = self.facts.views
        for view, reporter in self._unproved:
            before = views.get(view - 1)
            if before is None:
                continue
            for newcomer in views[view]:
                if newcomer in before:
                    continue
                ballot = self.facts.admitted.get(view - 1, {}).get(newcomer)
                if ballot is None:
                    self.fail((newcomer, reporter), f"{newcomer} is in view {view} uninvited")
                    continue
                votes = self.facts.votes.get(ballot, {})
                accepts = [m for m, accept in votes.items() if accept]
                if not self.facts.quorum(accepts, view - 1):
                    self.fail((newcomer,), f"{newcomer} joined with accepts of {accepts} only")
        self._unproved.clear()


class Reads(Checker):
    """I10: no read returns less than its reader knew to be committed when it began."""

    name = "10 reads"

    def observe(self, member: Name, event: Event) -> None:
        if isinstance(event, Read) and event.index < event.floor:
            self.fail((member,), f"{member} read up to {event.index}; {event.floor} was committed")


class Honesty(Checker):
    """I11: no honest member is accused, or about to send what it would be accused of."""

    name = "11 honesty"

    def observe(self, member: Name, event: Event) -> None:
        if isinstance(event, Accused):
            self.fail((member, event.whom), f"{member} accused {event.whom} of {event.what}")
        elif isinstance(event, Accusable):
            self.fail((member,), f"{event.by} would accuse {member} of {event.what}")


class Progress(Checker):
    """I8 where no disk hangs, nobody lies and all that is said arrives before a timer is over:
    whoever is heard makes progress. Who stands still for ever would otherwise be removed for it by
    the others, and nothing would be left undone."""

    name = "8 liveness"

    def observe(self, member: Name, event: Event) -> None:
        if isinstance(event, Doubted):
            self.fail((event.whom,), f"{event.whom} makes no progress, as {member} has it")


INVARIANTS: tuple[Callable[[Facts], Checker], ...] = (
    Agreement,
    Veto,
    Order,
    Views,
    VirtualSynchrony,
    Integrity,
    Admission,
    Reads,
    Honesty,
)
"""Those of every history, one each."""
IN_A_WORLD: tuple[Callable[[Facts], Checker], ...] = (*INVARIANTS, Progress)
"""Those of a history that was simulated or explored."""


class Checkers:
    """All invariants of histories for one group's history, fed event by event."""

    def __init__(
        self,
        casting_vote: bool = True,
        invariants: Iterable[Callable[[Facts], Checker]] = INVARIANTS,
    ):
        self.facts = Facts(casting_vote)
        self._checkers = [invariant(self.facts) for invariant in invariants]

    def observe(self, member: Name, event: Event) -> None:
        """Takes one event of `member`, after its earlier ones. Raises Violation."""
        for checker in self._checkers:
            checker.observe(member, event)
        self.facts.add(member, event)

    def settle(self) -> None:
        """Asks for the reasons of all that was recorded. Raises Violation."""
        for checker in self._checkers:
            checker.settle()


def check_history(history: Iterable[tuple[Name, Event]], casting_vote: bool = True) -> Checkers:
    """Checks a complete history of one group. Raises Violation."""
    checkers = Checkers(casting_vote)
    for member, event in history:
        checkers.observe(member, event)
    checkers.settle()
    return checkers
