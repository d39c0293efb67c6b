"""The ordinary path: propose, vote, note, settle, deliver."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, ClassVar

from .ballot import WAITS_APPLICATION, Ballot
from .base import RANK_MASK, GroupBase, Phase
from .config import (
    ANSWER_SIZE_MAX,
    BACKLOG_MAX,
    BLOBS_MAX,
    BODY_SIZE_MAX,
    DEADLINE_MS_MAX,
    KIND_SIZE_MAX,
    REASON_SIZE_MAX,
)
from .errors import GroupBusy, GroupClosed, GroupError, GroupSuspended
from .kinds import ANSWER, DECISION, MARK, NOTED, PROPOSE, REJECT, VOTE
from .outputs import Abandoned, Arm, Decided, Disarm, Output, VoteWanted
from .types import (
    KICK,
    RANK_BITS,
    Content,
    Decision,
    Entry,
    Member,
    Message,
    Outcome,
    Proposal,
    ProposalId,
    Ticket,
    Timer,
    Vote,
)

CONTENT_OVERHEAD = 64
"""Bytes a content costs beside its body, for the window's account."""

ACCEPT = Vote(True)
COMMITTED, REJECTED = Outcome.COMMITTED, Outcome.REJECTED
NO_ANSWER = "no answer in time"
UNREACHABLE = "unreachable"

Handler = Callable[[Any, int, Message], None]

# Named tuples are made by thousands here, and this makes them twice as fast as calling them.
_new = tuple.__new__


def check_content(content: Content) -> None:
    """Raise `GroupError` unless the content is within the bounds of `config`."""
    kind, body, blobs, deadline_ms, _, _ = content
    if not 0 < len(kind.encode()) <= KIND_SIZE_MAX:
        raise GroupError(f"a kind has 1 to {KIND_SIZE_MAX} bytes")
    if len(body) > BODY_SIZE_MAX:
        raise GroupError(f"a body has at most {BODY_SIZE_MAX} bytes")
    if blobs and (len(blobs) > BLOBS_MAX or any(len(root) != 32 for root, _ in blobs)):
        raise GroupError(f"at most {BLOBS_MAX} blobs, each named by a root of 32 bytes")
    if not 0 < deadline_ms <= DEADLINE_MS_MAX:
        raise GroupError(f"a deadline is 1 to {DEADLINE_MS_MAX} ms")


