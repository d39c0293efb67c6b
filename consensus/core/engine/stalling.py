"""Who is heard and makes no progress, and what is asked before anybody says so."""

from __future__ import annotations

from consensus.core.config import STALL_TICKS
from consensus.core.engine.failure_detection import FailureDetection
from consensus.core.engine.state import Phase
from consensus.core.message_fields import StalledMessage, StallMessage
from consensus.core.message_kinds import STALL, STALLED
from consensus.core.numbers import RANK_BITS, RANK_MASK, Clock, Index, Key, Mask, Rank
from consensus.core.tables.ballot import WAITS_SECOND
from consensus.core.tables.stall import (
    LACKS,
    LATE,
    NO_KEY,
    VOTED,
    WAITS,
    WEDGED,
    hangs,
    makes_no_progress,
)
from consensus.core.types import Member
from consensus.core.view import ranks


class Stalling(FailureDetection):
    """The layer that waits for the lowest open proposal, and finds out who holds it up."""

    # -- the wait ----------------------------------------------------------------------------

    def _held_up(self) -> Key:
        """What is waited for: the lowest proposal that is not delivered, one that somebody else
        waits for and that never came, or what keeps the window full (S5)."""
        order, stall = self._order, self._stall
        lowest = order.queue[0] if order.queue else NO_KEY
        if stall.wanted and (not lowest or stall.wanted < lowest):
            return stall.wanted
        if not lowest and self._backlog and order.log:
            return order.log[0]
        return lowest

    def _watch(self) -> None:
        """Have the timer run while something is waited for that the others could bring (S1)."""
        stall, frozen = self._stall, self._synod.wedged
        able = self._phase == Phase.MEMBER and self.config.changes and not self._suspended
        key = self._held_up() if able and not frozen else NO_KEY
        moved = bool(stall.key) and stall.key != key and not frozen  # What was found stands then.
        if moved:
            self._stall_over()
        if bool(key) != self._watching or (moved and key):
            self._watching = bool(key)
            if key:
                self._arm("stall", self._part_s())
            else:
                self._disarm("stall")

    def _part_s(self) -> float:
        """Time is counted in parts, so that a member that was late itself, or did not run, counts
        one of them at the most; the answers have the whole of it."""
        return self.config.stall_s / (1 if self._stall.turn else STALL_TICKS)

    def _stall_over(self) -> None:
        """What was waited for came, or something else is waited for now."""
        stall = self._stall
        found = stall.suspects | stall.disputes
        stall.begin(NO_KEY, asked=False)
        if found:
            self._weigh()

    def _wait_on(self) -> None:
        """The timer: a part of the time has passed here."""
        if not self._watching:
            return
        self._watching = False  # To be armed again as it is needed.
        stall = self._stall
        key = self._held_up()
        if self._synod.wedged or not key:
            return
        if key != stall.key:
            stall.begin(key, asked=key == stall.wanted)
            return
        stall.waited += STALL_TICKS if stall.turn else 1
        if stall.waited >= STALL_TICKS:
            if stall.turn:
                self._judge()
            if self._synod.wedged:
                return  # They are being removed.
            stall.turn += 1
            self._broadcast(StallMessage(STALL, self._number, *self._head(), key, stall.turn))

    # -- what follows from the answers -------------------------------------------------------

    def _judge(self) -> None:
        """The answers of this turn had their time."""
        stall = self._stall
        if self._lacks(stall.key):
            suspects, disputes = self._judge_claim()
        else:
            suspects, disputes = self._judge_part()
        stall.suspects, stall.disputes = suspects, disputes
        self._weigh()

    def _judge_part(self) -> tuple[Mask, Mask]:
        """Whose part is missing: who shows that it stands still, and who says that it has done it,
        which is a word against another (S3)."""
        stall, matrix = self._stall, self._matrix
        ballot = self._ballots[stall.key]
        assert ballot.content is not None
        parts_s = stall.waited * self.config.stall_s / STALL_TICKS
        over = parts_s > ballot.content.deadline_ms / 1000 + 2 * self.config.stall_s
        suspects = disputes = 0
        unsaid, behind = self._missing(stall.key)
        for rank in ranks(unsaid | behind):
            said, bit = stall.said.get(rank), 1 << rank
            excused = bool(matrix.down[rank] | matrix.stalled[rank] | matrix.disputed[rank])
            done = said is not None and said.turn == stall.turn and said.did == VOTED
            if done and said is not None and not said.pending and unsaid & bit:
                disputes |= bit
            elif makes_no_progress(said, stall.turn, patience_over=over, excused=excused):
                suspects |= bit
        return suspects, disputes

    def _missing(self, key: Key) -> tuple[Mask, Mask]:
        """Who has not shown its vote or its clock here, and who has not delivered."""
        ballot, order = self._ballots[key], self._order
        if ballot.index:
            marks = enumerate(order.marks)
            return 0, sum(1 << r for r, mark in marks if mark < ballot.index) & ~self._bit
        unsaid = 0 if ballot.outcome else self._full & ~(ballot.accepted | ballot.noted)
        clock = key >> RANK_BITS
        unsaid |= sum(1 << rank for rank, heard in enumerate(order.heard) if heard < clock)
        return unsaid & ~self._bit, 0

    def _judge_claim(self) -> tuple[Mask, Mask]:
        """Somebody waits for a proposal that never came here. Its proposer has made it, and so did
        not send it; or has not, and who asked for it is not to be believed; or says nothing."""
        stall = self._stall
        proposer = stall.key & RANK_MASK
        said = stall.said.get(proposer)
        if said is None or said.turn < stall.turn:
            return 1 << proposer, 0
        if said.did == LACKS:
            stall.wanted = NO_KEY
            stall.unbelieved |= 1 << stall.claimant
            return 0, 0
        if said.pending:
            return (1 << proposer if hangs(said) else 0), 0
        return 0, 1 << proposer

    def _lacks(self, key: Key) -> bool:
        ballot = self._ballots.get(key)
        return key > self._order.last_key and (ballot is None or ballot.content is None)

    # -- messages ----------------------------------------------------------------------------

    def did_about(self, key: Key) -> int:
        """What this member did about a proposal of its view, as its answer says."""
        if self._synod.wedged:
            return WEDGED
        if self._lacks(key):
            return LACKS
        ballot = self._ballots.get(key)
        if ballot is None or ballot.index or (ballot.accepted | ballot.noted) & self._bit:
            return VOTED
        return WAITS if ballot.armed is not None or ballot.waits & WAITS_SECOND else LATE

    def _on_stall(self, rank: Rank, message: StallMessage) -> None:
        """Somebody waits. In a durable group it is answered past the disk, by what stands around
        this object (S2)."""
        key, stall = message.key, self._stall
        proposer = key & RANK_MASK
        if proposer >= len(self._view.members) or (self._lacks(key) and proposer == rank):
            self._accuse(self._view.members[rank], "asks for what nobody proposed")
            return
        lacks = self._lacks(key) and proposer != self._rank
        if lacks and not self._synod.wedged and not stall.wanted:
            stall.wanted, stall.claimant = key, rank
        if not self.config.durable:
            said = key, message.turn, self.did_about(key), 0
            answer = StalledMessage(STALLED, self._number, Clock(0), Index(0), *said)
            self._tell(self._view.members[rank], answer)

    def stalled(self, sender: Member, message: StalledMessage) -> None:
        """The answer of a member, which no lane orders."""
        rank = self._rank_of.get(sender)
        if rank is None or message.view != self._number or message.key != self._stall.key:
            return
        stall, pending = self._stall, message.pending if self.config.durable else 0
        stall.hear(rank, message.turn, message.did, pending)
        if not hangs(stall.said[rank]) or stall.suspects >> rank & 1:
            return
        unsaid, behind = (1 << rank, 0) if self._lacks(stall.key) else self._missing(stall.key)
        if (unsaid | behind) >> rank & 1:  # It says so itself, and has had a whole turn.
            stall.suspects |= 1 << rank
            self._weigh()

    def _came(self) -> None:
        """A proposal that somebody else waited for may be here now."""
        stall = self._stall
        if not self._lacks(stall.wanted):
            if stall.key == stall.wanted:
                self._stall_over()
            stall.wanted = NO_KEY
