"""Local reads: the lease of a view, and what a read waits for.

A read is linearizable once this member has delivered all it had accepted when the read began
(nothing is committed in its view without its own accept), and the view was still the newest at
that moment (RD1, RD2). The latter is shown by a quorum that had not promised in the view's synod:

- either the quorum says so in answer to a question asked after the read began (D11),
- or it said so earlier and undertook not to let a synod go by for a time: the **lease**.

Who grants a lease goes on promising at once. It tells the coordinator whose leases it has granted
that still run, and the coordinator computes no value until each of those has promised itself (and
so knows that its lease is over) or the time is over (D12). The argument is
in `docs/protocol/groups.md`, "Reads".

The engine holds no instants. A grant is an armed timer at its grantor, whose shell lets it fire
once each of its clocks has counted the grant. The holder's shell notes when a question left
(`LeaseAsked`), counts from there when it is answered (`LeaseGranted`), says with each read whether
by its clocks the lease still runs, and looks at them again when the read is done (`Readable`).
"""

from __future__ import annotations

from consensus.core.engine.membership import Membership
from consensus.core.engine.state import Phase
from consensus.core.errors import GroupBusy, GroupClosed, GroupSuspended
from consensus.core.message_fields import LeaseAskMessage, LeaseMessage, LeasesMessage
from consensus.core.message_kinds import LEASE, LEASE_ASK, LEASES
from consensus.core.numbers import RANK_BITS, RANK_MASK, Key, Mask, Rank
from consensus.core.outputs import Arm, Disarm, LeaseAsked, LeaseGranted, Output, Readable
from consensus.core.tables.leases import Read
from consensus.core.types import Handle, Member, Timer

READS_MAX = 4096
"""Reads of one member that wait, at most."""

_UNASKED = -1
"""A read that waits for a question that was not asked yet."""
_NOTHING = Key(-1)
"""Below every key: nothing that was accepted waits to be delivered."""


