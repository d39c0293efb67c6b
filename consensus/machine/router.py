"""Where one node's groups and its table of peers meet. Pure; `machine` adds what a node is asked.

What passes between the two: a group's `Send` becomes an entry of the lane to that member, an
entry becomes `receive`, the presence's liveness becomes `link`, a group's timers become part of
`next_timeout`. Entries of group number 0 belong to the view of two of `ask`; every other group
has a number made of its id. A message is meant for one incarnation and never reaches another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.core.config import DELAY_MAX_S, GroupConfig
from consensus.core.lives import Generations, life, member_of, parted_untrusted, prefix
from consensus.core.message_kinds import Message
from consensus.core.messages import entries, pack
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
    VoteWanted,
)
from consensus.core.types import Candidate, Handle, Member, Timer
from consensus.machine.addresses import decode_addresses_untrusted
from consensus.machine.awaited import Awaited
from consensus.machine.contacts import Contacts
from consensus.machine.demand import Demand
from consensus.machine.hosted_group import (
    UNREACHABLE,
    GroupEvent,
    HostedGroup,
    PairEvent,
    TimedOut,
    in_common,
)
from consensus.machine.instant import Clocks
from consensus.machine.lease_clock import ReadReady
from consensus.machine.outbox import Outbox
from consensus.machine.pairs import PAIR_NUMBER, Pairs
from consensus.machine.timers import Timers
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError
from transport.core.events import (
    ConnectFailed,
    EntriesReceived,
    Event,
    Heard,
    LaneRelieved,
    PathMoved,
    PresenceDown,
    PresenceUp,
    Reason,
    Silent,
)
from transport.core.peers import Peers
from transport.core.types import RandomBytes

# Named tuples are made by thousands here, and this makes them twice as fast as calling them.
_new = tuple.__new__

RECONNECT_S = 1.0
"""How long after a failed attempt a member of a view is tried again."""


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Tuning of a node."""

    transport: TransportConfig = field(default_factory=TransportConfig)
    pair: GroupConfig = field(default_factory=GroupConfig)
    """For the views of two of `ask`."""

    def __post_init__(self) -> None:
        if not self.transport.suspicion_s <= DELAY_MAX_S:
            raise LocalError(f"suspicion_s must be at most {DELAY_MAX_S:.0f}, as a group's delays")


