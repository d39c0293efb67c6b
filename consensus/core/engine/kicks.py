"""Kicks: who may ask for one, and who else has to want it (KT1)."""

from __future__ import annotations

from consensus.core.engine.installation import Installation
from consensus.core.engine.state import Phase
from consensus.core.engine.voting import ACCEPT
from consensus.core.errors import GroupClosed, GroupError, GroupSuspended
from consensus.core.numbers import Key, Mask, Rank
from consensus.core.tables.ballot import WAITS_APPLICATION, WAITS_SECOND, Ballot
from consensus.core.tables.membership_rules import removal
from consensus.core.types import KICK, Content, Handle, Member, Vote

NOT_SEEN = "not seen here"


class Kicks(Installation):
    """The layer of kicks. A kick takes two members that want it: its proposer, and another one that
    is not its target. So no member, whatever it says, removes another one by itself."""

    # -- asking for one ----------------------------------------------------------------------

    def _check_member(self) -> None:
        if self._phase != Phase.MEMBER or not self.config.changes:
            raise GroupClosed("not a member of a group that can change")
        if self._suspended:
            raise GroupSuspended("no quorum is heard")

    def kick(self, member: Member, reason: str = "") -> Handle:
        """Propose that `member` be removed, and want it, whoever proposes it too. The member has no
        veto; the others have. Raises `GroupError` in a view of two without the casting vote."""
        self._check_member()
        if member == self.me or member not in self._view.members:
            raise GroupError("not another member")
        if not self._may_kick(self._rank):
            raise GroupError("in a view of two it takes the casting vote to kick the other")
        self._check_backlog()
        self._unwanted |= self._view.mask((member,))
        handle = self._propose_soon(removal(KICK, reason, member), resubmit=False)
        self._second_kicks()
        return handle

    def _doubt(self, rank: Rank, what: str) -> None:
        """A member sent what no honest one could. Only this member has seen that: its link to the
        other is disputed (S3), and if somebody else has seen the like, it asks for a kick."""
        self._charges = (*self._charges, (rank, what))
        self._weigh()
        self._second_kicks()
        self._press_charges()

    def _press_charges(self) -> None:
        for rank, what in self._charges:
            bit = 1 << rank
            if self._pressed & bit or self._synod.wedged or not self._may_kick(self._rank):
                continue
            rows = enumerate(self._matrix.disputed)
            seen = any(row & bit for other, row in rows if other != self._rank)
            if seen or not self._needs_second():
                self._pressed |= bit
                content = Content(KICK, what.encode(), subject=self._view.members[rank])
                self._propose_soon(content, resubmit=False)

    # -- voting on one -----------------------------------------------------------------------

    def _needs_second(self) -> bool:
        return self.config.kicks_need_two and len(self._view.members) > 2

    def _seconds(self, ballot: Ballot) -> Mask:
        """Those who accepted it, beside its proposer and its target."""
        assert ballot.content is not None
        assert ballot.content.subject is not None
        both = self._view.mask((ballot.content.subject,)) | 1 << ballot.proposer
        return ballot.accepted & ~both

    def _kick_wanted(self, ballot: Ballot) -> bool:
        """Whether to accept: a second member wants it, or this one does, having accused the target
        or asked for a kick of it in this view. The target does not count, and accepts as
        soon as a second member did; so what a change finds accepted by all was wanted by two."""
        assert ballot.content is not None
        subject = ballot.content.subject
        if not self._needs_second() or self._seconds(ballot):
            return True
        if subject is None or subject == self.me:
            return False
        target = self._view.mask((subject,))
        return bool((self._accused | self._unwanted) & target)

    def _consider_kick(self, ballot: Ballot) -> None:
        assert ballot.content is not None
        is_target = ballot.content.subject == self.me
        if not is_target:
            self._arm("kick", self.config.kick_s, ballot.key)
        if self.config.asks_application_about_kicks and not is_target:
            ballot.waits = WAITS_APPLICATION
            self._want_vote(ballot)
        elif self._kick_wanted(ballot):
            self._vote(ballot, ACCEPT)
        else:
            ballot.waits = WAITS_SECOND

    def _may_be_seconded(self, ballot: Ballot) -> None:
        if self._kick_wanted(ballot):
            ballot.waits = 0
            self._vote(ballot, ACCEPT)

    def _second_kicks(self) -> None:
        """This member wants somebody out: whose kick waits here for a second has it now."""
        for key in sorted(self._ballots):
            ballot = self._ballots.get(key)
            if ballot is not None and ballot.waits == WAITS_SECOND:
                self._may_be_seconded(ballot)
        self._deliver()

    def _kick_overdue(self, key: Key) -> None:
        """Nobody else wants the kick, or its target, who had to, has not accepted it in time: then
        it counts as silent."""
        ballot = self._ballots.get(key)
        if ballot is None:
            return
        if ballot.waits == WAITS_SECOND:
            ballot.waits = 0
            self._vote(ballot, Vote(False, reason=NOT_SEEN))
            self._deliver()
        self._overdue += (key,)
        self._distrust()

    def _distrust(self) -> None:
        """Suspect exactly the targets that have neither accepted nor noted an overdue kick that a
        second member wants."""
        mask = 0
        for key in self._overdue:
            ballot = self._ballots.get(key)
            if ballot is None or ballot.outcome or ballot.content is None:
                continue
            if self._needs_second() and not self._seconds(ballot):
                continue
            target = self._view.mask((ballot.content.subject,)) if ballot.content.subject else 0
            mask |= target & ~(ballot.accepted | ballot.noted | self._bit)
        if mask != self._distrusted:
            self._distrusted = mask
            self._links_changed()
