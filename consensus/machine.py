"""One node, pure: a table of peers and the groups above it, behind the four verbs.

What passes between the two: a group's `Send` becomes an entry of the lane to that member, an
entry becomes `receive`, the presence's liveness becomes `link`, a group's timers become part of
`next_timeout`. Entries of group number 0 belong to the view of two of `ask`; every other group
has a number made of its id. A message is meant for one incarnation and never reaches another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.addresses import decode_addresses_untrusted, encode_addresses
from consensus.contacts import Contacts
from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.group import Group
from consensus.core.messages import encode
from consensus.core.notary import Notary
from consensus.core.outputs import (
    Arm,
    Decided,
    Disarm,
    Ended,
    Installed,
    LeaseAsked,
    LeaseGranted,
    Lost,
    Output,
    ReachWanted,
    Readable,
    Send,
)
from consensus.core.types import (
    Candidate,
    Content,
    Member,
    Message,
    ProposalId,
    Ticket,
    Timer,
    Vote,
)
from consensus.interest import Interest
from consensus.leasing import ReadReady
from consensus.outbox import Outbox
from consensus.slot import GroupEvent, PairEvent, Slot, TimedOut
from consensus.timers import Timers
from transport.core.config import TransportConfig
from transport.core.events import (
    ConnectFailed,
    EntriesReceived,
    Event,
    Heard,
    LaneRelieved,
    PresenceDown,
    PresenceUp,
    Silent,
)
from transport.core.keys import Identity
from transport.core.peers import Peers
from transport.core.types import Address, RandomBytes, Transmit

PAIR_NUMBER = 0
GROUPS_MAX = 1024
LINKS_TOLD_MAX = 64
"""Presences a joining group is told of at its beginning; it hears of later ones as they come up."""
RECONNECT_S = 1.0
"""How long after a failed attempt a member of a view is tried again."""


def group_number(group_id: bytes) -> int:
    """The number of a group on the lanes: 63 bits of its id, never that of `ask`."""
    return int.from_bytes(group_id[:8], "big") >> 1 or 1


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Tuning of a node."""

    transport: TransportConfig = field(default_factory=TransportConfig)
    pair: GroupConfig = field(default_factory=GroupConfig)
    """For the views of two of `ask`."""


