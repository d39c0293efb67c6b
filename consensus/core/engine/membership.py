"""Joins by sponsor, leaves and kicks."""

from __future__ import annotations

from consensus.core.config import JOIN_ATTEMPTS_MAX, SNAPSHOT_SIZE_MAX, WHERE_SIZE_MAX
from consensus.core.engine.kicks import Kicks
from consensus.core.engine.state import Phase
from consensus.core.engine.voting import ACCEPT, UNREACHED, check_content
from consensus.core.errors import GroupBusy, GroupError
from consensus.core.message_fields import (
    DecisionMessage,
    ExpelledMessage,
    ReadyMessage,
    SnapshotMessage,
)
from consensus.core.message_kinds import EXPELLED, READY, SNAPSHOT
from consensus.core.numbers import RANK_MASK, Index, Key
from consensus.core.outputs import (
    Abandoned,
    Decided,
    ReachWanted,
    SnapshotReceived,
    SnapshotWanted,
)
from consensus.core.tables.ballot import WAITS_APPLICATION, WAITS_REACH, Ballot
from consensus.core.tables.membership_rules import Sponsorship, is_sound, reason_text, removal
from consensus.core.types import (
    JOIN,
    KICK,
    LEAVE,
    Candidate,
    Content,
    Handle,
    Member,
    Outcome,
    Reasons,
    Vote,
)
from consensus.core.view import VIEW_SIZE_MAX, View

JOINERS_MAX = 4
"""Joiners one member sponsors at a time."""
NO_SNAPSHOT = "the sponsor has no snapshot of the state to give"
LAPSED, FULL = "the join lapsed", "the group is full"


