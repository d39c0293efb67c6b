"""Who is heard, who is suspected, and what everybody concludes from it."""

from __future__ import annotations

from abc import abstractmethod

from consensus.core.engine.state import Phase
from consensus.core.engine.voting import Voting
from consensus.core.message_fields import SuspectMessage
from consensus.core.message_kinds import SUSPECT
from consensus.core.numbers import RANK_BITS, Mask, Rank
from consensus.core.outputs import Ended, Lost, Suspended
from consensus.core.tables.ballot import Ballot
from consensus.core.types import Member, OpenProposal

_NOBODY: frozenset[Member] = frozenset()
LINKS_MAX = 64
"""Members beyond the view whose link is remembered: joiners that may be members soon."""


class FailureDetection(Voting):
    """The layer of links and suspicions."""

    def link(self, member: Member, up: bool) -> None:
        """The transport hears this member (again), or neither directly nor by relay any more."""
        if self._phase == Phase.JOINING and up:
            self._reach(member)
        was = member in self._down
        if was != up or member == self.me or self._phase in (Phase.OUT, Phase.ENDED):
            return
        if up:
            self._down = tuple(m for m in self._down if m != member)
        else:
            # Of those who are long gone nobody says that they are heard again: they make room.
            kept = self._down
            if len(kept) >= LINKS_MAX:
                kept = tuple(m for m in kept if m in self._view.members)
            self._down = tuple(sorted((*kept, member)))
        if member in self._view.members:
            self._links_changed()

    def lost(self, member: Member) -> None:
        """This incarnation has ended; nothing will ever come from it again."""
        if member in self._gone or self._phase in (Phase.OUT, Phase.ENDED):
            return
        if member != self._sponsor and not self._expected(member):
            return
        self._gone = tuple(sorted((*self._gone, member)))
        self._joiner_gone(member)
        if self._phase == Phase.JOINING and member == self._sponsor:
            self._lose("the sponsor is gone")
        elif member in self._view.members:
            if not self.config.changes:
                self._lose("the other is gone")
                return
            self._links_changed()
            if not self._view.is_quorum(self._full & ~self._view.mask(self._gone)):
                self._arm("lost", self.config.lost_s)

    @abstractmethod
    def _reach(self, member: Member) -> None:
        """A joiner hears somebody."""

    @abstractmethod
    def _expected(self, member: Member) -> bool:
        """A member of this view, or somebody whose join was proposed in it, or is about to be."""

    @abstractmethod
    def _joiner_gone(self, joiner: Member) -> None:
        """An incarnation has ended, which may be one that this member sponsors."""

    def _silent(self) -> Mask:
        """Mask of those this member itself does not hear."""
        if not self._down and not self._gone:
            return 0
        return self._view.mask(self._down + self._gone) & ~self._bit

    def _links_changed(self) -> None:
        if self._phase != Phase.MEMBER:
            return
        silent = self._silent()
        if not self.config.changes:
            if silent:
                self._arm("lost", self.config.lost_s)
            else:
                self._disarm("lost")
            return
        alone = not self._view.is_quorum(self._full & ~silent)
        healed = self._suspended and not alone
        if alone != self._suspended:
            self._suspended = alone
            self._out.append(Suspended(alone))
        self._weigh(tell=healed)
        if healed:
            self._drain_backlog()

    def _weigh(self, tell: bool = False) -> None:
        """Work out one's own row of the matrix, tell it if it changed, act on the whole (D5)."""
        matrix = self._matrix
        view = self._view
        wanted = self._removal_wanted()
        open_question = bool(wanted & ~matrix.removed(view)) and not self._suspended
        if open_question != self._settling:
            self._settling = open_question
            if open_question:
                self._arm("settle", self.config.settle_s)
            else:
                self._disarm("settle")
        matrix.agreed[self._rank] &= wanted if not self._suspended else 0
        self._tell_row(tell)
        self._reconsider()

    def _removal_wanted(self) -> Mask:
        """What the matrix asks for, one's own row set to what one finds now.

        A distrust that leaves no connected quorum is given up in this view: a target of a kick
        that is heard can do what a member has to, unlike the silent whom nobody could remove
        beside it (D15).
        """
        matrix, stall, rank = self._matrix, self._stall, self._rank
        heard = self._full if not self._suspended else 0
        matrix.down[rank] = heard & (self._silent() | self._distrusted)
        matrix.stalled[rank] = heard & stall.suspects
        charged = sum(1 << other for other, _ in self._charges)
        matrix.disputed[rank] = heard & (stall.disputes | stall.unbelieved | charged)
        wanted = matrix.wanted(self._view)
        if wanted is None and self._distrusted:
            self._overdue, self._distrusted = (), 0
            return self._removal_wanted()
        return wanted or 0

    def _tell_row(self, again: bool = False) -> None:
        matrix = self._matrix
        row = matrix.row(self._rank)
        if again or row != matrix.told:
            matrix.told = row
            self._broadcast(SuspectMessage(SUSPECT, self._number, *self._head(), *row))

    def _settled(self) -> None:
        """The matrix stood long enough: agree to the removal it asks for."""
        if not self._settling:
            return
        self._settling = False
        self._matrix.agreed[self._rank] = self._matrix.wanted(self._view) or 0
        self._tell_row()
        self._reconsider()

    def _on_suspect(self, rank: Rank, message: SuspectMessage) -> None:
        row = message[4:]
        down, agreed, stalled, disputed = row
        if max(row) > self._full or (down | stalled | disputed) >> rank & 1:
            self._accuse(self._view.members[rank], "suspects nobody there")
            return
        self._matrix.set_row(rank, down, agreed, stalled, disputed)
        self._weigh()
        if self._charges:
            self._press_charges()

    @abstractmethod
    def _press_charges(self) -> None:
        """Ask for the kicks of those whom somebody else accuses, too."""

    def _lose(self, reason: str) -> None:
        self._outcomes_unknown()
        self._out.append(Lost(reason))
        self._end()

    def _lost_for_good(self) -> None:
        """The `lost` timer: the silence lasted."""
        if self._phase != Phase.MEMBER:
            return
        if not self.config.changes:
            if self._silent():
                self._lose("the other is silent")
        elif not self._view.is_quorum(self._full & ~self._view.mask(self._gone)):
            self._lose("a majority is gone")

    def _end(self) -> None:
        """Forget everything; nothing is sent or taken any more."""
        self._phase = Phase.ENDED
        self._rank_of = {}
        self._stopped = {}
        self._ballots = {}
        self._order.queue.clear()
        self._order.log.clear()
        self._accepts.clear()
        self._backlog.clear()
        self._sponsored = {}
        self._out.append(Ended())

    def _unsaid_by(self, ballot: Ballot) -> Mask:
        """Mask of those whose vote, or in an order whose clock, an open proposal waits for."""
        mask = self._full & ~(ballot.accepted | ballot.noted)
        if self.config.ordered:
            clock = ballot.key >> RANK_BITS
            for rank, heard in enumerate(self._order.heard):
                if heard < clock and rank != self._rank:
                    mask |= 1 << rank
        return mask

    def open_proposals(self) -> tuple[OpenProposal, ...]:
        """What was not delivered here, in the order in which it will be."""
        members, wedged = self._view.members, self._synod.wedged
        found = []
        for key in sorted(self._ballots):
            ballot = self._ballots[key]
            if ballot.content is None or ballot.index:
                continue
            missing = 0 if wedged or ballot.outcome else self._unsaid_by(ballot)
            waits_for = tuple(m for r, m in enumerate(members) if missing >> r & 1)
            proposal, kind = self._proposal_id(key), ballot.content.kind
            found.append(OpenProposal(proposal, kind, waits_for, bool(ballot.rejected)))
        return tuple(found)

    @property
    def waiting_proposals(self) -> int:
        """Own proposals that wait for room in the window, or for the next view."""
        return len(self._backlog)

    @property
    def suspicions(self) -> tuple[tuple[Member, tuple[Member, ...]], ...]:
        """Members of the view that somebody does not hear, each with those who say so."""
        members, down = self._view.members, list(self._matrix.down)
        if self._rank >= 0:
            down[self._rank] |= self._silent()
        return tuple(
            (member, by)
            for rank, member in enumerate(members)
            if (by := tuple(m for m, row in zip(members, down, strict=False) if row >> rank & 1))
        )

    @property
    def awaited(self) -> frozenset[Member]:
        """Whom to probe quickly: those whose vote, lane, lease, promise or INSTALL is waited for,
        and those somebody else does not hear."""
        if self._phase != Phase.MEMBER:
            return frozenset(m for m in (self._sponsor,) if m is not None and not self._phase)
        if not self.config.changes:  # Nothing but votes.
            return frozenset(self._others) if self._ballots else _NOBODY
        mask = 0
        synod = self._synod
        if synod.wedged:
            if synod.leading and synod.accepted != synod.leading:
                mask = sum(1 << rank for rank in synod.promises) ^ self._full
            else:
                mask = self._full
        elif self._order.queue:
            mask = self._unsaid_by(self._ballots[self._order.queue[0]])
        if self._leases.granters:
            mask |= self._full & ~self._leases.granters
        for cut in self._matrix.down:
            mask |= cut
        mask &= ~self._bit
        if not mask:
            return _NOBODY
        return frozenset([m for r, m in enumerate(self._view.members) if mask >> r & 1])