class Machine:
    """One node's peers and groups. `me` is this life of the node."""

    def __init__(
        self,
        identity: Identity,
        config: MachineConfig,
        random: RandomBytes,
        now: float,
        incarnation: int,
    ) -> None:
        self._config = config
        self.me = Member(identity.key, incarnation)
        self.peers = Peers(identity, config.transport, random, now, incarnation)
        self._slots: dict[int, Slot] = {}
        self._pairs: dict[bytes, Slot] = {}
        self._dirty: dict[Slot, None] = {}
        """Groups that were given something since their outputs were carried out. That is put off
        to the next poll, so that what was asked for together travels together."""
        self._now = now
        self._events: list[object] = []
        self._timers = Timers[tuple[Slot | None, Timer | bytes | Ticket]]()
        self.contacts = Contacts(self.peers)
        self._outbox = Outbox(self.peers)
        self._interest = Interest(self.peers)

    # The four verbs.

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> None:
        """Datagrams that came in, in order."""
        self._now = now
        self.peers.receive_datagrams(batch, now)
        self._work(now)

    def handle_timeout(self, now: float) -> None:
        """The time that `next_timeout` named has come."""
        self._now = now
        self.peers.handle_timeout(now)
        while (due := self._timers.due(now)) is not None:
            slot, what = due
            if slot is not None and isinstance(what, Timer):
                slot.armed.discard(what)
                slot.group.fire(what)
                self._dirty[slot] = None
            elif slot is not None and isinstance(what, int):
                self._tell(slot, TimedOut(what))
            elif isinstance(what, bytes) and self._interest.needs(what):
                self.contacts.reconnect(what, now)
        self._work(now)

    def poll_transmits(self) -> list[Transmit]:
        """Datagrams that may go now."""
        if self._dirty:
            self._work(self._now)
        return self.peers.poll_transmits()

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

    def connect(self, peer: bytes, now: float, timeout_s: float) -> None:
        """Have a presence with a peer whose address is known. Raises GroupError if it is not."""
        self.contacts.connect(peer, now, timeout_s)
        self._work(now)

    def keep(self, peer: bytes, wanted: bool) -> None:
        """Channels to the peer are open, or no longer: its presence does not idle out."""
        self._interest.need([peer], +1 if wanted else -1)

    def found(
        self, number: int, config: GroupConfig, now: float, notary: Notary | None = None
    ) -> None:
        """Found a group: its first view is this node alone."""
        self._add(Slot(Group.found(self.me, config), number, notary=notary))
        self._work(now)

    def join(
        self,
        number: int,
        sponsor: bytes,
        config: GroupConfig,
        now: float,
        notary: Notary | None = None,
    ) -> None:
        """Stand ready to be taken into a group by a sponsor with whom a presence is up."""
        member = self.contacts.member(sponsor)
        group = Group.joining(self.me, member, config)
        slot = Slot(group, number, sponsor=member, notary=notary)
        for each in sorted(self.contacts.lives.items())[:LINKS_TOLD_MAX]:
            group.link(Member(*each), True)
        self._add(slot)
        self._interest.need([sponsor], +1)
        self._work(now)

    def sponsor(
        self,
        number: int,
        joiner: bytes,
        addresses: Sequence[Address],
        now: float,
        timeout_s: float | None = None,
    ) -> Ticket:
        """Propose to admit a peer with whom a presence is up, in its present life; `TimedOut` as
        for `propose`. Raises GroupError."""
        member = self.contacts.member(joiner)
        slot = self._slot(number)
        ticket = slot.group.sponsor(member, encode_addresses(addresses))
        return self._acted(slot, ticket, now, timeout_s)

    def propose(
        self, number: int, content: Content, now: float, timeout_s: float | None = None
    ) -> Ticket:
        """Put a proposal to a group. `TimedOut` comes after `timeout_s` without an outcome, and
        changes nothing. Raises GroupError."""
        slot = self._slot(number)
        return self._acted(slot, slot.group.propose(content), now, timeout_s)

    def read(self, number: int, now: float) -> ReadReady | Ticket:
        """Begin a read: what is done at once, or the ticket with which `ReadReady` comes. Look at
        the clock before believing either. Raises GroupError."""
        slot = self._slot(number)
        begun = slot.lease.begin(slot.group, now)
        self._acted(slot, 0, now)
        return begun

    def cancel_read(self, number: int, ticket: Ticket) -> None:
        """Nobody waits for a read any more."""
        slot = self._slots.get(number)
        if slot is not None:
            slot.lease.cancel(ticket)
            slot.group.cancel_read(ticket)

    def answer(self, number: int, proposal: ProposalId, vote: Vote, now: float) -> None:
        """The application's vote. Too late or unknown is no error."""
        slot = self._slots.get(number)
        if slot is not None:
            slot.group.answer(proposal, vote)
            self._acted(slot, 0, now)

    def kick(
        self, number: int, member: Member, reason: str, now: float, timeout_s: float | None = None
    ) -> Ticket:
        """Propose to remove a member; `TimedOut` as for `propose`. Raises GroupError."""
        slot = self._slot(number)
        return self._acted(slot, slot.group.kick(member, reason), now, timeout_s)

    def leave(self, number: int, now: float) -> Ticket:
        """Propose to go. Raises GroupError."""
        slot = self._slot(number)
        return self._acted(slot, slot.group.leave(), now)

    def snapshot(self, number: int, joiner: Member, index: int, data: bytes, now: float) -> None:
        """The application's state for a joiner, as `SnapshotWanted` asked for it."""
        slot = self._slots.get(number)
        if slot is not None:
            slot.group.snapshot(joiner, index, data)
            self._acted(slot, 0, now)

    def drop(self, number: int, now: float) -> None:
        """Forget a group at once, whatever its state."""
        slot = self._slots.pop(number, None)
        if slot is not None:
            self._retire(slot, now)

    def ask(self, peer: bytes, content: Content, now: float, timeout_s: float) -> Ticket:
        """Propose in the view of two with `peer`; `TimedOut` as for `propose`. Connects if need
        be; raises GroupError when it is not known where the peer is."""
        if peer == self.me.key:
            raise GroupError("a node does not ask itself")
        slot = self._pair(peer)
        if peer not in self.contacts.lives:
            self.contacts.connect(peer, now, timeout_s)
        return self._acted(slot, slot.group.propose(content), now, timeout_s)

    def answer_peer(self, peer: bytes, proposal: ProposalId, vote: Vote, now: float) -> None:
        """The application's vote on what a peer asked. Too late is no error."""
        slot = self._pairs.get(peer)
        if slot is not None:
            slot.group.answer(proposal, vote)
            self._acted(slot, 0, now)

    # Between the two.

    def _slot(self, number: int) -> Slot:
        slot = self._slots.get(number)
        if slot is None:
            raise GroupError("this node is not in that group")
        return slot

    def _add(self, slot: Slot) -> None:
        if slot.number in self._slots or slot.number == PAIR_NUMBER:
            raise GroupError("this node is in that group already")
        if len(self._slots) >= GROUPS_MAX:
            raise GroupError(f"a node is in at most {GROUPS_MAX} groups")
        self._slots[slot.number] = slot
        self._dirty[slot] = None
        self._outbox.entered(slot.number)

    def _pair(self, peer: bytes) -> Slot:
        slot = self._pairs.get(peer)
        if slot is None:
            # A lane serves one pair of lives, and this group lives as long as the lane does: it
            # needs no incarnations, and can exist before the peer's is known.
            group = Group.pair(Member(self.me.key, 0), Member(peer, 0), self._config.pair)
            slot = self._pairs[peer] = Slot(group, PAIR_NUMBER, peer=peer)
        return slot

    def _acted(
        self, slot: Slot, ticket: Ticket, now: float, timeout_s: float | None = None
    ) -> Ticket:
        self._now = now
        self._dirty[slot] = None
        if timeout_s is not None:
            self._timers.arm((slot, ticket), now + timeout_s)
        return ticket

    def _tell(self, slot: Slot, output: Output | TimedOut | ReadReady) -> None:
        if slot.peer is not None:
            self._events.append(PairEvent(slot.peer, output))
        else:
            self._events.append(GroupEvent(slot.number, output))

    def _work(self, now: float) -> None:
        """Carry events up and outputs down until there are none."""
        while True:
            events = self.peers.poll_events()
            for event in events:
                self._take(event, now)
            if not self._dirty:
                if not events:
                    return
                continue
            dirty, self._dirty = self._dirty, {}
            for slot in dirty:
                self._carry_out(slot, now)

    def _take(self, event: Event, now: float) -> None:
        if type(event) is EntriesReceived:
            self._receive(event.peer, event.incarnation, event.entries, now)
            return
        match event:
            case Silent(peer, incarnation):
                self._link(Member(peer, incarnation), up=False)
            case Heard(peer, incarnation):
                self._link(Member(peer, incarnation), up=True)
            case PresenceUp():
                self._presence_up(event)
            case PresenceDown(peer, incarnation):
                self._presence_down(peer, incarnation, now)
            case ConnectFailed(peer):
                self._connect_failed(peer, now)
            case LaneRelieved(peer):
                self._outbox.relieve(peer, now)
        self._events.append(event)

    def _receive(
        self, peer: bytes, life: int, entries: Sequence[tuple[int, bytes]], now: float
    ) -> None:
        for number, entry in entries:
            if number == PAIR_NUMBER:
                slot, sender = self._pair(peer), Member(peer, 0)
            elif number in self._slots:
                slot, sender = self._slots[number], Member(peer, life)
            else:
                self._outbox.tell_gone(peer, number, entry, now)
                continue
            slot.receive_untrusted(sender, entry)
            self._dirty[slot] = None

    def _link(self, member: Member, *, up: bool) -> None:
        pair = self._pairs.get(member.key)
        if pair is not None:
            pair.group.link(Member(member.key, 0), up)
            self._dirty[pair] = None
        for slot in self._slots.values():
            if member in slot.members or slot.joining:
                slot.group.link(member, up)
                self._dirty[slot] = None

    def _presence_up(self, event: PresenceUp) -> None:
        peer, life = event.peer, event.incarnation
        before = self.contacts.lives.get(peer)
        if event.restarted or before not in (None, life):
            # What the lane held is gone: whoever was behind it cannot be in step any more.
            self._outbox.drop(peer)
            self._lose_pair(peer, "the peer has started anew")
            for slot in self._slots.values():
                for member in slot.members:
                    if member.key == peer and (event.restarted or member.incarnation != life):
                        slot.group.lost(member)
                        self._dirty[slot] = None
        self.contacts.lives[peer] = life
        self._link(Member(peer, life), up=True)
        for slot in self._slots.values():
            for candidate in [c for c in slot.candidates if c.key == peer]:
                del slot.candidates[candidate]
                slot.group.reached(candidate, candidate.incarnation == life)
                self._dirty[slot] = None

    def _presence_down(self, peer: bytes, life: int, now: float) -> None:
        if self.contacts.lives.get(peer) != life:
            return
        self._link(Member(peer, life), up=False)
        if self._interest.needs(peer):
            self._retry(peer, now)
        else:
            del self.contacts.lives[peer]
            self._outbox.drop(peer)
            self._lose_pair(peer, "the presence has ended")

    def _connect_failed(self, peer: bytes, now: float) -> None:
        for slot in self._slots.values():
            for candidate in [c for c in slot.candidates if c.key == peer]:
                del slot.candidates[candidate]
                slot.group.reached(candidate, False)
                self._dirty[slot] = None
        if self._interest.needs(peer):
            self._retry(peer, now)
        elif peer not in self.contacts.lives:
            self._outbox.drop(peer)
            self._lose_pair(peer, "the peer could not be reached")

    def _lose_pair(self, peer: bytes, reason: str) -> None:
        pair = self._pairs.pop(peer, None)
        if pair is not None:
            pair.lost_because = reason
            pair.group.lost(Member(peer, 0))
            self._dirty[pair] = None

    def _retry(self, peer: bytes, now: float) -> None:
        self._timers.arm((None, peer), now + RECONNECT_S)

    def _carry_out(self, slot: Slot, now: float) -> None:
        message: Message | None = None
        entries: list[bytes] = []
        for output in slot.poll():
            if type(output) is Send:
                if output.message is not message:
                    message = output.message
                    entries = encode(message)
                for entry in entries:
                    self._send(slot, output.to, entry, now)
            elif type(output) is Arm:
                slot.armed.add(output.timer)
                self._timers.arm((slot, output.timer), now + output.delay_s)
            elif type(output) is Disarm:
                slot.armed.discard(output.timer)
                self._timers.disarm((slot, output.timer))
            elif type(output) is Decided:
                if output.ticket is not None:
                    self._timers.disarm((slot, output.ticket))
                self._tell(slot, output)
            elif type(output) is LeaseAsked:
                slot.lease.asked(output.number, now)
            elif type(output) is LeaseGranted:
                slot.lease.granted(output.number, output.lease_s)
            elif type(output) is Readable:
                self._tell(slot, slot.lease.ready(output.ticket, output.lease))
            elif type(output) is ReachWanted:
                self._reach(slot, output.candidate, now)
            else:
                if type(output) is Installed and slot.peer is None:
                    self._install(slot, output.view.members)
                elif type(output) is Lost and slot.lost_because:
                    output = Lost(slot.lost_because)
                self._tell(slot, output)
                if type(output) is Ended and slot.peer is None:
                    self._slots.pop(slot.number, None)
                    self._retire(slot, now)
        awaited = slot.group.awaited
        if awaited != slot.awaited:
            self._await(slot, awaited, now)

    def _send(self, slot: Slot, to: Member, entry: bytes, now: float) -> None:
        peer = to.key
        if slot.peer is None and self.contacts.lives.get(peer) != to.incarnation:
            return  # The lane to that life of it is gone; the group learns of it by `link`.
        if not self._outbox.send(peer, slot.number, entry, now) and slot.peer is not None:
            self._lose_pair(peer, "the presence has ended")

    def _reach(self, slot: Slot, candidate: Candidate, now: float) -> None:
        member = candidate.member
        if self.contacts.is_up(member):
            slot.group.reached(member, True)
        elif self.contacts.attempt(member.key, decode_addresses_untrusted(candidate.where), now):
            slot.candidates[member] = candidate
        else:
            slot.group.reached(member, False)
        self._dirty[slot] = None

    def _install(self, slot: Slot, members: Sequence[Member]) -> None:
        before = slot.members
        slot.renew(tuple(m for m in members if m != self.me))
        self._interest.need([m.key for m in slot.members], +1)
        self._interest.need([m.key for m in before], -1)
        for member in slot.members:
            # Until now nobody kept the presence with a joiner: it may have gone meanwhile, and
            # what was said to it then has gone with it.
            if self.contacts.lives.get(member.key) != member.incarnation:
                slot.group.lost(member)
            elif not self.contacts.is_up(member):
                slot.group.link(member, False)

    def _await(self, slot: Slot, awaited: frozenset[Member], now: float) -> None:
        self._interest.await_instead(slot.awaited, awaited, now)
        slot.awaited = awaited

    def _retire(self, slot: Slot, now: float) -> None:
        self._install(slot, ())
        self._await(slot, frozenset(), now)
        for timer in slot.armed:
            self._timers.disarm((slot, timer))
        slot.armed.clear()
