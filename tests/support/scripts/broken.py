"""Twenty-five engines, each broken in one rule, which the checkers must catch.

Every one is the shipped `Group` with one small method overridden. Two of them break what lies
around a group (its memory, its lanes); they do it through a timer of their own that the explorer
may fire, so that the explorer itself needs to know nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from consensus.core.engine.group import Group
from consensus.core.message_fields import ReadyMessage
from consensus.core.message_kinds import NOTED, Message
from consensus.core.numbers import Clock, Index, Key, Mask, Rank
from consensus.core.outputs import Arm, Output
from consensus.core.tables.ballot import Ballot
from consensus.core.tables.total_order import Order
from consensus.core.tables.trim import OWN_ACCEPTED, OWN_NOTED, OWN_NOTHING
from consensus.core.types import (
    JOIN,
    KICK,
    Content,
    Entry,
    Handle,
    Member,
    Outcome,
    Promise,
    Timer,
    Value,
    Vote,
)
from consensus.core.view import ranks

__all__ = ["BROKEN"]


class RejectReportedEarly(Group):
    """A reject is reported before enough members stored it."""

    def _may_report_reject(self, ballot: Ballot) -> bool:
        return ballot.noted != 0


class CommitOnMajority(Group):
    """A majority of accepts commits."""

    def _commit_ready(self, ballot: Ballot) -> bool:
        return ballot.content is not None and self._view.is_quorum(ballot.accepted)


class NoSecondPhase(Group):
    """A coordinator installs what it computed, without anybody's ACCEPTED."""

    def _needs_acceptors(self) -> bool:
        return False


class VotesWhenWedged(Group):
    """A member votes after it has promised."""

    def _may_vote(self, ballot: Ballot) -> bool:
        return not (ballot.accepted | ballot.noted) & self._bit


class AcceptedValueIgnored(Group):
    """A coordinator computes a value of its own although a promiser accepted another."""

    def _accepted_value(self, promises: Mapping[int, Promise]) -> Value | None:
        return None


class Amnesiac(Group):
    """A member restarts with an empty memory under the same incarnation."""

    _at_first: Group | None = None

    def poll(self) -> list[Output]:
        out = super().poll()
        if self._at_first is None:
            self._at_first = self.fork()
            out.append(Arm(Timer("amnesia"), 3.0))
        return out

    def fork(self) -> Group:
        twin = super().fork()
        assert isinstance(twin, Amnesiac)
        twin._at_first = self._at_first
        return twin

    def fire(self, timer: Timer) -> None:
        if timer.name == "amnesia" and self._at_first is not None:
            self._at_first._fork_into(self)
        else:
            super().fire(timer)


class Abstains(Group):
    """Who does not like a proposal abstains, and is not needed for its commit."""

    def _vote(self, ballot: Ballot, vote: Vote) -> None:
        if vote.accept or not self._may_vote(ballot):
            super()._vote(ballot, vote)
            return
        self._accepts.append(ballot.key)
        ballot.waits = 0
        if self._commit_ready(ballot):
            self._settle(ballot, Outcome.COMMITTED)

    def _commit_ready(self, ballot: Ballot) -> bool:
        mine = 0 if ballot.waits else self._bit
        return ballot.content is not None and ballot.accepted | mine == self._full


class TargetLeftOut(Group):
    """The target of a kick has no part in the ballot on it."""

    def _target(self, ballot: Ballot) -> int:
        content = ballot.content
        if content is None or content.kind != KICK or content.subject is None:
            return 0
        return self._view.mask((content.subject,))

    def _commit_ready(self, ballot: Ballot) -> bool:
        if ballot.content is None:
            return False
        return ballot.accepted | self._target(ballot) == self._full

    def _consider(self, ballot: Ballot) -> None:
        if self._target(ballot) != self._bit:
            super()._consider(ballot)
        elif self._commit_ready(ballot):
            self._settle(ballot, Outcome.COMMITTED)