class Router:
    """Carries events up and outputs down. `me` is this life of the node, of LIFE_BITS."""

    def __init__(
        self,
        identity: Identity,
        config: MachineConfig,
        random: RandomBytes,
        now: float,
        incarnation: int,
        clocks: Clocks | None,
    ) -> None:
        """`clocks`: what leases are counted by; None where one is missing, so that there are no
        leases."""
        self.me = Member(identity.key, incarnation)
        self.peers = Peers(identity, config.transport, random, now, incarnation)
        self._hosted: dict[int, HostedGroup] = {}
        self._dirty: dict[HostedGroup, None] = {}
        """Groups that were given something since their outputs were carried out. That is put off
        to the next poll, so that what was asked for together travels together."""
        self._now = now
        self._clocks = clocks
        self._suspicion_s = config.transport.suspicion_s
        self._events: list[object] = []
        self._timers = Timers[tuple[HostedGroup | None, Timer | bytes | Handle]]()
        self.contacts = Contacts(self.peers)
        self._pairs = Pairs(self.peers, self.contacts, config.pair)
        self.generations = Generations()
        self._outbox = Outbox(self.peers)
        self.absent: set[int] = set()
        """Groups that are on the disk and not resumed yet: what comes for them will come again."""
        self._demand = Demand(self.peers)
        self._awaited = Awaited(self._demand)

    def _tell(self, hosted: HostedGroup, output: Output | TimedOut | ReadReady) -> None:
        if hosted.peer is not None:
            self._events.append(_new(PairEvent, (hosted.peer, output)))
        else:
            self._events.append(_new(GroupEvent, (hosted.number, output)))

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
            for hosted in dirty:
                self._carry_out(hosted, now)

    def _take(self, event: Event, now: float) -> None:
        if type(event) is EntriesReceived:
            self._receive(event.peer, event.incarnation, event.entries, now)
            return
        match event:
            case Silent(peer, incarnation):
                self._link(peer, incarnation, up=False)
                if peer in self._pairs and not self._demand.needs(peer):
                    # Whoever lives another life does not answer in this one: ask for a presence
                    # with it, or every question until the silence is given up would be lost.
                    self.contacts.renew(peer, now)
            case Heard(peer, incarnation):
                self._link(peer, incarnation, up=True)
            case PresenceUp():
                self._presence_up(event)
            case PresenceDown(peer, incarnation, reason):
                self._presence_down(peer, incarnation, reason, now)
            case ConnectFailed(peer):
                self._connect_failed(peer, now)
            case PathMoved(peer, address) if peer in self.contacts.lives:
                self.contacts.met(peer, self.contacts.lives[peer], address)
            case LaneRelieved(peer):
                self._outbox.relieve(peer, now)
        self._events.append(event)

    def _receive(
        self, peer: bytes, of_life: int, entries: Sequence[tuple[int, bytes]], now: float
    ) -> None:
        for number, entry in entries:
            if number == PAIR_NUMBER:
                self._receive_in_pair(peer, entry)
                continue
            theirs, ours, said = parted_untrusted(entry)
            hosted = self._hosted.get(number)
            if hosted is not None and hosted.generation == ours:
                hosted.receive_untrusted(member_of(peer, of_life, theirs), said)
                self._dirty[hosted] = None
            elif number not in self.absent:
                # Of the member that this node was, or is, it says so in that member's name.
                own, other = member_of(self.me.key, 0, ours), member_of(peer, 0, theirs)
                self._outbox.tell_gone(peer, number, prefix(own, other), said, now)

    def _receive_in_pair(self, peer: bytes, entry: bytes) -> None:
        hosted = self._pairs.with_peer(peer)
        newer = hosted.receive_untrusted(hosted.other or Member(peer, 0), entry)
        if newer:
            # The other has given up the view of two that this one is in, and begun another.
            self._lose_pair(peer, "the peer has begun anew after a silence")
            hosted = self._pairs.begin(peer, newer)
            hosted.receive_untrusted(hosted.other or Member(peer, 0), entry)
        self._dirty[hosted] = None

    def _link(self, peer: bytes, of_life: int, *, up: bool) -> None:
        """To every group that knows a member of this life, be it a joiner's."""
        pair = self._pairs.get(peer)
        if pair is not None:
            pair.group.link(pair.other or Member(peer, 0), up)
            self._dirty[pair] = None
        for hosted in self._hosted.values():
            for member in hosted.known(peer, of_life):
                hosted.group.link(member, up)
                self._dirty[hosted] = None

    def _presence_up(self, event: PresenceUp) -> None:
        peer, of_life = event.peer, event.incarnation
        before = self.contacts.lives.get(peer)
        if event.restarted or before not in (None, of_life):
            # What the lane held is gone: whoever was behind it cannot be in step any more.
            self._outbox.drop(peer)
            self._lose_pair(peer, "the peer has started anew")
        # Also if it is met for the first time: by a process that goes on with a group of before.
        for hosted in self._hosted.values():
            for member in hosted.everybody():
                over = life(member) != of_life or (event.restarted and not hosted.durable)
                if member.key == peer and over:
                    hosted.group.lost(member)
                    self._dirty[hosted] = None
        self.contacts.met(peer, of_life, event.address)
        if event.restarted or before != of_life:
            for hosted in self._hosted.values():
                if hosted.lane_began(peer, of_life):
                    self._dirty[hosted] = None
        self._link(peer, of_life, up=True)
        for hosted in self._hosted.values():
            for candidate in [c for c in hosted.candidates if c.key == peer]:
                del hosted.candidates[candidate]
                hosted.group.reached(candidate, life(candidate) == of_life)
                self._dirty[hosted] = None

    def _presence_down(self, peer: bytes, of_life: int, reason: int, now: float) -> None:
        if self.contacts.lives.get(peer) != of_life:
            return
        # Who has just started anew is there: to a durable group that is a pause, and no silence.
        # What is lost to the others, the next `PresenceUp` tells.
        if reason != Reason.RESTARTED:
            self._link(peer, of_life, up=False)
        if self._demand.needs(peer):
            self._retry(peer, now)
        else:
            self.contacts.parted(peer)
            self._outbox.drop(peer)
            self._lose_pair(peer, "the presence has ended")

    def _connect_failed(self, peer: bytes, now: float) -> None:
        for hosted in self._hosted.values():
            for candidate in [c for c in hosted.candidates if c.key == peer]:
                del hosted.candidates[candidate]
                hosted.group.reached(candidate, False)
                self._dirty[hosted] = None
            for member in hosted.members:
                if member.key == peer and not self.contacts.is_up(member):
                    hosted.group.link(member, False)  # It may come back; until then it is silent.
                    self._dirty[hosted] = None
        if self._demand.needs(peer):
            self._retry(peer, now)
        elif peer not in self.contacts.lives:
            self._outbox.drop(peer)
            self._lose_pair(peer, UNREACHABLE)

    def _lose_pair(self, peer: bytes, reason: str) -> None:
        pair = self._pairs.pop(peer, None)
        if pair is not None:
            pair.lost_because = reason
            pair.group.lost(pair.other or Member(peer, 0))
            self._dirty[pair] = None
            # The next one may begin, and is to be watched in its presence, before this is polled.
            self._awaited.replace(pair, frozenset(), self._now)

    def _retry(self, peer: bytes, now: float) -> None:
        self._timers.arm((None, peer), now, RECONNECT_S)

    def _carry_out(self, hosted: HostedGroup, now: float) -> None:
        message: Message | None = None
        packed = b""
        sends: dict[Member, list[bytes]] = {}
        timers, tell = self._timers, self._events.append
        peer = hosted.peer
        event, whose = (GroupEvent, hosted.number) if peer is None else (PairEvent, peer)
        for output in hosted.poll():
            if type(output) is Send:
                to, each = output
                if each is not message:
                    message = each
                    packed = pack(each)
                if to in sends:
                    sends[to].append(packed)
                else:
                    sends[to] = [packed]
            elif type(output) is VoteWanted:
                tell(_new(event, (whose, output)))
            elif type(output) is Arm:
                timer, delay_s = output
                if timer[0] == "lease":
                    delay_s = hosted.grant(self._clocks, timer, delay_s)
                timers.arm((hosted, timer), now, delay_s)
            elif type(output) is Disarm:
                (timer,) = output
                timers.disarm((hosted, timer))
            elif type(output) is Decided:
                if output[1] is not None:
                    timers.disarm((hosted, output[1]))
                elif hosted.peer is not None:
                    continue  # Only who asked is told.
                tell(_new(event, (whose, output)))
            elif type(output) is LeaseAsked:
                if self._clocks is not None:
                    hosted.lease.asked(output.number, self._clocks())
            elif type(output) is LeaseGranted:
                hosted.lease.granted(output.number, output.lease_s)
            elif type(output) is Readable:
                self._tell(hosted, hosted.lease.ready(output.handle, output.lease))
            else:
                self._send(hosted, sends, now)
                sends = {}
                self._carry_out_rare(hosted, output, now)
        if sends:
            self._send(hosted, sends, now)
        self._awaited.stirred[hosted] = None

    def _carry_out_rare(self, hosted: HostedGroup, output: Output, now: float) -> None:
        """What may change to whom messages go; those before it are on their way."""
        if type(output) is ReachWanted:
            self._reach(hosted, output.candidate, now)
            return
        if type(output) is Installed and hosted.peer is None:
            self._install(hosted, output.view.members)
        elif type(output) is Lost and hosted.lost_because:
            output = Lost(hosted.lost_because)
        self._tell(hosted, output)
        if type(output) is Ended:
            if hosted.peer is not None:
                self._pair_ended(hosted, hosted.peer, now)
            elif self._hosted.get(hosted.number) is hosted:
                del self._hosted[hosted.number]
                self._retire(hosted, now)

    def _pair_ended(self, pair: HostedGroup, peer: bytes, now: float) -> None:
        """Its calls are over. While its lane goes on, the other hears so as soon as it can: what it
        asks then belongs to the next one."""
        self._timers.disarm_all(lambda timer: timer[0] is pair)
        if self._pairs.get(peer) is pair:
            self._outbox.say_gone(peer, PAIR_NUMBER, b"", pair.group.view.number, now)

    def _send(self, hosted: HostedGroup, sends: dict[Member, list[bytes]], now: float) -> None:
        """Messages that leave together; those of a broadcast are made entries once."""
        before: list[bytes] = []
        found: list[bytes] = []
        for to, packed in sends.items():
            if packed != before:
                before, found = packed, entries(packed)
            peer = hosted.peer or to.key
            lead = b""
            if hosted.peer is None:
                if self.contacts.lives.get(peer) != life(to):
                    continue  # The lane to that life is gone; the group learns of it by `link`.
                lead = prefix(hosted.group.me, to)
            for entry in found:
                if self._outbox.send(peer, hosted.number, lead + entry, now):
                    continue
                if hosted.peer is not None:
                    self._lose_pair(peer, "the presence has ended")
                break

    def _reach(self, hosted: HostedGroup, candidate: Candidate, now: float) -> None:
        member = candidate.member
        if self.contacts.is_up(member):
            hosted.group.reached(member, True)
        elif self.contacts.attempt(member, decode_addresses_untrusted(candidate.where), now):
            hosted.candidates[member] = candidate
        else:
            hosted.group.reached(member, False)
        self._dirty[hosted] = None

    def _install(self, hosted: HostedGroup, members: Sequence[Member]) -> None:
        before = hosted.members
        hosted.renew(tuple(m for m in members if m != hosted.group.me))
        self._demand.need([m.key for m in hosted.members], +1)
        self._demand.need([m.key for m in before], -1)
        for key in dict.fromkeys(m.key for m in (*hosted.members, *before)):
            self.peers.relays(key, in_common(key, self._hosted.values()))
        for member in hosted.members:
            # Until now nobody kept the presence with a joiner: it may have gone meanwhile, and
            # what was said to it then has gone with it.
            if self.contacts.lives.get(member.key) != life(member):
                if hosted.durable is None:
                    hosted.group.lost(member)
                elif self.contacts.addresses(member.key):
                    self.contacts.reconnect(member.key, self._now)
                else:
                    hosted.group.link(member, False)
            elif not self.contacts.is_up(member) or not self.contacts.is_heard(member.key):
                hosted.group.link(member, False)

    def _retire(self, hosted: HostedGroup, now: float) -> None:
        self._install(hosted, ())
        self._awaited.forget(hosted, now)
        self._timers.disarm_all(lambda timer: timer[0] is hosted)