class Ordinary(GroupBase):
    _handlers: ClassVar[dict[int, Handler]] = {}

    # -- inputs ------------------------------------------------------------------------------

    def propose(self, content: Content, *, resubmit: bool = True) -> Ticket:
        """Propose to everybody; proposing is accepting. The outcome comes with this ticket.

        An abandoned proposal is submitted again in the next view unless `resubmit` is False.
        Raises `GroupClosed`, `GroupSuspended`, `GroupBusy`, or `GroupError` for bad content.
        """
        if self._phase != Phase.MEMBER:
            raise GroupClosed("not a member")
        if self._suspended:
            raise GroupSuspended("no quorum is heard")
        check_content(content)
        if content.kind[0] == "@" or content.subject is not None or content.where:
            raise GroupError("kinds that start with @ are reserved")
        if len(self._backlog) >= BACKLOG_MAX:
            raise GroupBusy("window and backlog are full")
        return self._propose_soon(content, resubmit=resubmit)

    def answer(self, proposal: ProposalId, vote: Vote) -> None:
        """The application's vote on a `VoteWanted`. Too late or twice, it is ignored."""
        _, said, why = vote
        if (said and len(said) > ANSWER_SIZE_MAX) or (why and len(why.encode()) > REASON_SIZE_MAX):
            raise GroupError(f"answers have {ANSWER_SIZE_MAX}, reasons {REASON_SIZE_MAX} bytes")
        view, clock, proposer = proposal
        rank = self._rank_of.get(proposer)
        if view != self._number or rank is None:
            return
        ballot = self._ballots.get(clock << RANK_BITS | rank)
        if ballot is None or not ballot.waits & WAITS_APPLICATION:
            return
        self._answered(ballot, WAITS_APPLICATION, vote)

    # -- proposing ---------------------------------------------------------------------------

    def _propose_soon(self, content: Content, *, resubmit: bool = True) -> Ticket:
        ticket = self._next_ticket
        self._next_ticket = ticket + 1
        if self._backlog or not self._may_propose(content):
            self._backlog.append((ticket, content, resubmit))
        else:
            self._propose_now(ticket, content, resubmit)
        return ticket

    def _may_propose(self, content: Content) -> bool:
        rank = self._rank
        return (
            not self._synod.wedged
            and self._open[rank] < self._window
            and self._open_bytes[rank] + len(content.body) + CONTENT_OVERHEAD <= self._window_bytes
        )

    def _propose_now(self, ticket: Ticket, content: Content, resubmit: bool) -> int:
        clock = self._clock = self._next_clock()
        key = clock << RANK_BITS | self._rank
        ballot = Ballot(key, content, self._bit)
        ballot.ticket = ticket
        ballot.resubmit = resubmit
        self._hold(ballot, self._rank)
        self._broadcast((PROPOSE, self._number, clock, self._order.index, content))
        if content[4] is not None:
            self._proposed_membership(ballot)
        if self._commit_ready(ballot):
            self._settle(ballot, COMMITTED)
            self._deliver()
        return key

    def _proposed_membership(self, ballot: Ballot) -> None:
        raise NotImplementedError

    def _next_clock(self) -> int:
        """A proposal's clock is higher than anything its proposer has seen or said."""
        return self._clock + 1

    def _hold(self, ballot: Ballot, rank: int) -> None:
        self._ballots[ballot.key] = ballot
        self._open[rank] += 1
        assert ballot.content is not None
        self._open_bytes[rank] += len(ballot.content.body) + CONTENT_OVERHEAD
        if self.config.ordered:
            self._order.add(ballot.key)

    def _forget(self, key: int) -> None:
        content = self._ballots.pop(key).content
        rank = key & RANK_MASK
        assert content is not None
        self._open[rank] -= 1
        self._open_bytes[rank] -= len(content[1]) + CONTENT_OVERHEAD

    def _drain_backlog(self) -> None:
        backlog = self._backlog
        while backlog and self._phase == Phase.MEMBER and self._may_propose(backlog[0][1]):
            ticket, content, resubmit = backlog.popleft()
            if content.kind == KICK and content.subject not in self._view.members:
                self._out.append(Abandoned(ticket, None))  # it is out already
            else:
                self._propose_now(ticket, content, resubmit)

    # -- voting ------------------------------------------------------------------------------

    def _answered(self, ballot: Ballot, what: int, vote: Vote) -> None:
        """One of the things an own vote waited for has come."""
        ballot.waits &= ~what
        if not vote.accept:
            ballot.waits = 0
        elif vote.answer:
            ballot.give_answer(self._rank, vote.answer)
        if not ballot.waits:
            self._vote(ballot, vote)
            self._deliver()

    def _vote(self, ballot: Ballot, vote: Vote) -> None:
        """Cast one's own vote; the caller delivers."""
        if not self._may_vote(ballot):
            return
        if ballot.armed is not None:
            self._out.append(_new(Disarm, (ballot.armed,)))
            ballot.armed = None
        bit = self._bit
        if vote.accept:
            ballot.accepted |= bit
            if ballot.answers is not None and self._rank in ballot.answers:
                self._broadcast(
                    (ANSWER, self._number, *self._head(), ballot.key, ballot.answers[self._rank])
                )
            else:
                self._accepts.append(ballot.key)
            if self._commit_ready(ballot):
                self._settle(ballot, COMMITTED)
        else:
            ballot.rejected |= bit
            ballot.noted |= bit
            ballot.give_reason(self._rank, vote.reason)
            if ballot.answers is not None:
                ballot.answers.pop(self._rank, None)
            self._broadcast((REJECT, self._number, *self._head(), ballot.key, vote.reason))
            if self._may_report_reject(ballot):
                self._settle(ballot, REJECTED)

    def _learn_reject(self, ballot: Ballot) -> None:
        """Store a reject somebody else voted and say so, unless the votes already suffice."""
        if self._may_note(ballot):
            ballot.noted |= self._bit
            ballot.waits = 0
            if ballot.armed is not None:
                self._out.append(Disarm(ballot.armed))
                ballot.armed = None
            if self._view.is_quorum(self._full & ~ballot.rejected):
                rank, reason = min(ballot.reasons.items()) if ballot.reasons else (0, "")
                self._broadcast((NOTED, self._number, *self._head(), ballot.key, rank, reason))
        if not ballot.outcome and ballot.content is not None and self._may_report_reject(ballot):
            self._settle(ballot, REJECTED)

    def _no_answer(self, key: int) -> None:
        """The deadline of one's own answer has come."""
        ballot = self._ballots.get(key)
        if ballot is None or not ballot.waits or ballot.armed is None:
            return
        ballot.armed = None
        reason = NO_ANSWER if ballot.waits & WAITS_APPLICATION else UNREACHABLE
        if self.config.on_silence_kick and reason == NO_ANSWER and len(self._view.members) > 1:
            self._leave_because(NO_ANSWER)
            return
        ballot.waits = 0
        self._vote(ballot, Vote(False, reason=reason))
        self._deliver()

    def _leave_because(self, reason: str) -> Ticket:
        raise NotImplementedError

    def _consider(self, ballot: Ballot) -> None:
        """Somebody else's proposal about membership: the engine has a say in it."""
        raise NotImplementedError

    def _want_vote(self, ballot: Ballot) -> None:
        content = ballot.content
        assert content is not None
        key = ballot.key
        ballot.armed = timer = _new(Timer, ("answer", key))
        out = self._out
        if ballot.waits & WAITS_APPLICATION:
            proposer = self._view[1][key & RANK_MASK]
            proposal = _new(ProposalId, (self._number, key >> RANK_BITS, proposer))
            out.append(_new(VoteWanted, (_new(Proposal, (proposal, content)),)))
        out.append(_new(Arm, (timer, content[3] / 1000)))

    # -- messages ----------------------------------------------------------------------------

    def _on_propose(self, rank: int, message: Message) -> None:
        content: Content = message[4]
        key: int = message[2] << RANK_BITS | rank
        size = len(content[1]) + CONTENT_OVERHEAD
        if (
            self._open[rank] >= 2 * self._window
            or self._open_bytes[rank] + size > 2 * self._window_bytes
        ):
            self._accuse(self._view.members[rank], "window exceeded")
            return
        ballot = self._ballots.get(key)
        if ballot is None:
            ballot = Ballot(key, content, 1 << rank)
        else:
            self._early -= 1
            ballot.content = content
            ballot.accepted |= 1 << rank
        self._ballots[key] = ballot
        self._open[rank] += 1
        self._open_bytes[rank] += size
        if self.config.ordered:
            heappush(self._order.queue, key)
        if ballot.noted:
            self._learn_reject(ballot)
        if not self._may_vote(ballot):
            if self._commit_ready(ballot) and not ballot.outcome:
                self._settle(ballot, COMMITTED)
        elif content[4] is not None:
            self._consider(ballot)
        else:
            ballot.waits = WAITS_APPLICATION
            self._want_vote(ballot)

    def _ballot_of(self, rank: int, key: int, limit: int) -> Ballot | None:
        """The ballot a vote is about, or None after accusing who sent an impossible one. A vote's
        clock is not below its proposal's: `limit` is the highest key of the vote's clock.

        The vote may be here before the proposal, as long as the proposer's lane can still bring
        it; votes of that kind are bounded by what all windows hold.
        """
        ballot = self._ballots.get(key)
        proposer = key & RANK_MASK
        if key > limit:
            self._accuse(self._view.members[rank], "vote before its proposal")
            return None
        if ballot is None:
            if (
                proposer >= len(self._open)
                or key >> RANK_BITS <= self._order.heard[proposer]
                or self._early >= 2 * self.config.window_total
            ):
                self._accuse(self._view.members[rank], "vote on no proposal")
                return None
            ballot = self._ballots[key] = Ballot(key, None, 0)
            self._early += 1
        if proposer == rank:
            self._accuse(self._view.members[rank], "second vote")
            return None
        return ballot

    def _on_vote(self, rank: int, message: Message) -> None:
        bit = 1 << rank
        ballots = self._ballots
        limit = message[2] << RANK_BITS | RANK_MASK
        for key in message[4]:
            ballot = ballots.get(key)
            if ballot is None or key & RANK_MASK == rank or key > limit:
                ballot = self._ballot_of(rank, key, limit)
                if ballot is None:
                    return
            if (ballot.accepted | ballot.noted) & bit:
                self._accuse(self._view.members[rank], "second vote")
                return
            ballot.accepted |= bit
            if self._commit_ready(ballot) and not ballot.outcome:
                self._settle(ballot, COMMITTED)

    def _on_answer(self, rank: int, message: Message) -> None:
        ballot = self._ballot_of(rank, message[4], message[2] << RANK_BITS | RANK_MASK)
        if ballot is None:
            return
        if (ballot.accepted | ballot.noted) >> rank & 1:
            self._accuse(self._view.members[rank], "second vote")
            return
        ballot.accepted |= 1 << rank
        ballot.give_answer(rank, message[5])
        if self._commit_ready(ballot) and not ballot.outcome:
            self._settle(ballot, COMMITTED)

    def _on_reject(self, rank: int, message: Message) -> None:
        ballot = self._ballot_of(rank, message[4], message[2] << RANK_BITS | RANK_MASK)
        if ballot is None:
            return
        if (ballot.accepted | ballot.noted) >> rank & 1:
            self._accuse(self._view.members[rank], "second vote")
            return
        if not self._may_be_rejected(ballot, rank):
            self._accuse(self._view.members[rank], "rejected its own kick")
            return
        ballot.rejected |= 1 << rank
        ballot.noted |= 1 << rank
        ballot.give_reason(rank, message[5])
        self._learn_reject(ballot)

    def _may_be_rejected(self, ballot: Ballot, rank: int) -> bool:
        """The target of a kick may not reject it."""
        content = ballot.content
        return (
            content is None
            or content.kind != "@kick"
            or content.subject != self._view.members[rank]
        )

    def _on_noted(self, rank: int, message: Message) -> None:
        ballot = self._ballots.get(message[4])
        if ballot is None or message[4] & RANK_MASK != rank:
            ballot = self._ballot_of(rank, message[4], message[2] << RANK_BITS | RANK_MASK)
        if ballot is None:
            return
        rejecter = message[5]
        if (
            ballot.noted >> rank & 1
            or rejecter == rank
            or rejecter >= len(self._open)
            or (rejecter == self._rank and not ballot.rejected & self._bit)
        ):
            self._accuse(self._view.members[rank], "false note")
            return
        ballot.noted |= 1 << rank
        ballot.give_reason(rejecter, message[6])
        self._learn_reject(ballot)

    def _on_mark(self, rank: int, message: Message) -> None:
        """The header says it all."""

    # -- outcomes ----------------------------------------------------------------------------

    def _settle(self, ballot: Ballot, outcome: Outcome) -> None:
        ballot.outcome = outcome
        if not self.config.ordered:
            self._finish(ballot)
            self._forget(ballot.key)
            self._marks_moved = True

    def _deliver(self) -> None:
        changed = False
        order = self._order
        queue = order.queue
        while (ballot := self._next_deliverable()) is not None:
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
            self._marks_moved = True
        ballot.waits = 0
        out = self._out
        if ballot.armed is not None:
            out.append(Disarm(ballot.armed))
            ballot.armed = None
        if ballot.answers is None and ballot.reasons is None:
            proposer = self._view[1][key & RANK_MASK]
            proposal = _new(ProposalId, (self._number, key >> RANK_BITS, proposer))
            decision = _new(Decision, (proposal, ballot.index, content, ballot.outcome, (), ()))
        else:
            decision = self._decision(ballot.index, self._entry(ballot))
        out.append(_new(Decided, (decision, ballot.ticket)))
        if self._feeds:
            for joiner, upto in self._feeds.items():
                self._feed(joiner, upto, ballot)
        if content[4] is not None:
            self._membership_decided(ballot)

    def _feed(self, joiner: Member, upto: int, ballot: Ballot) -> None:
        if ballot.index > upto:
            self._feeds[joiner] = ballot.index
            message = (DECISION, self._number, *self._head(), ballot.index, self._entry(ballot))
            self._tell(joiner, message)

    def _decision(self, index: int, entry: Entry) -> Decision:
        key, outcome, content, answers, reasons = entry
        members = self._view.members
        return Decision(
            self._proposal_id(key),
            index,
            content,
            Outcome(outcome),
            tuple((members[r], answer) for r, answer in answers) if answers else (),
            tuple((members[r], reason) for r, reason in reasons) if reasons else (),
        )

    def _membership_decided(self, ballot: Ballot) -> None:
        raise NotImplementedError

    def _outcomes_unknown(self) -> None:
        """This member is cut off for good: what it had open is unknown to it."""
        for key in sorted(self._ballots):
            ballot = self._ballots[key]
            if ballot.armed is not None:
                self._disarm("answer", key)
            if ballot.content is not None and not ballot.index:
                entry = (key, Outcome.UNKNOWN, ballot.content, *ballot.said())
                self._out.append(Decided(self._decision(0, entry), ballot.ticket))
        for ticket, _, _ in self._backlog:
            self._out.append(Abandoned(ticket, None))
        self._backlog.clear()

    # -- polling -----------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send the votes that were gathered, as one message."""
        if self._accepts:
            keys = tuple(self._accepts)
            self._accepts.clear()
            self._broadcast((VOTE, self._number, self._clock, self._order.index, keys))

    def poll(self) -> list[Output]:
        """Everything that is to be done, in order. Call it after any input."""
        if self._marks_moved:
            self._collect()
        if self._accepts:
            self._flush()
        if (
            self._order.index - self._sent_mark >= self._mark_every
            and self._phase == Phase.MEMBER
            and self.config.ordered
        ):
            self._broadcast((MARK, self._number, self._clock, self._order.index))
        out = self._out
        self._out = []
        return out

    def _collect(self) -> None:
        """Rule 15: forget what everyone has delivered, and use the room in the window."""
        self._marks_moved = False
        order = self._order
        stable = min(order.index, min(order.marks, default=0))
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
