"""One node, pure: a table of peers and the groups above it, behind the four verbs.

How the two hang together is in `router`.
"""

from collections.abc import Sequence
from dataclasses import replace

from consensus.core.config import GroupConfig
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.errors import GroupError
from consensus.core.evidence.notary import Notary
from consensus.core.lives import member_of, prefix
from consensus.core.numbers import Index
from consensus.core.types import (
    Content,
    Handle,
    Member,
    ProposalId,
    Timer,
    Vote,
)
from consensus.machine.addresses import encode_addresses
from consensus.machine.hosted_group import GroupEvent, HostedGroup, TimedOut
from consensus.machine.instant import Span
from consensus.machine.lease_clock import ReadReady
from consensus.machine.pairs import PAIR_NUMBER
from consensus.machine.router import MachineConfig, Router
from transport.core.types import Address, Transmit

__all__ = ["Machine", "MachineConfig", "group_number"]

GROUPS_MAX = 1024
PARTED = 0
"""Why a presence ends, as the peer is told: the node was closed."""
CONNECT_SHARE = 0.9
"""Of the time that `ask` may take, how much is spent on reaching a peer."""
LINKS_TOLD_MAX = 64
"""Presences a joining group is told of at its beginning; it hears of later ones as they come up."""


def group_number(group_id: bytes) -> int:
    """The number of a group on the lanes: 63 bits of its id, never that of `ask`."""
    return int.from_bytes(group_id[:8], "big") >> 1 or 1


