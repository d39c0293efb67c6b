"""The ordinary path: propose, vote, note."""

from __future__ import annotations

from abc import abstractmethod
from heapq import heappush

from consensus.core.config import (
    ANSWER_SIZE_MAX,
    BACKLOG_MAX,
    BLOBS_MAX,
    BODY_SIZE_MAX,
    CONTENT_OVERHEAD,
    DEADLINE_MS_MAX,
    KIND_SIZE_MAX,
    REASON_SIZE_MAX,
    VOTE_KEYS_MAX,
)
from consensus.core.engine.delivery import DEPARTURES, Delivery
from consensus.core.engine.state import Phase
from consensus.core.errors import GroupBusy, GroupClosed, GroupError, GroupSuspended
from consensus.core.message_fields import (
    AnswerMessage,
    MarkMessage,
    NotedMessage,
    ProposeMessage,
    RejectMessage,
    VoteMessage,
)
from consensus.core.message_kinds import ANSWER, NOTED, PROPOSE, REJECT
from consensus.core.numbers import RANK_BITS, RANK_MASK, Clock, Key, Rank
from consensus.core.outputs import Arm, Disarm, VoteWanted
from consensus.core.tables.ballot import WAITS_APPLICATION, WAITS_REACH, WAITS_SECOND, Ballot
from consensus.core.types import JOIN, Content, Handle, Outcome, Proposal, ProposalId, Timer, Vote

ACCEPT = Vote(True)
COMMITTED, REJECTED = Outcome.COMMITTED, Outcome.REJECTED
NO_ANSWER = "no answer in time"
UNREACHED = Vote(False, reason="unreachable")

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