class Membership(Kicks):
    """The layer of joins and leaves, and the joiner's own side."""

    # -- inputs ------------------------------------------------------------------------------

    def sponsor(
        self, joiner: Member, where: bytes, note: bytes = b"", deadline_ms: int = 30_000
    ) -> Handle:
        """Propose that `joiner` be let in. `where` (its addresses) is for the other members'
        shells, `note` for their applications. The outcome of the join comes with the handle, the
        joiner itself with `Installed`. Raises what `propose` raises, and `GroupBusy` while
        JOINERS_MAX others are joining by this member."""
        self._check_member()
        if joiner in self._view.members or joiner in self._sponsored:
            raise GroupError("already a member, or about to be")
        if len(self._view.members) >= VIEW_SIZE_MAX:
            raise GroupError(FULL)
        if len(self._sponsored) >= JOINERS_MAX:
            raise GroupBusy(f"{len(self._sponsored)} others are joining, try again")
        if len(where) > WHERE_SIZE_MAX:
            raise GroupError(f"addresses have at most {WHERE_SIZE_MAX} bytes")
        content = Content(JOIN, note, (), deadline_ms, joiner, where)
        check_content(content)
        handle = self._next_handle
        self._sponsored[joiner] = Sponsorship(content, handle, 1)
        return self._propose_soon(content, resubmit=False)

    @property
    def joiners(self) -> tuple[Member, ...]:
        """Those whose joins may still succeed, whoever sponsors them, as far as this member knows:
        it has to know whether they are heard, and whether they live."""
        subjects = {c[2] for c in self._committed_changes if c[1] == JOIN}
        for ballot in self._ballots.values():
            content = ballot.content
            if content is not None and content.kind == JOIN and content.subject is not None:
                subjects.add(content.subject)
        return tuple(sorted(subjects | self._sponsored.keys()))

    @property
    def sponsoring(self) -> tuple[Member, ...]:
        """Those whose joins by this member may still succeed."""
        return tuple(sorted(self._sponsored))

    def leave(self) -> Handle:
        """Propose to leave. The group is left when `Expelled` comes, not before."""
        self._check_member()
        self._check_backlog()
        return self._leave_because("")

    def _leave_because(self, reason: str) -> Handle:
        return self._propose_soon(removal(LEAVE, reason, self.me))

    def reached(self, member: Member, ok: bool) -> None:
        """The answer to `ReachWanted`. Who is not reached is kept out: let in, it would be out
        again for the link that it lacks (D38)."""
        if self._phase == Phase.JOINING:
            if ok:
                self._reach(member)
            return
        # Several sponsors may have proposed it, and the shell answers once for all of them. A vote
        # may bring the next view, which has other ballots.
        for key in sorted(self._ballots):
            ballot = self._ballots.get(key)
            if (
                ballot is not None
                and ballot.waits & WAITS_REACH
                and ballot.content is not None
                and ballot.content.subject == member
            ):
                self._answered(ballot, WAITS_REACH, ACCEPT if ok else UNREACHED)

    def snapshot(self, joiner: Member, index: Index, data: bytes | None) -> None:
        """The application's state after the decision of this index, for a `SnapshotWanted`; None
        if there is none to be had: the join lapses."""
        if data is None:
            if joiner in self._sponsored and joiner not in self._feeds:
                self._give_up(joiner, NO_SNAPSHOT)
                self._lapse = True
                self._reconsider()
            return
        if len(data) > SNAPSHOT_SIZE_MAX:
            raise GroupError(f"a snapshot has at most {SNAPSHOT_SIZE_MAX} bytes")
        committed = [c for c in self._committed_changes if c[1] == JOIN and c[2] == joiner]
        if not committed or joiner not in self._sponsored or joiner in self._feeds:
            return
        if not committed[0][4] <= index <= self._order.index:
            raise GroupError("a snapshot is of the index asked for, or of a later decision")
        log = [self._ballots[key] for key in self._order.log]
        at = next((b.key for b in log if b.index == index), committed[0][0])
        head = self._number, *self._head()
        members = self._view.members
        self._tell(
            joiner, SnapshotMessage(SNAPSHOT, *head, members, index, at, data, self._strikes)
        )
        self._feeds[joiner] = index
        for ballot in log:
            self._feed(joiner, self._feeds[joiner], ballot)

    # -- voting on membership ----------------------------------------------------------------

    def _consider(self, ballot: Ballot) -> None:
        content = ballot.content
        assert content is not None
        subject = content.subject
        proposer = self._view.members[ballot.proposer]
        allowed = content.kind != KICK or self._may_kick(ballot.proposer)
        if not allowed or not is_sound(content, proposer, self._view):
            self._accuse(proposer, "impossible membership proposal")
            self._vote(ballot, Vote(False, reason="impossible"))
        elif content.kind == JOIN:
            assert subject is not None
            if subject in self._view.members or len(self._view.members) >= VIEW_SIZE_MAX:
                self._vote(ballot, Vote(False, reason="already a member, or full"))
                return
            ballot.waits = WAITS_REACH
            if self.config.asks_application_about_joins:
                ballot.waits |= WAITS_APPLICATION
            self._out.append(ReachWanted(Candidate(subject, content.where)))
            self._want_vote(ballot)
        elif content.kind == KICK:
            self._consider_kick(ballot)
        else:
            self._vote(ballot, ACCEPT)

    def _proposed_membership(self, ballot: Ballot) -> None:
        if ballot.content is not None and ballot.content.kind == KICK:
            self._arm("kick", self.config.kick_s, ballot.key)

    # -- what decided membership sets going --------------------------------------------------

    def _membership_decided(self, ballot: Ballot) -> None:
        content = ballot.content
        assert content is not None
        assert content.subject is not None
        if content.kind == KICK:
            self._disarm("kick", ballot.key)
            self._overdue = tuple(key for key in self._overdue if key != ballot.key)
        outcome = ballot.outcome or Outcome.UNKNOWN
        if outcome == Outcome.COMMITTED:
            reason = reason_text(content)
            self._committed_changes.append(
                (ballot.key, content.kind, content.subject, reason, ballot.index)
            )
            if content.kind == JOIN and ballot.proposer == self._rank:
                self._start_feeding(content.subject, ballot.index)
        _, reasons = ballot.said()
        self._join_settled(ballot.key, content, outcome, reasons)
        if content.subject in self._gone and not self._expected(content.subject):
            self._gone = tuple(m for m in self._gone if m != content.subject)

    def _start_feeding(self, joiner: Member, index: Index) -> None:
        sponsorship = self._sponsored.get(joiner)
        if sponsorship is None:
            return
        if joiner in self._gone:
            self._lapse = True
            return
        self._arm("join", self.config.join_s, sponsorship.handle)
        if self.config.asks_for_snapshots:
            self._out.append(SnapshotWanted(joiner, index))
        else:
            self.snapshot(joiner, index, b"")

    def _join_settled(self, key: Key, content: Content, outcome: Outcome, why: Reasons) -> None:
        """A join that was rejected is over. What else may become of it shows at installation."""
        joiner = content.subject
        if content.kind != JOIN or key & RANK_MASK != self._rank or joiner is None:
            return
        if outcome == Outcome.COMMITTED and joiner in self._sponsored:
            self._sponsored[joiner].settled = True
        if outcome == Outcome.REJECTED and joiner in self._sponsored:
            reason = next((text for _, text in why if text), "rejected")
            del self._sponsored[joiner]
            self._tell(joiner, ExpelledMessage(EXPELLED, self._number, *self._head(), reason))

    def _sponsor_again(self) -> None:
        """In the new view: joins that were not installed have lapsed and are proposed again (R8).
        A change admits one joiner, so those that it passed over have not failed in anything: such a
        lapse is no attempt. It cannot go on for ever, as each time somebody else is in."""
        passed_over = self._record is not None and self._record[1][1] is not None
        full = len(self._view.members) >= VIEW_SIZE_MAX
        waiting = {handle for handle, _, _ in self._backlog}
        for joiner in sorted(self._sponsored):
            sponsorship = self._sponsored[joiner]
            if sponsorship.handle in waiting:
                continue
            self._disarm("join", sponsorship.handle)
            if joiner in self._view.members:
                del self._sponsored[joiner]
            elif (
                (sponsorship.attempts >= JOIN_ATTEMPTS_MAX and not passed_over)
                or joiner in self._down
                or joiner in self._gone
                or full
            ):
                if not sponsorship.settled:
                    self._out.append(Abandoned(sponsorship.handle, None))
                self._give_up(joiner, FULL if full else LAPSED)
            else:
                sponsorship.attempts += not passed_over
                # Under the handle that somebody still waits with, or else under a new one.
                # It is noted first: alone in a view, what is proposed is committed at once.
                if sponsorship.settled:
                    sponsorship.handle = self._next_handle
                    self._next_handle += 1
                content, handle = sponsorship.content, sponsorship.handle
                self._propose_soon(content, resubmit=False, handle=handle)

    def _give_up(self, joiner: Member, reason: str) -> None:
        del self._sponsored[joiner]
        self._tell(joiner, ExpelledMessage(EXPELLED, self._number, *self._head(), reason))

    def _joiner_gone(self, joiner: Member) -> None:
        """Who has given up is not waited for: a change without it lapses its join at once, and it
        may come again. What is not decided yet lapses when it is."""
        if joiner in self._sponsored and joiner in (c[2] for c in self._committed_changes):
            self._lapse = True
            self._reconsider()

    def _sponsor_stops(self) -> None:
        for joiner in sorted(self._sponsored):
            self._give_up(joiner, "the sponsor is out")

    def _join_overdue(self, handle: int) -> None:
        """A joiner was not ready in time: have a change without it, which lapses its join. For a
        joiner's own timer (no handle): it was not admitted in time."""
        if self._phase == Phase.JOINING:
            self._lose("not admitted in time")
        elif any(s.handle == handle for s in self._sponsored.values()):
            self._lapse = True
            self._reconsider()

    def _on_ready(self, sender: Member, message: ReadyMessage) -> None:
        """A joiner has the snapshot; the header's mark says how far it got."""
        if self._is_joiner(sender):
            self._ready[sender] = message.mark, message.reached
            self._marks_moved = True
            self._reconsider()

    def _is_joiner(self, member: Member) -> bool:
        """Whether its join is open or committed in this view."""
        return any(c[1] == JOIN and c[2] == member for c in self._committed_changes) or any(
            b.content is not None and b.content.kind == JOIN and b.content.subject == member
            for b in self._ballots.values()
            if b.outcome in (None, Outcome.COMMITTED)
        )

    # -- the joiner's side -------------------------------------------------------------------

    def _reach(self, member: Member) -> None:
        if member not in self._reached and len(self._reached) < 2 * VIEW_SIZE_MAX:
            self._reached = tuple(sorted((*self._reached, member)))
            self._tell_ready()

    def _receive_from_sponsor(
        self, sender: Member, message: SnapshotMessage | DecisionMessage
    ) -> None:
        if sender != self._sponsor:
            return
        self._clock = max(self._clock, message.clock)
        if message.kind == SNAPSHOT:
            self._on_snapshot(sender, message)
        else:
            self._on_decision(sender, message)

    def _on_snapshot(self, sender: Member, message: SnapshotMessage) -> None:
        number, members, index = message.view, message.members, message.position
        if number <= self._number or sender not in members or self.me in members:
            self._accuse(sender, "impossible snapshot")
            return
        self._strikes = message.strikes
        self._enter(View(number, members, self.config.casting_vote), -1, index)
        self._order.last_key = message.last_key
        self._stopped = {}
        self._told_ready = ()
        self._out.append(SnapshotReceived(index, message.data))
        self._reach(sender)
        for member in members:
            if member not in self._reached:
                self._out.append(ReachWanted(Candidate(member, b"")))
        self._arm("ready", self.config.join_s / 2)
        self._tell_ready()

    def _on_decision(self, sender: Member, message: DecisionMessage) -> None:
        index, entry = message.position, message.entry
        order = self._order
        if message.view != self._number:
            return
        size = len(self._view.members)
        if (
            index != order.index + 1
            or entry[0] <= order.last_key
            or entry[0] & RANK_MASK >= size
            or any(rank >= size for rank, _ in entry[3] + entry[4])
        ):
            self._accuse(sender, "decision out of order")
            return
        order.index = index
        order.last_key = entry[0]
        self._out.append(Decided(self._decision(index, entry), None))
        if index - self._sent_mark >= self._mark_every:
            self._tell_ready(again=True)

    def _tell_ready(self, *, again: bool = False, partly: bool = False) -> None:
        """READY goes to all once all are reached; later again, to move the mark. When the timer
        fires it goes with those reached until then: the others may be on their way out."""
        members = self._view.members
        if self._phase != Phase.JOINING or not members:
            return
        reached = tuple(m for m in members if m in self._reached)
        if again or partly or self._told_ready:
            wanted = bool(again and self._told_ready) or reached != self._told_ready
        else:
            wanted = len(reached) == len(members)
        if wanted:
            self._told_ready = reached
            self._broadcast(ReadyMessage(READY, self._number, *self._head(), reached))
