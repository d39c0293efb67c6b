"""The view change: when one is wanted, who leads it, and the two phases of its synod."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from itertools import pairwise

from consensus.core.config import BACKOFF_ROUNDS, ROUND_STEP_MAX
from consensus.core.engine.stalling import Stalling
from consensus.core.engine.state import Phase
from consensus.core.message_fields import (
    AcceptedMessage,
    AcceptMessage,
    PrepareMessage,
    PromiseMessage,
)
from consensus.core.message_kinds import ACCEPT, ACCEPTED, PREPARE, PROMISE
from consensus.core.numbers import RANK_BITS, RANK_MASK, BallotNumber, Index, Mask, Rank
from consensus.core.outputs import ValueAccepted
from consensus.core.tables.membership_rules import Change, next_members, reason_text
from consensus.core.tables.trim import OWN_ACCEPTED, OWN_NOTED, OWN_NOTHING, agrees, compute_trim
from consensus.core.types import JOIN, Entry, Held, Member, Outcome, Promise, Value
from consensus.core.view import VIEW_SIZE_MAX, ranks


class ViewChange(Stalling):
    """The layer that decides when a change is wanted and leads or follows its synod."""

    # -- the safety rules of the synod, one method each --------------------------------------

    def _promises_suffice(self, promisers: Mask) -> bool:
        """A quorum promised, and nobody is left out merely for a late promise (R12, D7)."""
        missing = self._full & ~promisers & ~self._matrix.removed(self._view)
        return self._view.is_quorum(promisers) and not missing

    def _accepted_value(self, promises: Mapping[Rank, Promise]) -> Value | None:
        """The value accepted in the highest ballot that any promiser accepted in."""
        ballot, value = max(((p[1], p[2]) for p in promises.values()), key=lambda pair: pair[0])
        return value if ballot else None

    def _trim_outcome(self, own: Iterable[int], delivered: bool) -> Outcome:
        """Rejected if any promiser noted a reject; committed if every one accepted, or one has
        delivered it, for which everybody had accepted, whatever a promiser says now (VC4, VE2)."""
        did = list(own)
        if OWN_NOTED in did:
            return Outcome.REJECTED
        if delivered or all(mine == OWN_ACCEPTED for mine in did):
            return Outcome.COMMITTED
        return Outcome.ABANDONED

    def _kick_counts(self, proposer: Rank, promisers: Mask, removed: Mask) -> bool:
        """A kick counts only if its proposer promised and is not itself removed (R11)."""
        return bool(promisers & ~removed & 1 << proposer)

    def _joiner_ready(self, sponsor: Rank, joiner: Member, kept: Mask) -> bool:
        """READY came in this view (R8), it covers a quorum of the next (R9), its sponsor among
        them, who goes on (D10), and no earlier member of the same key does (D42)."""
        if joiner not in self._ready or joiner in self._down or joiner in self._gone:
            return False
        members = self._view.members
        covered = (*self._ready[joiner][1], joiner)
        following = self._view.following(kept, joiner)
        return (
            kept >> sponsor & 1 == 1
            and kept.bit_count() < VIEW_SIZE_MAX
            and members[sponsor] in covered
            and following.is_quorum(following.mask(covered))
            and all(members[rank][0] != joiner[0] for rank in ranks(kept))
        )

    def _next_members(self, promisers: Mask, trim: tuple[Entry, ...]) -> Change:
        """The promisers, less those silent (D6), leaving or kicked, plus a joiner that is ready."""
        decided = {c[0]: c[:4] for c in self._committed_changes}
        for key, outcome, content, _, _ in trim:
            if outcome == Outcome.COMMITTED and content.subject is not None:
                reason = reason_text(content)
                decided.setdefault(key, (key, content.kind, content.subject, reason))
        return next_members(
            self._view,
            promisers,
            self._matrix.removed(self._view),
            self._matrix.stalled_most(),
            [decided[key] for key in sorted(decided)],
            self._kick_counts,
            self._joiner_ready,
        )

    @abstractmethod
    def _leases_over(self, promisers: Mask) -> bool:
        """Nobody reads by a lease that a promiser granted without having promised itself."""

    @abstractmethod
    def _tell_grants(self, coordinator: Member) -> None:
        """Before a PROMISE: whose leases run (D12)."""

    def _chosen(self, supporters: Mask) -> bool:
        """A value is chosen once a quorum accepted it in one ballot (VC5)."""
        return self._view.is_quorum(supporters)

    def _needs_acceptors(self) -> bool:
        """A value is proposed to everybody (phase 2) before it is installed."""
        return True

    # -- when, and by whom -------------------------------------------------------------------

    def _going(self) -> Mask:
        """Mask of those whose leave or kick is committed, delivered or not: somebody who holds up
        the order could not be removed if that had to wait for its turn (D4)."""
        if not self._departure:
            return 0
        subjects = [c[2] for c in self._committed_changes if c[1] != JOIN]
        for ballot in self._ballots.values():
            content = ballot.content
            if ballot.outcome != Outcome.COMMITTED or content is None:
                continue
            if content.subject is not None and content.kind != JOIN:
                subjects.append(content.subject)
        return self._view.mask(tuple(subjects))

    def _change_wanted(self) -> bool:
        if self._synod.wedged or self._lapse or self._departure:
            return True
        removed = self._matrix.removed(self._view)
        return bool(removed) or any(
            kind == JOIN and self._joiner_ready(key & RANK_MASK, subject, self._full)
            for key, kind, subject, _, _ in self._committed_changes
        )

    def _line(self) -> list[Rank]:
        """Who leads (VC2): the senior first, those on their way out last, no suspects."""
        going = self._going()
        suspects = self._silent() | self._distrusted | self._stall.suspects
        suspects |= self._matrix.removed(self._view)
        fit = [r for r in range(len(self._view.members)) if not suspects >> r & 1]
        return sorted(fit, key=lambda rank: (going >> rank & 1, rank))

    def _reconsider(self) -> None:
        if self._phase != Phase.MEMBER or not self.config.changes:
            return
        if not self._change_wanted() or self._suspended:
            self._stop_takeover()
            return
        synod = self._synod
        if synod.leading:
            self._try_value()
            return
        line = self._line()
        coordinator = synod.highest & RANK_MASK
        busy = synod.highest and coordinator in line and coordinator != self._rank
        if (line and line[0] == self._rank and not busy) or (self._lapse and not synod.highest):
            self._begin()
        elif not self._takeover:
            self._await_others()

    def _await_others(self) -> None:
        """Somebody else leads: take over if it takes too long. Delays grow with the rank, and
        double with the rounds so that slow links do not make coordinators interrupt for ever."""
        line = self._line()
        place = line.index(self._rank) if self._rank in line else len(line)
        factor: int = 1 << min(self._synod.round, BACKOFF_ROUNDS)
        self._takeover = True
        self._arm("takeover", self.config.takeover_s * (1 + place) * factor)

    def _stop_takeover(self) -> None:
        if self._takeover:
            self._takeover = False
            self._disarm("takeover")

    def _take_over(self) -> None:
        """The takeover timer fired."""
        if not self._takeover:
            return
        self._takeover = False
        if self._phase == Phase.MEMBER and not self._suspended and self._change_wanted():
            self._begin()

    # -- the two phases ----------------------------------------------------------------------

    def _freeze(self) -> None:
        """Become wedged (VC3); votes given but not yet sent go first, for they are part of what is
        frozen."""
        if not self._synod.wedged:
            self._flush()
            self._synod.wedged = True

    def _begin(self) -> None:
        self._stop_takeover()
        self._freeze()
        ballot = self._synod.begin(self._rank)
        self._broadcast(PrepareMessage(PREPARE, self._number, *self._head(), ballot))
        self._synod.promises[self._rank] = self._promise()
        self._try_value()

    def _promise(self) -> Promise:
        """This member's frozen state."""
        held: list[Held] = []
        for key in sorted(self._ballots):
            ballot = self._ballots[key]
            if ballot.content is None:
                continue
            if ballot.noted & self._bit:
                own = OWN_NOTED
            else:
                own = OWN_ACCEPTED if ballot.accepted & self._bit else OWN_NOTHING
            held.append((key, ballot.index, own, ballot.content, *ballot.said()))
        synod = self._synod
        order = self._order
        return order.stable, synod.accepted, synod.value, tuple(held), order.index

    def _from_its_coordinator(self, rank: Rank, ballot: BallotNumber) -> bool:
        leap = (ballot >> RANK_BITS) - self._synod.round
        if ballot & RANK_MASK == rank and leap <= ROUND_STEP_MAX:
            return True
        self._accuse(self._view.members[rank], "somebody else's ballot")
        return False

    def _on_prepare(self, rank: Rank, message: PrepareMessage) -> None:
        ballot = message.ballot
        if not self._from_its_coordinator(rank, ballot) or not self._may_promise(ballot):
            return
        self._synod.see(ballot)
        self._freeze()
        fields = self._number, *self._head(), ballot, *self._promise()[:-1]
        coordinator = self._view.members[rank]
        self._tell_grants(coordinator)
        self._tell(coordinator, PromiseMessage(PROMISE, *fields))
        self._stop_takeover()
        self._reconsider()

    def _on_promise(self, rank: Rank, message: PromiseMessage) -> None:
        synod = self._synod
        if not synod.leading or message.ballot != synod.leading:
            return
        if synod.accepted == synod.leading:
            return
        if not self._promise_sound(message):
            self._accuse(self._view.members[rank], "impossible promise")
            return
        synod.promises[rank] = *message[5:], message.mark
        self._try_value()

    def _may_promise(self, ballot: BallotNumber) -> bool:
        """A ballot is promised once: asked again, after it has delivered more, a member would
        say something else of the same ballot (VE1). No coordinator has reason to ask twice."""
        return ballot > self._synod.highest

    def _promise_sound(self, message: PromiseMessage) -> bool:
        accepted, value, held = message.accepted, message.value, message.held
        size = len(self._view.members)
        return (
            message.stable <= message.mark
            and all(h[1] <= message.mark for h in held)
            and (accepted == 0) == (value is None)
            and accepted < message.ballot
            and (value is None or self._value_sound(value))
            and all(a[0] < b[0] for a, b in pairwise(held))
            and all(h[0] & RANK_MASK < size for h in held)
        )

    def _value_sound(self, value: Value) -> bool:
        """Whether the value can follow what was delivered here."""
        kept, _, reasons, trim, end, struck = value
        size = len(self._view.members)
        order = self._order
        new = sum(1 for entry in trim if entry[0] > order.last_key)
        return (
            kept <= self._full
            and not struck & ~kept
            and all(rank < size for rank, _ in reasons)
            and all(a[0] < b[0] for a, b in pairwise(trim))
            and all(e[0] & RANK_MASK < size and all(r < size for r, _ in e[3] + e[4]) for e in trim)
            and order.index + new == end
            and self._keeps_delivered(trim, end)
        )

    def _keeps_delivered(self, trim: tuple[Entry, ...], end: Index) -> bool:
        """A value does not undo what this member has reported (VE2). Between honest members there
        is none that would: a coordinator has left out or turned around what somebody said."""
        ballots = [self._ballots[key] for key in self._order.log]
        return agrees(((each.index, self._entry(each)) for each in ballots), trim, end)

    def _try_value(self) -> None:
        """Propose a value once the promises suffice."""
        synod = self._synod
        if not synod.leading or synod.accepted == synod.leading:
            return
        promisers = sum(1 << rank for rank in synod.promises)
        if not self._view.is_quorum(promisers) and not self._promises_suffice(promisers):
            return
        value = self._accepted_value(synod.promises)
        if value is None:
            if not self._promises_suffice(promisers) or not self._leases_over(promisers):
                return
            value = self._compute_value(synod.promises)
        synod.promises = {}
        synod.accept(synod.leading, value, self._rank)
        if not self._needs_acceptors():
            self._install(value, spread=True)
            return
        self._out.append(ValueAccepted(self._number, synod.leading, value))
        head = self._number, *self._head()
        self._broadcast(AcceptMessage(ACCEPT, *head, synod.leading, value))
        self._check_chosen()

    def _compute_value(self, promises: Mapping[Rank, Promise]) -> Value:
        promisers = sum(1 << rank for rank in promises)
        trim = compute_trim(promises, self._trim_outcome)
        change = self._next_members(promisers, trim)
        new = sum(1 for entry in trim if entry[0] > self._order.last_key)
        struck = self._matrix.struck(self._view) & change.kept
        return change.kept, change.joiner, change.reasons, trim, self._order.index + new, struck

    def _on_accept(self, rank: Rank, message: AcceptMessage) -> None:
        ballot, value = message.ballot, message.value
        if not self._from_its_coordinator(rank, ballot):
            return
        if not self._value_sound(value):
            self._accuse(self._view.members[rank], "impossible value")
            return
        if not self._synod.see(ballot):
            return
        self._freeze()
        self._synod.accept(ballot, value, self._rank)
        self._out.append(ValueAccepted(self._number, ballot, value))
        self._broadcast(AcceptedMessage(ACCEPTED, self._number, *self._head(), ballot))
        self._stop_takeover()
        self._check_chosen()
        self._reconsider()

    def _on_accepted(self, rank: Rank, message: AcceptedMessage) -> None:
        self._synod.accepted_by(rank, message.ballot)
        self._check_chosen()

    def _check_chosen(self) -> None:
        synod = self._synod
        if synod.value is not None and self._chosen(synod.supporters()):
            self._install(synod.value, spread=synod.leading == synod.accepted)

    @abstractmethod
    def _install(self, value: Value, *, spread: bool) -> None:
        """Go over to the view that was chosen."""