class Voting(Delivery):
    """The layer of proposals and votes."""

    # -- inputs ------------------------------------------------------------------------------

    def propose(self, content: Content, *, resubmit: bool = True) -> Handle:
        """Propose to everybody; proposing is accepting (OP1). The outcome comes with this handle.

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
        self._check_backlog()
        return self._propose_soon(content, resubmit=resubmit)

    def _check_backlog(self) -> None:
        if len(self._backlog) >= BACKLOG_MAX:
            raise GroupBusy("window and backlog are full")

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

    def _propose_soon(
        self, content: Content, *, resubmit: bool = True, handle: Handle | None = None
    ) -> Handle:
        if handle is None:
            handle = self._next_handle
            self._next_handle = handle + 1
        behind = self._backlog and content.kind not in DEPARTURES
        if behind or not self._may_propose(content):
            self._wait(handle, content, resubmit)
        else:
            self._propose_now(handle, content, resubmit)
        return handle

    def _propose_now(self, handle: Handle, content: Content, resubmit: bool) -> Key:
        self._flush()  # Before the clock that the proposal is to be the first to show.
        clock = self._clock = self._next_clock()
        key = clock << RANK_BITS | self._rank
        ballot = Ballot(key, content, self._bit)
        ballot.handle = handle
        ballot.resubmit = resubmit
        self._hold(ballot, self._rank)
        fields = (PROPOSE, self._number, clock, self._order.index, content)
        self._broadcast(_new(ProposeMessage, fields))
        if content[4] is not None:
            self._proposed_membership(ballot)
        if self._commit_ready(ballot):
            self._settle(ballot, COMMITTED)
            self._deliver()
        return key

    @abstractmethod
    def _proposed_membership(self, ballot: Ballot) -> None:
        """An own proposal about membership is under way."""

    def _next_clock(self) -> Clock:
        """A proposal's clock is higher than anything its proposer has seen or said."""
        return self._clock + 1

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
                said = ballot.key, ballot.answers[self._rank]
                fields = (ANSWER, self._number, self._clock, self._order.index, *said)
                self._broadcast(_new(AnswerMessage, fields))
            else:
                self._accepts.append(ballot.key)
                if len(self._accepts) >= VOTE_KEYS_MAX:
                    self._flush()
            if self._commit_ready(ballot):
                self._settle(ballot, COMMITTED)
        else:
            ballot.rejected |= bit
            ballot.noted |= bit
            ballot.give_reason(self._rank, vote.reason)
            if ballot.answers is not None:
                ballot.answers.pop(self._rank, None)
            why = ballot.key, vote.reason
            self._broadcast(RejectMessage(REJECT, self._number, *self._head(), *why))
            if self._may_report_reject(ballot):
                self._settle(ballot, REJECTED)

    def _learn_reject(self, ballot: Ballot) -> None:
        """Store a reject somebody else voted, and say so if need be."""
        if self._may_note(ballot):
            ballot.noted |= self._bit
            ballot.waits = 0
            if ballot.armed is not None:
                self._out.append(Disarm(ballot.armed))
                ballot.armed = None
            if self._must_tell_note(ballot):
                why = min(ballot.reasons.items()) if ballot.reasons else (0, "")
                head = self._number, *self._head()
                self._broadcast(NotedMessage(NOTED, *head, ballot.key, *why))
        if not ballot.outcome and ballot.content is not None and self._may_report_reject(ballot):
            self._settle(ballot, REJECTED)

    def _no_answer(self, key: Key) -> None:
        """The deadline of one's own answer has come."""
        ballot = self._ballots.get(key)
        if ballot is None or not ballot.waits or ballot.armed is None:
            return
        ballot.armed = None
        if ballot.content is not None and ballot.content.kind == JOIN:
            # Nobody is kept out by a program that is late, only by one that says no (R10), and by
            # who has not reached the joiner yet (D38).
            reached = not ballot.waits & WAITS_REACH
            self._answered(ballot, ballot.waits, ACCEPT if reached else UNREACHED)
            return
        if self.config.on_silence_kick and len(self._view.members) > 1:
            self._leave_because(NO_ANSWER)
            return
        ballot.waits = 0
        self._vote(ballot, Vote(False, reason=NO_ANSWER))
        self._deliver()

    @abstractmethod
    def _came(self) -> None:
        """A proposal is here that somebody else may have waited for."""

    @abstractmethod
    def _may_be_seconded(self, ballot: Ballot) -> None:
        """Somebody has accepted a kick whose second member is waited for."""

    @abstractmethod
    def _leave_because(self, reason: str) -> Handle:
        """Propose to leave; returns the handle."""

    @abstractmethod
    def _consider(self, ballot: Ballot) -> None:
        """Somebody else's proposal about membership: the engine has a say in it."""

    def _want_vote(self, ballot: Ballot) -> None:
        content = ballot.content
        assert content is not None
        key = ballot.key
        ballot.armed = timer = _new(Timer, ("answer", key))
        out = self._out
        if ballot.waits & WAITS_APPLICATION:
            proposer = self._view[1][key & RANK_MASK]
            proposal = ballot.id = _new(ProposalId, (self._number, key >> RANK_BITS, proposer))
            out.append(_new(VoteWanted, (_new(Proposal, (proposal, content)),)))
        out.append(_new(Arm, (timer, content[3] / 1000)))

    # -- messages ----------------------------------------------------------------------------

    def _on_propose(self, rank: Rank, message: ProposeMessage) -> None:
        content = message.content
        key = message.clock << RANK_BITS | rank
        size = len(content[1]) + CONTENT_OVERHEAD
        held_bytes = self._open_bytes[rank] + size
        if self._open[rank] >= self._held_max or held_bytes > self._held_bytes_max:
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
        if self._stall.wanted:
            self._came()
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

    def _ballot_of(self, rank: Rank, key: Key, limit: Key) -> Ballot | None:
        """The ballot a vote is about (R16), or None after accusing who sent an impossible one. Its
        clock is not below its proposal's: `limit` is the highest key of the vote's clock.

        The vote may be here before the proposal, as long as the proposer's lane can still bring
        it; those of one voter are bounded by what all windows hold.
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
                or self._too_early(rank)
            ):
                self._accuse(self._view.members[rank], "vote on no proposal")
                return None
            ballot = self._ballots[key] = Ballot(key, None, 0)
            self._early += 1
        if proposer == rank:
            self._accuse(self._view.members[rank], "second vote")
            return None
        return ballot

    def _too_early(self, rank: Rank) -> bool:
        """Whether a voter has as many votes here on what is still to come as it may. Each voter has
        its own account, so that nobody's votes use up another's; while all of them together have
        less than one may, there is nothing to count (D18)."""
        if self._early < self._early_max:
            return False
        bit = 1 << rank
        ballots = self._ballots.values()
        mine = [b for b in ballots if b.content is None and (b.accepted | b.noted) & bit]
        return len(mine) >= self._early_max

    def _on_vote(self, rank: Rank, message: VoteMessage) -> None:
        bit = 1 << rank
        ballots = self._ballots
        limit = message.clock << RANK_BITS | RANK_MASK
        for key in message.keys:
            ballot = ballots.get(key)
            if ballot is None or key & RANK_MASK == rank or key > limit:
                ballot = self._ballot_of(rank, key, limit)
                if ballot is None:
                    return
            if (ballot.accepted | ballot.noted) & bit:
                self._accuse(self._view.members[rank], "second vote")
                return
            ballot.accepted |= bit
            if ballot.waits == WAITS_SECOND:
                self._may_be_seconded(ballot)
            if self._commit_ready(ballot) and not ballot.outcome:
                self._settle(ballot, COMMITTED)

    def _on_answer(self, rank: Rank, message: AnswerMessage) -> None:
        limit = message.clock << RANK_BITS | RANK_MASK
        ballot = self._ballot_of(rank, message.key, limit)
        if ballot is None:
            return
        if (ballot.accepted | ballot.noted) >> rank & 1:
            self._accuse(self._view.members[rank], "second vote")
            return
        if self._synod.wedged:
            return  # D13: this member's promise did not carry it, so the trim may lack it
        ballot.accepted |= 1 << rank
        ballot.give_answer(rank, message.answer)
        if ballot.waits == WAITS_SECOND:
            self._may_be_seconded(ballot)
        if self._commit_ready(ballot) and not ballot.outcome:
            self._settle(ballot, COMMITTED)

    def _on_reject(self, rank: Rank, message: RejectMessage) -> None:
        limit = message.clock << RANK_BITS | RANK_MASK
        ballot = self._ballot_of(rank, message.key, limit)
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
        ballot.give_reason(rank, message.reason)
        self._learn_reject(ballot)

    def _may_be_rejected(self, ballot: Ballot, rank: Rank) -> bool:
        """The target of a kick may not reject it."""
        content = ballot.content
        return (
            content is None
            or content.kind != "@kick"
            or content.subject != self._view.members[rank]
        )

    def _on_noted(self, rank: Rank, message: NotedMessage) -> None:
        key, rejecter = message.key, message.rejecter
        ballot = self._ballots.get(key)
        if ballot is None or key & RANK_MASK != rank:
            ballot = self._ballot_of(rank, key, message.clock << RANK_BITS | RANK_MASK)
        if ballot is None:
            return
        if ballot.noted >> rank & 1 or rejecter == rank or rejecter >= len(self._open):
            self._accuse(self._view.members[rank], "false note")
            return
        ballot.noted |= 1 << rank
        if rejecter == self._rank and not ballot.rejected & self._bit:
            rejecter = rank  # It may have believed somebody else's note (D57).
        ballot.give_reason(rejecter, message.reason)
        self._learn_reject(ballot)

    def _on_mark(self, rank: Rank, message: MarkMessage) -> None:
        """The header says it all."""