class MinorityChange(Group):
    """A view change by less than a quorum."""

    def _promises_suffice(self, promisers: int) -> bool:
        return True

    def _chosen(self, supporters: int) -> bool:
        return supporters != 0

    def _change_wanted(self) -> bool:
        return super()._change_wanted() or bool(self._silent())


class ClocksIgnored(Group):
    """What is settled is delivered at once, in no matter which order."""

    def _next_deliverable(self) -> Ballot | None:
        for key in self._order.queue:
            if self._ballots[key].outcome:
                return self._ballots[key]
        return None


class LanesReorder(Group):
    """A lane lets one message overtake another (whenever the explorer says so)."""

    _swap = False
    _overtaken: tuple[Member, Message] | None = None
    _armed_swap = False

    def poll(self) -> list[Output]:
        out = super().poll()
        if not self._armed_swap:
            self._armed_swap = True
            out.append(Arm(Timer("swap"), 1.0))
        return out

    def fire(self, timer: Timer) -> None:
        if timer.name == "swap":
            self._swap = True
        else:
            super().fire(timer)

    def receive(self, sender: Member, message: Message) -> None:
        if self._swap:
            self._swap = False
            self._overtaken = (sender, message)
            return
        super().receive(sender, message)
        if self._overtaken is not None and self._overtaken[0] == sender:
            held, self._overtaken = self._overtaken, None
            super().receive(*held)

    def state(self) -> Any:
        return super().state(), self._swap, self._overtaken

    def _accuse(self, sender: Member, what: str) -> None:
        """What shows the disorder is passed over: a broken lane would come without a witness."""


class JoinerCountedEarly(Group):
    """A joiner is let in before it is ready."""

    def _joiner_ready(self, sponsor: int, joiner: Member, kept: int) -> bool:
        return True


class NotesWhenWedged(Group):
    """A member notes a reject after it has promised."""

    def _may_note(self, ballot: Ballot) -> bool:
        return ballot.content is not None and not ballot.noted & self._bit


class NotesUntold(Group):
    """A member keeps a note to itself once the rejects it has seen suffice."""

    def _must_tell_note(self, ballot: Ballot) -> bool:
        return self._view.is_quorum(self._full & ~ballot.rejected)


class NotesLeftOutOfTrim(Group):
    """A trim counts rejects that promisers voted, and not those they noted."""

    def _promise(self) -> Promise:
        stable, accepted, value, held, index = super()._promise()
        return stable, accepted, value, tuple(map(self._without_note, held)), index

    def _without_note(self, entry: tuple[Any, ...]) -> tuple[Any, ...]:
        ballot = self._ballots[entry[0]]
        if entry[2] != OWN_NOTED or ballot.rejected & self._bit:
            return entry
        own = OWN_ACCEPTED if ballot.accepted & self._bit else OWN_NOTHING
        return (*entry[:2], own, *entry[3:])


class InstallOnOneAccepted(Group):
    """INSTALL as soon as one other member has accepted."""

    def _chosen(self, supporters: int) -> bool:
        return supporters.bit_count() >= 2


class ClocksReset(Group):
    """Clocks start anew with a view while the marks of lanes are kept."""

    def _fresh_order(self, size: int, rank: Rank, index: Index) -> Order:
        order = super()._fresh_order(size, rank, index)
        before = getattr(self, "_order", None)
        if before is not None and rank >= 0:
            heard = [clock for clock in before.heard if clock < 1 << 60]
            highest = max(heard, default=Clock(0))
            order.heard = [max(clock, highest) for clock in order.heard]
            self._clock = Clock(0)
        return order

    def _accuse(self, sender: Member, what: str) -> None:
        """It finds nothing wrong with low clocks."""


class KicksNotVoided(Group):
    """A kick counts even if its proposer is removed or has not promised."""

    def _kick_counts(self, proposer: int, promisers: int, removed: int) -> bool:
        return True


class VotesOnNewerView(Group):
    """A member votes on a proposal of a view it has not installed."""

    def _lane_stops(self) -> bool:
        return False


