"""Outcomes: settling, delivering in order, forgetting, and what goes out at the end of a turn."""

from __future__ import annotations

from abc import abstractmethod
from heapq import heappop

from consensus.core.config import CONTENT_OVERHEAD, DEPARTURES_BYTES, DEPARTURES_MAX
from consensus.core.engine.state import GroupBase, Phase
from consensus.core.message_fields import DecisionMessage, MarkMessage, VoteMessage
from consensus.core.message_kinds import DECISION, MARK, VOTE
from consensus.core.numbers import NO_INDEX, RANK_MASK, Index, Key, Rank
from consensus.core.outputs import Abandoned, Decided, Disarm, Output
from consensus.core.tables.ballot import Ballot
from consensus.core.tables.trim import entry_decision
from consensus.core.types import (
    JOIN,
    KICK,
    LEAVE,
    Content,
    Decision,
    Entry,
    Handle,
    Member,
    Outcome,
)

DEPARTURES = (LEAVE, KICK)

COMMITTED = Outcome.COMMITTED

# Named tuples are made by thousands here, and this makes them twice as fast as calling them.
_new = tuple.__new__


class Delivery(GroupBase):
    """The layer that settles, delivers and forgets proposals."""

    # -- what is held ------------------------------------------------------------------------

    def _may_propose(self, content: Content) -> bool:
        rank = self._rank
        window, window_bytes = self._window, self._window_bytes
        if content.kind in DEPARTURES:
            window += DEPARTURES_MAX
            window_bytes += DEPARTURES_BYTES
        return (
            not self._synod.wedged
            and self._open[rank] < window
            and self._open_bytes[rank] + len(content.body) + CONTENT_OVERHEAD <= window_bytes
        )

    def _may_kick(self, rank: Rank) -> bool:
        """A kick needs a second member that wants it; in a view of two, where there is none, the
        casting vote (KT1)."""
        return (
            not self.config.kicks_need_two
            or len(self._view.members) > 2
            or (rank == 0 and self._view.casting_vote)
        )

    def _wait(self, handle: Handle, content: Content, resubmit: bool) -> None:
        """Keep a proposal until there is room for it."""
        waiting = handle, content, resubmit
        if content.kind in DEPARTURES:
            self._backlog.appendleft(waiting)
        else:
            self._backlog.append(waiting)

    def _hold(self, ballot: Ballot, rank: Rank) -> None:
        self._ballots[ballot.key] = ballot
        self._open[rank] += 1
        assert ballot.content is not None
        self._open_bytes[rank] += len(ballot.content.body) + CONTENT_OVERHEAD
        if self.config.ordered:
            self._order.add(ballot.key)

    def _forget(self, key: Key) -> None:
        content = self._ballots.pop(key).content
        rank = key & RANK_MASK
        assert content is not None
        self._open[rank] -= 1
        self._open_bytes[rank] -= len(content[1]) + CONTENT_OVERHEAD

    # -- outcomes ----------------------------------------------------------------------------

    def _settle(self, ballot: Ballot, outcome: Outcome) -> None:
        ballot.outcome = outcome
        content = ballot.content
        if content is not None and content[4] is not None and outcome == COMMITTED:
            self._departure |= content.kind != JOIN
        if not self.config.ordered:
            self._finish(ballot)
            self._forget(ballot.key)
            if self._backlog:
                self._marks_moved = True  # There is room in the window.

    def _deliver(self) -> None:
        changed = self._departure
        order = self._order
        queue = order.queue
        while queue and (ballot := self._next_deliverable()) is not None:
            if queue[0] == ballot.key:
                heappop(queue)
            else:
                queue.remove(ballot.key)
                queue.sort()
            order.index += 1
            self._finish(ballot)
            if ballot.content[4] is not None:  # type: ignore[index]
                changed = True
        if changed:
            self._reconsider()

    def _finish(self, ballot: Ballot) -> None:
        """Report a settled proposal in its place."""
        order = self._order
        key = ballot.key
        content = ballot.content
        assert content is not None
        if self.config.ordered:
            ballot.index = order.index
            order.last_key = key
            order.log.append(key)
            self._unmarked_bytes += len(content[1]) + CONTENT_OVERHEAD
            self._marks_moved = True
        ballot.waits = 0
        out = self._out
        if ballot.armed is not None:
            out.append(Disarm(ballot.armed))
            ballot.armed = None
        answers = ballot.answers
        if ballot.reasons is None and (answers is None or ballot.outcome is COMMITTED):
            proposal = ballot.id or self._proposal_id(key)
            said: tuple[tuple[Member, bytes], ...] = ()
            if answers:
                members = self._view[1]
                said = tuple([(members[rank], answers[rank]) for rank in sorted(answers)])
            decision = _new(Decision, (proposal, ballot.index, content, ballot.outcome, said, ()))
        else:
            decision = self._decision(ballot.index, self._entry(ballot))
        out.append(_new(Decided, (decision, ballot.handle)))
        if self._feeds:
            for joiner, upto in self._feeds.items():
                self._feed(joiner, upto, ballot)
        if content[4] is not None:
            self._membership_decided(ballot)

    def _feed(self, joiner: Member, upto: Index, ballot: Ballot) -> None:
        if ballot.index > upto:
            self._feeds[joiner] = ballot.index
            said = ballot.index, self._entry(ballot)
            self._tell(joiner, DecisionMessage(DECISION, self._number, *self._head(), *said))

    def _decision(self, index: Index, entry: Entry) -> Decision:
        return entry_decision(self._view, index, entry)

    @abstractmethod
    def _membership_decided(self, ballot: Ballot) -> None:
        """A proposal about membership has its outcome."""

    def _outcomes_unknown(self) -> None:
        """This member is cut off for good: what it had open is unknown to it."""
        for key in sorted(self._ballots):
            ballot = self._ballots[key]
            if ballot.armed is not None:
                self._disarm("answer", key)
            if ballot.content is not None and not ballot.index:
                entry: Entry = (key, Outcome.UNKNOWN, ballot.content, *ballot.said())
                self._out.append(Decided(self._decision(NO_INDEX, entry), ballot.handle))
        for handle, _, _ in self._backlog:
            self._out.append(Abandoned(handle, None))
        self._backlog.clear()

    # -- polling -----------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send the votes that were gathered, as one message."""
        if self._accepts:
            keys = tuple(self._accepts)
            self._accepts.clear()
            fields = (VOTE, self._number, self._clock, self._order.index, keys)
            self._broadcast(_new(VoteMessage, fields))

    def poll(self) -> list[Output]:
        """Everything that is to be done, in order. Call it after any input."""
        while self._marks_moved:  # Alone in a view, what is proposed now is settled now.
            self._collect()
        stall = self._stall
        if (
            bool(self._order.queue) is not self._watching
            or stall.key
            or stall.wanted
            or self._backlog
        ):
            self._watch()
        if self._accepts:
            self._flush()
        if (
            (
                self._order.index - self._sent_mark >= self._mark_every
                or self._unmarked_bytes * 4 >= self._window_bytes
            )
            and self._phase == Phase.MEMBER
            and self.config.ordered
        ):
            fields = (MARK, self._number, self._clock, self._order.index)
            self._broadcast(_new(MarkMessage, fields))
        out = self._out
        self._out = []
        return out

    def _collect(self) -> None:
        """Forget what everyone has delivered, and use the room in the window (R15)."""
        self._marks_moved = False
        order = self._order
        stable = min(order.index, min(order.marks) if order.marks else NO_INDEX)
        if self._committed_changes:
            cap = self._cap()
            if cap is not None and cap < stable:
                stable = cap
        if stable > order.stable:
            order.stable = stable
            log = order.log
            ballots = self._ballots
            while log and ballots[log[0]].index <= stable:
                self._forget(log.popleft())
        if self._backlog:
            self._drain_backlog()

    def _drain_backlog(self) -> None:
        backlog = self._backlog
        while backlog and self._phase == Phase.MEMBER and self._may_propose(backlog[0][1]):
            handle, content, resubmit = backlog.popleft()
            members = self._view.members
            if content.kind == KICK and (
                content.subject not in members or not self._may_kick(self._rank)
            ):
                self._out.append(Abandoned(handle, None))  # It is out already, or this needs two.
            else:
                self._propose_now(handle, content, resubmit)

    @abstractmethod
    def _propose_now(self, handle: Handle, content: Content, resubmit: bool) -> Key:
        """Propose at once; returns the key."""