class Machine(Router):
    """One node's peers and groups. `me` is this life of the node."""

    # The four verbs.

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> bool:
        """Datagrams that came in, in order. Whether any was a peer's."""
        self._now = now
        heard = self.peers.receive_datagrams(batch, now)
        self._work(now)
        return heard

    def handle_timeout(self, now: float) -> None:
        """The time that `next_timeout` named has come."""
        self._now = now
        if self._awaited.relaxed:
            self._awaited.relax(now)
        self.peers.handle_timeout(now)
        while (due := self._timers.due(now)) is not None:
            hosted, what = due
            if hosted is not None and isinstance(what, Timer):
                self._fire(hosted, what, now)
            elif hosted is not None and isinstance(what, int):
                self._tell(hosted, TimedOut(what))
            elif isinstance(what, bytes) and self._demand.needs(what):
                self.contacts.reconnect(what, now)
        self._work(now)

    def _fire(self, hosted: HostedGroup, timer: Timer, now: float) -> None:
        if timer.name == "lease" and self._clocks is not None:
            left_s = hosted.lease.left_s(timer, self._clocks())
            if left_s:
                self._timers.arm((hosted, timer), now, left_s)
                return
        hosted.group.fire(timer)
        self._dirty[hosted] = None

    def poll_transmits(self) -> list[Transmit]:
        """Datagrams that may go now."""
        if self._dirty:
            self._work(self._now)
        if self._awaited.stirred:
            self._awaited.look(self._now)
        return self.peers.poll_transmits()

    def prepare(self) -> None:
        """Do ahead what can be done, now that there is nothing to send. Need not be called."""
        self.peers.prepare()

    def poll_events(self) -> list[object]:
        """GroupEvent, PairEvent and the transport's events, in the order in which they happened."""
        if self._dirty:
            self._work(self._now)
        events, self._events = self._events, []
        return events

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        peers_at, timers_at = self.peers.next_timeout(), self._timers.next_timeout()
        if peers_at is None or timers_at is None:
            return timers_at if peers_at is None else peers_at
        return min(peers_at, timers_at)

    # What the application asks for.

    def possible(self, config: GroupConfig) -> GroupConfig:
        """A group's settings as they can be here: without leases where the clocks for them are
        missing (LC1), and with no delay that would cut the node's patience short (D110). A durable
        group has those that it began with, wherever it goes on."""
        config = config.outlasting(self._suspicion_s)
        return config if self._clocks is not None else replace(config, lease_s=0.0)

    def own(self, number: int, above: int = -1) -> Member:
        """Who this node is to be in a group that it enters next: a member that it has not been, of
        a generation above the one given. Raises GroupError."""
        drawn = self.generations.draw(number, above)
        return member_of(self.me.key, self.me.incarnation, drawn)

    def awaited_by_joiner(self, number: int) -> str:
        """What a join is waiting for, in words."""
        hosted = self._hosted.get(number)
        if hosted is None:
            return "the group to begin"
        view = hosted.group.view
        if not view.number:
            return "the sponsor's snapshot of the group"
        apart = [m.key.hex()[:16] for m in view.members if not self.contacts.is_up(m)]
        if apart:
            return f"this node to reach {', '.join(apart)}"
        return "the others to change the view"

    def connect(self, peer: bytes, now: float, timeout_s: float) -> None:
        """Have a presence with a peer whose address is known. Raises GroupError if it is not."""
        self.contacts.connect(peer, now, timeout_s)
        self._work(now)

    def connect_nameless(self, peer: bytes, now: float, timeout_s: float) -> bytes:
        """As `connect`, without this node's name; what the peer goes by then. Raises GroupError,
        LocalError."""
        alias = self.contacts.connect_nameless(peer, now, timeout_s)
        self._work(now)
        return alias

    def part(self, now: float) -> None:
        """The node closes: end the presences of peers that are members of no group of its. Members
        notice by its silence, as long as a pause of theirs is not told from an end."""
        self._now = now
        for peer in self.peers.known():
            if not self._demand.needs(peer):
                self.peers.close(peer, PARTED, now)

    def move(self, now: float) -> tuple[bytes, ...]:
        """Go on under other connection ids with every peer that is up; those with whom that cannot
        be. Raises LocalError if this node does not roam."""
        self._now = now
        return tuple(peer for peer in self.contacts.lives if not self.contacts.move(peer, now))

    def keep(self, peer: bytes, wanted: bool) -> None:
        """Channels to the peer are open, or no longer: its presence does not idle out."""
        self._demand.need([peer], +1 if wanted else -1)

    def bulk_passed(self, peer: bytes, size: int, now: float) -> None:
        """Channels with the peer have moved so many bytes."""
        self.peers.bulk_passed(peer, size, now)

    def bulk_heard(self, peer: bytes, address: Address, size: int, now: float) -> None:
        """Bulk from the peer came from another address than it is reached at."""
        self.peers.bulk_heard(peer, address, size, now)

    def probe(self, peer: bytes, now: float) -> None:
        """Channels with the peer have come to a halt: see whether it is still there."""
        self.peers.probe(peer, now)

    def found(
        self, number: int, config: GroupConfig, now: float, notary: Notary | None = None
    ) -> None:
        """Found a group: its first view is this node alone. That is its first time in it (D41)."""
        self.generations.draw(number)
        group = Group.found(self.me, self.possible(config))
        self._add(HostedGroup(group, number, notary=notary))
        self._work(now)

    def join(
        self,
        number: int,
        sponsor: bytes,
        config: GroupConfig,
        now: float,
        notary: Notary | None = None,
        own: Member | None = None,
        generation: int = 0,
    ) -> None:
        """Stand ready to be taken into a group by a sponsor with whom a presence is up, which is
        of that generation in it. `own`: who this node is to be, of `own()`, if it may have been in
        the group before."""
        member = self.contacts.member(sponsor, generation)
        group = Group.joining(own or self.me, member, self.possible(config))
        hosted = HostedGroup(group, number, sponsor=member, notary=notary)
        for each in sorted(self.contacts.lives.items())[:LINKS_TOLD_MAX]:
            group.link(Member(*each), True)
        self._add(hosted)
        self._demand.need([sponsor], +1)
        self._work(now)

    def resume(self, number: int, durable: DurableGroup, now: float) -> None:
        """Go on with a group that was rebuilt from the disk."""
        hosted = HostedGroup(durable, number, sponsor=durable.sponsor_awaited)
        self._add(hosted)
        self.absent.discard(number)
        for each in self.contacts.lives.items():
            hosted.lane_began(*each)
        self._work(now)

    def persisted(self, number: int, seq: int, now: float) -> None:
        """What `Persist` asked for is on disk, up to and with this one."""
        hosted = self._hosted.get(number)
        if hosted is not None and hosted.durable is not None:
            hosted.durable.persisted(seq)
            self._acted(hosted, 0, now)

    def sponsor(
        self,
        number: int,
        joiner: bytes,
        addresses: Sequence[Address],
        now: float,
        timeout_s: float | None = None,
        generation: int = 0,
    ) -> Handle:
        """Propose to admit a peer with whom a presence is up, in its present life and as what it
        calls itself in that; `TimedOut` as for `propose`. Raises GroupError."""
        member = self.contacts.member(joiner, generation)
        hosted = self._hosted_group(number)
        handle = hosted.group.sponsor(member, encode_addresses(addresses))
        return self._acted(hosted, handle, now, timeout_s)

    def sponsoring(self, number: int) -> tuple[int, frozenset[bytes]]:
        """The number of the view a group is in, and whose joins by this node may still succeed.
        Raises GroupError."""
        group = self._hosted_group(number).group
        return group.view.number, frozenset(member.key for member in group.sponsoring)

    def group(self, number: int) -> Group | None:
        """A group of this node, to be looked at and not to be given anything."""
        hosted = self._hosted.get(number)
        return None if hosted is None else hosted.group

    def propose(
        self, number: int, content: Content, now: float, timeout_s: float | None = None
    ) -> Handle:
        """Put a proposal to a group. `TimedOut` comes after `timeout_s` without an outcome, and
        changes nothing. Raises GroupError."""
        hosted = self._hosted_group(number)
        return self._acted(hosted, hosted.group.propose(content), now, timeout_s)

    def read(self, number: int, now: float) -> ReadReady | Handle:
        """Begin a read: what is done at once, or the handle with which `ReadReady` comes. Ask
        `runs` before believing either. Raises GroupError."""
        hosted = self._hosted_group(number)
        instant = None if self._clocks is None else self._clocks()
        begun = hosted.lease.begin(hosted.group, instant)
        self._acted(hosted, 0, now)
        return begun

    def runs(self, span: Span | None) -> bool:
        """Whether a read is good that is done if this lease runs: by the clocks, looked at now, as
        this process, or the machine, may have stood still since the read was done."""
        return span is None or (self._clocks is not None and span.runs(self._clocks()))

    def cancel_read(self, number: int, handle: Handle) -> None:
        """Nobody waits for a read any more."""
        hosted = self._hosted.get(number)
        if hosted is not None:
            hosted.lease.cancel(handle)
            hosted.group.cancel_read(handle)

    def answer(self, number: int, proposal: ProposalId, vote: Vote, now: float) -> None:
        """The application's vote. Too late or unknown is no error."""
        hosted = self._hosted.get(number)
        if hosted is not None:
            hosted.group.answer(proposal, vote)
            self._acted(hosted, 0, now)

    def kick(
        self, number: int, member: Member, reason: str, now: float, timeout_s: float | None = None
    ) -> Handle:
        """Propose to remove a member; `TimedOut` as for `propose`. Raises GroupError."""
        hosted = self._hosted_group(number)
        return self._acted(hosted, hosted.group.kick(member, reason), now, timeout_s)

    def leave(self, number: int, now: float) -> Handle:
        """Propose to go. Raises GroupError."""
        hosted = self._hosted_group(number)
        return self._acted(hosted, hosted.group.leave(), now)

    def snapshot(
        self, number: int, joiner: Member, index: int, data: bytes | None, now: float
    ) -> None:
        """The application's state for a joiner, as `SnapshotWanted` asked for it."""
        hosted = self._hosted.get(number)
        if hosted is not None:
            hosted.group.snapshot(joiner, Index(index), data)
            self._acted(hosted, 0, now)

    def drop(self, number: int, now: float) -> None:
        """Forget a group at once, whatever its state, and tell its members that this node is gone
        from it; of a group that it was about to join, those that it knows."""
        hosted = self._hosted.pop(number, None)
        if hosted is None:
            return
        self._now = now
        self._dirty.pop(hosted, None)
        self._events = [e for e in self._events if type(e) is not GroupEvent or e.number != number]
        group = hosted.group
        for member in dict.fromkeys((*hosted.members, *group.view.members)):
            if member != group.me and self.contacts.is_up(member):
                lead = prefix(group.me, member)
                self._outbox.say_gone(member.key, number, lead, group.view.number, now)
        self._retire(hosted, now)

    def ask(self, peer: bytes, content: Content, now: float, timeout_s: float) -> Handle:
        """Propose in the view of two with `peer`; `TimedOut` as for `propose`. Connects if need
        be; raises GroupError when it is not known where the peer is."""
        if peer == self.me.key:
            raise GroupError("a node does not ask itself")
        hosted = self._pairs.with_peer(peer)
        if peer not in self.contacts.lives:
            # It ends before the caller's patience does, so that the caller hears why.
            self.contacts.connect(peer, now, CONNECT_SHARE * timeout_s)
        return self._acted(hosted, hosted.group.propose(content), now, timeout_s)

    def answer_peer(self, peer: bytes, proposal: ProposalId, vote: Vote, now: float) -> None:
        """The application's vote on what a peer asked. Too late is no error."""
        hosted = self._pairs.get(peer)
        if hosted is not None:
            hosted.group.answer(proposal, vote)
            self._acted(hosted, 0, now)

    # The groups.

    def _hosted_group(self, number: int) -> HostedGroup:
        hosted = self._hosted.get(number)
        if hosted is None:
            raise GroupError("this node is not in that group")
        return hosted

    def _add(self, hosted: HostedGroup) -> None:
        if hosted.number in self._hosted or hosted.number == PAIR_NUMBER:
            raise GroupError("this node is in that group already")
        if len(self._hosted) >= GROUPS_MAX:
            raise GroupError(f"a node is in at most {GROUPS_MAX} groups")
        self._hosted[hosted.number] = hosted
        self._dirty[hosted] = None
        self._outbox.entered(hosted.number)

    def _acted(
        self, hosted: HostedGroup, handle: Handle, now: float, timeout_s: float | None = None
    ) -> Handle:
        self._now = now
        self._dirty[hosted] = None
        if timeout_s is not None:
            self._timers.arm((hosted, handle), now, timeout_s)
        return handle