class NotesOvertakeAccepts(Group):
    """What was accepted waits for the next poll, and NOTED leaves before it."""

    def _broadcast(self, message: Message) -> None:
        waiting: list[Key] = []
        if message.kind == NOTED:
            waiting, self._accepts = self._accepts, waiting
        super()._broadcast(message)
        self._accepts += waiting


class ClockTakenTooEarly(Group):
    """A proposal takes its clock, and then the accepts before it leave with that clock."""

    def _propose_now(self, handle: Handle, content: Content, resubmit: bool) -> Key:
        waiting, self._accepts = self._accepts, []
        key = super()._propose_now(handle, content, resubmit)
        if waiting:
            sent = [i for i, o in enumerate(self._out) if getattr(o, "to", None) in self._others]
            first = sent[-len(self._others)]
            proposal, self._out[first:] = self._out[first:], []
            self._accepts = waiting
            self._flush()
            self._out += proposal
        return key


class AcceptsWithdrawn(Group):
    """An accept that has not left is withdrawn when somebody else's reject is learnt."""

    def _learn_reject(self, ballot: Ballot) -> None:
        if ballot.key in self._accepts:
            self._accepts.remove(ballot.key)
            ballot.noted |= self._bit
        super()._learn_reject(ballot)


class TwoOfOneKey(Group):
    """A joiner counts though an earlier member of its key goes on."""

    def _joiner_ready(self, sponsor: Rank, joiner: Member, kept: Mask) -> bool:
        view = self._view
        others = [rank for rank in ranks(kept) if view.members[rank][0] != joiner[0]]
        return super()._joiner_ready(sponsor, joiner, sum(1 << rank for rank in others))


class ReadyOfBefore(Group):
    """READY of a member that gave up counts for the one that came again in its place."""

    def _on_ready(self, sender: Member, message: ReadyMessage) -> None:
        for joiner in self.joiners:
            if joiner[0] == sender[0]:
                super()._on_ready(joiner, message)


class JoinsOnMajority(Group):
    """A join commits when a quorum has accepted it. Of three, whoever accepts it has delivered it
    with that, and what one has delivered stands (VE2): that is left out here as well."""

    def _commit_ready(self, ballot: Ballot) -> bool:
        content = ballot.content
        if content is not None and content.kind == JOIN:
            return self._view.is_quorum(ballot.accepted)
        return super()._commit_ready(ballot)

    def _trim_outcome(self, own: Iterable[int], delivered: bool) -> Outcome:
        return super()._trim_outcome(own, False)

    def _keeps_delivered(self, trim: tuple[Entry, ...], end: Index) -> bool:
        return True


BROKEN: dict[str, type[Group]] = {
    "a reject reported before enough members stored it": RejectReportedEarly,
    "commit on a majority of accepts": CommitOnMajority,
    "a view change without phase 2": NoSecondPhase,
    "a vote after wedging": VotesWhenWedged,
    "an accepted value ignored": AcceptedValueIgnored,
    "a restart under the same incarnation": Amnesiac,
    "abstaining": Abstains,
    "a kick's target left out of the ballot": TargetLeftOut,
    "a view change by less than a quorum": MinorityChange,
    "delivery that ignores clocks": ClocksIgnored,
    "lanes that reorder": LanesReorder,
    "a joiner counted before it is ready": JoinerCountedEarly,
    "notes after wedging": NotesWhenWedged,
    "a note that is kept to oneself": NotesUntold,
    "a trim that ignores notes": NotesLeftOutOfTrim,
    "INSTALL on a single ACCEPTED": InstallOnOneAccepted,
    "clocks reset while marks are kept": ClocksReset,
    "kicks that are not voided": KicksNotVoided,
    "a vote on a newer view's proposal": VotesOnNewerView,
    "a note before the accepts that wait": NotesOvertakeAccepts,
    "a clock taken before the accepts that wait": ClockTakenTooEarly,
    "an accept that waits withdrawn": AcceptsWithdrawn,
    "a key twice among the members": TwoOfOneKey,
    "READY of the time before": ReadyOfBefore,
    "a join committed on a majority of accepts": JoinsOnMajority,
}