class Reads(Membership):
    """The layer of reads."""

    # -- the holder --------------------------------------------------------------------------

    def read(self, leased: bool) -> Handle:
        """Begin a read; `Readable` comes with its handle. `leased`: by the shell's clock the
        lease of question `lease` runs. Raises `GroupClosed`, `GroupSuspended`, `GroupBusy`."""
        if self._phase != Phase.MEMBER or not self.config.changes:
            raise GroupClosed("not a member of a group that can be read")
        if len(self._reads) >= READS_MAX:
            raise GroupBusy(f"{READS_MAX} reads wait")
        held = self.lease if leased else 0
        if self._suspended and not held:
            raise GroupSuspended("no quorum is heard")
        handle = self._next_handle
        self._next_handle = handle + 1
        need = 0 if held or self._needs_no_lease() else _UNASKED
        self._reads.append(Read(handle, self._number, self._fence(), need, held))
        return handle

    def cancel_read(self, handle: Handle) -> None:
        """Nobody waits for this read any more."""
        self._reads = [read for read in self._reads if read.handle != handle]

    def renew_lease(self) -> None:
        """Ask for the lease again while it runs, so that reads go on without a wait."""
        if self._phase == Phase.MEMBER and not self._leases.granters:
            self._ask_lease()

    @property
    def lease(self) -> int:
        """The question by whose lease this member may read, or 0: there is none, or it has been
        given up by promising. Whether its time is over is the shell's to say."""
        return 0 if self._synod.wedged or self._phase != Phase.MEMBER else self._leases.held

    @property
    def caught_up(self) -> bool:
        """All that this member accepted is delivered."""
        return self._fence() < 0

    @property
    def always_leased(self) -> bool:
        """This member alone is a quorum, so nothing can be decided without its promise."""
        return self._phase == Phase.MEMBER and self._needs_no_lease()

    def _needs_no_lease(self) -> bool:
        return self._view.is_quorum(self._bit) and not self._synod.wedged

    def _fence(self) -> Key:
        """The highest key of what was accepted here and is not delivered, or -1."""
        ballots, bit = self._ballots, self._bit
        return max((k for k in self._order.queue if ballots[k].accepted & bit), default=_NOTHING)

    def _ask_lease(self) -> None:
        leases = self._leases
        if self._synod.wedged or self._needs_no_lease():
            return
        leases.asked += 1
        leases.granters = self._bit
        leases.granted_ms = int(1000 * self.config.lease_s)
        self._out.append(LeaseAsked(leases.asked))
        said = leases.asked, leases.granted_ms
        self._broadcast(LeaseAskMessage(LEASE_ASK, self._number, *self._head(), *said))

    def _on_lease(self, rank: Rank, message: LeaseMessage) -> None:
        leases = self._leases
        number, granted_ms = message.question, message.granted_ms
        if number > leases.asked:
            self._accuse(self._view.members[rank], "answers what was not asked")
            return
        if number != leases.asked or not leases.granters:
            return
        leases.granters |= 1 << rank
        leases.granted_ms = min(leases.granted_ms, granted_ms)
        if not self._view.is_quorum(leases.granters):
            return
        leases.granters = 0
        leases.held = number if leases.granted_ms else 0
        if leases.held:
            self._out.append(LeaseGranted(number, leases.granted_ms / 1000))
        for read in self._reads:
            if read.view == self._number and 0 < read.need <= number:
                read.need = 0
            elif read.need and read.view == self._number and leases.held:
                read.lease = leases.held
                read.need = 0

    def _serve_reads(self) -> None:
        """Tell which reads are done, and ask for what the others need."""
        if self._phase != Phase.MEMBER:
            self._reads = []
            return
        leases, number = self._leases, self._number
        waiting, ask = [], False
        for read in self._reads:
            if read.view != number:
                # What was accepted then is delivered. Whether this view is the newest is open.
                read.view, read.fence = number, _NOTHING
                if read.need:
                    read.need = _UNASKED
            if read.need and self._needs_no_lease():
                read.need = 0
            if not read.need and read.fence <= self._order.last_key:
                self._out.append(Readable(read.handle, read.lease))
                continue
            waiting.append(read)
            ask = ask or read.need == _UNASKED
        self._reads = waiting
        if ask and not leases.granters and not self._synod.wedged:
            self._ask_lease()
            for read in waiting:
                if read.need == _UNASKED:
                    read.need = leases.asked

    def poll(self) -> list[Output]:
        if self._reads:
            self._serve_reads()
        return super().poll()

    # -- the grantor -------------------------------------------------------------------------

    def _on_lease_ask(self, rank: Rank, message: LeaseAskMessage) -> None:
        if self._synod.wedged:
            return  # It has promised: what the asker needs to know comes with the next view.
        granted_ms = min(message.wanted_ms, int(1000 * self.config.lease_s))
        if granted_ms:
            self._grant(rank, granted_ms)
        holder = self._view.members[rank]
        said = message.question, granted_ms
        self._tell(holder, LeaseMessage(LEASE, self._number, *self._head(), *said))

    def _grant(self, rank: Rank, granted_ms: int) -> None:
        leases = self._leases
        before = leases.grants.get(rank)
        if before is not None:
            self._out.append(Disarm(Timer("lease", before << RANK_BITS | rank)))
        leases.serial += 1
        leases.grants[rank] = leases.serial
        timer = Timer("lease", leases.serial << RANK_BITS | rank)
        self._out.append(Arm(timer, granted_ms / 1000))

    def _grant_over(self, key: int) -> None:
        """The time of a grant is over."""
        leases = self._leases
        rank = key & RANK_MASK
        if leases.grants.get(rank) != key >> RANK_BITS:
            return
        del leases.grants[rank]
        if self._synod.wedged:
            self._broadcast(LeasesMessage(LEASES, self._number, *self._head(), leases.granted))
            self._reconsider()

    # -- the synod ---------------------------------------------------------------------------

    def _tell_grants(self, coordinator: Member) -> None:
        """Before a PROMISE: whose leases run."""
        granted = self._leases.granted
        if granted:
            self._tell(coordinator, LeasesMessage(LEASES, self._number, *self._head(), granted))

    def _on_leases(self, rank: Rank, message: LeasesMessage) -> None:
        self._leases.running[rank] = message.holders & self._full
        if self._synod.leading:
            self._reconsider()

    def _leases_over(self, promisers: Mask) -> bool:
        """Nobody holds a lease by the grant of a promiser without having given it up by a promise
        of its own. Every quorum that granted one has a promiser in it."""
        leases = self._leases
        running = leases.granted
        for rank, mask in enumerate(leases.running):
            if promisers >> rank & 1:
                running |= mask
        return not running & ~promisers
