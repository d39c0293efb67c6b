"""From what a group puts out to the history that the checkers read.

A recorder listens to one member. What it has said is a set (in which order a member votes on
different proposals matters to no invariant, and worlds that differ in it are explored once); what
it reported is a sequence.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from consensus.core import message_kinds as kinds
from consensus.core import outputs as out
from consensus.core.message_fields import SuspectMessage
from consensus.core.numbers import RANK_BITS, RANK_MASK, Key, ViewNumber
from consensus.core.types import JOIN, KICK, LEAVE, Content, Outcome
from scenarios.check.history import (
    Accusable,
    Accused,
    Decided,
    Doubted,
    Event,
    Expelled,
    Id,
    Installed,
    Lost,
    Name,
    Noted,
    Proposed,
    Read,
    Restored,
    Voted,
    Wedged,
)
from scenarios.check.upright import Upright

__all__ = ["Recorder", "events_of_log"]

OUTCOMES = {
    Outcome.COMMITTED: "committed",
    Outcome.REJECTED: "rejected",
    Outcome.ABANDONED: "abandoned",
    Outcome.UNKNOWN: "unknown",
}
KINDS = {JOIN: "join", LEAVE: "leave", KICK: "kick"}

Said = Proposed | Voted | Noted | Wedged
Log = tuple[tuple[Event, ...], frozenset[Said], tuple[Said, ...]]
"""What was reported, what was said, and what was said when it must not be."""


class Recorder:
    """One member's history, from its outputs."""

    __slots__ = ("index", "late", "member", "reports", "said", "upright", "views")

    def __init__(self, member: Name):
        self.member = member
        self.index = 0
        """The index of the last decision reported."""
        self.views: dict[int, tuple[Name, ...]] = {}
        self.reports: tuple[Event, ...] = ()
        self.said: frozenset[Said] = frozenset()
        self.late: tuple[Said, ...] = ()
        self.upright = Upright(member)

    def copy(self) -> Recorder:
        """An independent copy."""
        twin = Recorder(self.member)
        twin.index = self.index
        twin.views = self.views
        twin.reports = self.reports
        twin.said = self.said
        twin.late = self.late
        twin.upright = self.upright.copy()
        return twin

    def begin(self, installed: Installed) -> None:
        """The history begins in a view that is in force."""
        self.views = {installed.view: installed.members}
        self.index = installed.index
        self.reports = (installed,)

    def log(self) -> Hashable:
        """The history as a value that does not depend on what does not matter."""
        return self.reports, self.said, self.late

    def take(self, outputs: Sequence[out.Output]) -> list[Event]:
        """The events in what a poll returned, in order."""
        events: list[Event] = []
        refused = self.upright.take(outputs)
        if refused is not None:
            self._report(Accusable(*refused), events)
        for output in outputs:
            if isinstance(output, out.Send):
                self._sent(output.message, events)
                if isinstance(output.message, SuspectMessage):
                    self._suspected(output.message, events)
            elif isinstance(output, out.Decided):
                self._decided(output, events)
            elif isinstance(output, out.Installed):
                self._installed(output, events)
            elif isinstance(output, out.SnapshotReceived):
                self.index = output.index
                self._report(Restored(output.index), events)
            elif isinstance(output, out.Expelled):
                self._report(Expelled(), events)
            elif isinstance(output, out.Lost):
                self._report(Lost(), events)
            elif isinstance(output, out.Accused):
                self._report(Accused(output.member, output.what), events)
        return events

    def _suspected(self, message: SuspectMessage, events: list[Event]) -> None:
        doubted = message.stalled | message.disputed
        for rank, member in enumerate(self.views.get(message.view, ())):
            if doubted >> rank & 1:
                self._report(Doubted(member), events)

    def read(self, floor: int) -> list[Event]:
        """A read that began when its reader knew of `floor` is done."""
        events: list[Event] = []
        self._report(Read(floor, self.index), events)
        return events

    def _report(self, event: Event, events: list[Event]) -> None:
        self.reports += (event,)
        events.append(event)

    def _say(self, event: Said, view: int, events: list[Event]) -> None:
        if event in self.said:
            return
        if not isinstance(event, Wedged) and Wedged(view) in self.said:
            self.late += (event,)
        else:
            self.said |= {event}
        events.append(event)

    def _id(self, view: ViewNumber, key: Key) -> Id:
        members = self.views.get(view, ())
        rank = key & RANK_MASK
        return Id(view, key >> RANK_BITS, members[rank] if rank < len(members) else None)

    def _sent(self, message: kinds.Message, events: list[Event]) -> None:
        view = message.view
        if message.kind == kinds.PROPOSE:
            id = Id(view, message.clock, self.member)
            self._say(Proposed(id, content_of(message.content)), view, events)
            self._say(Voted(id, True), view, events)
        elif message.kind == kinds.VOTE:
            for key in message.keys:
                self._say(Voted(self._id(view, key), True), view, events)
        elif message.kind == kinds.ANSWER:
            self._say(Voted(self._id(view, message.key), True), view, events)
        elif message.kind == kinds.REJECT:
            self._say(Voted(self._id(view, message.key), False), view, events)
        elif message.kind == kinds.NOTED:
            self._say(Noted(self._id(view, message.key)), view, events)
        elif message.kind in (kinds.PREPARE, kinds.PROMISE, kinds.ACCEPT, kinds.ACCEPTED):
            self._say(Wedged(view), view, events)

    def _decided(self, output: out.Decided, events: list[Event]) -> None:
        decision = output.decision
        id = Id(decision.id.view, decision.id.clock, decision.id.proposer)
        content = content_of(decision.content)
        if self.views.get(id.view) == (self.member,):
            # Alone nobody is told, so that nothing sent shows what it proposed.
            self._say(Proposed(id, content), id.view, events)
            self._say(Voted(id, True), id.view, events)
        if decision.outcome != Outcome.UNKNOWN:
            self.index = decision.index
        self._report(
            Decided(
                id,
                OUTCOMES[decision.outcome],
                decision.index,
                content,
                KINDS.get(decision.content.kind, ""),
                decision.content.subject,
            ),
            events,
        )

    def _installed(self, output: out.Installed, events: list[Event]) -> None:
        number, members = output.view.number, tuple(output.view.members)
        if self.views.get(number - 1) == (self.member,):
            self._say(Wedged(number - 1), number - 1, events)
        self.views = self.views | {number: members}
        self._report(Installed(number, members, self.index), events)


def content_of(content: Content) -> Hashable:
    """What must be the same everywhere."""
    return (content.kind, content.body, content.subject)


def events_of_log(log: Log) -> Iterator[Event]:
    """A member's events in an order it may have had: what is said in a view comes after its
    installation and before what wedges the member in it."""
    reports, said, late = log
    todo = set(said)
    for report in reports:
        if isinstance(report, Installed):
            if Wedged(report.view - 1) in todo:
                todo.discard(Wedged(report.view - 1))
                yield Wedged(report.view - 1)
            yield report
            here = [e for e in todo if not isinstance(e, Wedged) and e.id.view == report.view]
            here.sort(key=lambda e: (e.id.clock, repr(e)))
            todo.difference_update(here)
            yield from here
        else:
            yield report
    yield from sorted(todo, key=lambda e: (isinstance(e, Wedged), repr(e)))
    yield from late
