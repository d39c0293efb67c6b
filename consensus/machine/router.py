"""Where one node's groups and its table of peers meet. Pure; `machine` adds what a node is asked.

What passes between the two: a group's `Send` becomes an entry of the lane to that member, an
entry becomes `receive`, the presence's liveness becomes `link`, a group's timers become part of
`next_timeout`. Entries of group number 0 belong to the view of two of `ask`; every other group
has a number made of its id. A message is meant for one incarnation and never reaches another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
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
from consensus.core.types import (
    Candidate,
    Handle,
    Member,
    Timer,
)
from consensus.machine.addresses import decode_addresses_untrusted
from consensus.machine.awaited import Awaited
from consensus.machine.contacts import Contacts
from consensus.machine.demand import Demand
from consensus.machine.hosted_group import UNREACHABLE, GroupEvent, HostedGroup, PairEvent, TimedOut
from consensus.machine.instant import Clocks
from consensus.machine.lease_clock import SLEW_BOUND, ReadReady
from consensus.machine.outbox import Outbox
from consensus.machine.timers import Timers
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.events import (
    ConnectFailed,
    EntriesReceived,
    Event,
    Heard,
    LaneRelieved,
    LinkCut,
    LinkHealed,
    PathMoved,
    PresenceDown,
    PresenceUp,
    Reason,
    Silent,
)
from transport.core.peer.relay import RELAYS_MAX
from transport.core.peers import Peers
from transport.core.types import RandomBytes

# Named tuples are made by thousands here, and this makes them twice as fast as calling them.
_new = tuple.__new__

PAIR_NUMBER = 0
RECONNECT_S = 1.0
"""How long after a failed attempt a member of a view is tried again."""


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Tuning of a node."""

    transport: TransportConfig = field(default_factory=TransportConfig)
    pair: GroupConfig = field(default_factory=GroupConfig)
    """For the views of two of `ask`."""


class Router:
    """Carries events up and outputs down. `me` is this life of the node."""

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
        self._config = config
        self.me = Member(identity.key, incarnation)
        self.peers = Peers(identity, config.transport, random, now, incarnation)
        self._hosted: dict[int, HostedGroup] = {}
        self._pairs: dict[bytes, HostedGroup] = {}
        self._dirty: dict[HostedGroup, None] = {}
        """Groups that were given something since their outputs were carried out. That is put off
        to the next poll, so that what was asked for together travels together."""
        self._now = now
        self._clocks = clocks
        self._events: list[object] = []
        self._timers = Timers[tuple[HostedGroup | None, Timer | bytes | Handle]]()
        self.contacts = Contacts(self.peers)
        self._outbox = Outbox(self.peers)
        self.absent: set[int] = set()
        """Groups that are on the disk and not resumed yet: what comes for them will come again."""
        self._demand = Demand(self.peers)
        self._awaited = Awaited(self._demand)

    def _pair(self, peer: bytes) -> HostedGroup:
        hosted = self._pairs.get(peer)
        if hosted is None:
            # A lane serves one pair of lives, and this group lives as long as the lane does: it
            # needs no incarnations, and can exist before the peer's is known.
            own, other = (Member(key, 0) for key in self.peers.names(peer))
            group = Group.pair(own, other, self._config.pair)
            hosted = self._pairs[peer] = HostedGroup(group, PAIR_NUMBER, peer=peer, other=other)
        return hosted

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
                self._link(Member(peer, incarnation), up=False)
                if peer in self._pairs and not self._demand.needs(peer):
                    # Whoever lives another life does not answer in this one: ask for a presence
                    # with it, or every question until the silence is given up would be lost.
                    self.contacts.renew(peer, now)
            case Heard(peer, incarnation):
                self._link(Member(peer, incarnation), up=True)
            case LinkCut(peer, incarnation, lasting) if lasting:
                # It is still heard by relays; but nobody can rely on that for ever.
                self._link(Member(peer, incarnation), up=False)
            case LinkHealed(peer, incarnation):
                self._link(Member(peer, incarnation), up=True)
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
        self, peer: bytes, life: int, entries: Sequence[tuple[int, bytes]], now: float
    ) -> None:
        for number, entry in entries:
            if number == PAIR_NUMBER:
                hosted = self._pair(peer)
                sender = hosted.other or Member(peer, 0)
            elif number in self._hosted:
                hosted, sender = self._hosted[number], Member(peer, life)
            else:
                if number not in self.absent:
                    self._outbox.tell_gone(peer, number, entry, now)
                continue
            hosted.receive_untrusted(sender, entry)
            self._dirty[hosted] = None

    def _link(self, member: Member, *, up: bool) -> None:
        pair = self._pairs.get(member.key)
        if pair is not None:
            pair.group.link(pair.other or Member(member.key, 0), up)
            self._dirty[pair] = None
        for hosted in self._hosted.values():
            if member in hosted.members or hosted.joining:
                hosted.group.link(member, up)
                self._dirty[hosted] = None

    def _presence_up(self, event: PresenceUp) -> None:
        peer, life = event.peer, event.incarnation
        before = self.contacts.lives.get(peer)
        if event.restarted or before not in (None, life):
            # What the lane held is gone: whoever was behind it cannot be in step any more.
            self._outbox.drop(peer)
            self._lose_pair(peer, "the peer has started anew")
        # Also if it is met for the first time: by a process that goes on with a group of before.
        for hosted in self._hosted.values():
            for member in hosted.members:
                over = member.incarnation != life or (event.restarted and not hosted.durable)
                if member.key == peer and over:
                    hosted.group.lost(member)
                    self._dirty[hosted] = None
        self.contacts.met(peer, life, event.address)
        if event.restarted or before != life:
            for hosted in self._hosted.values():
                if hosted.lane_began(Member(peer, life)):
                    self._dirty[hosted] = None
        self._link(Member(peer, life), up=True)
        for hosted in self._hosted.values():
            for candidate in [c for c in hosted.candidates if c.key == peer]:
                del hosted.candidates[candidate]
                hosted.group.reached(candidate, candidate.incarnation == life)
                self._dirty[hosted] = None

    def _presence_down(self, peer: bytes, life: int, reason: int, now: float) -> None:
        if self.contacts.lives.get(peer) != life:
            return
        # Who has just started anew is there: to a durable group that is a pause, and no silence.
        # What is lost to the others, the next `PresenceUp` tells.
        if reason != Reason.RESTARTED:
            self._link(Member(peer, life), up=False)
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
                    delay_s = self._grant(hosted, timer, delay_s)
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

    def _grant(self, hosted: HostedGroup, timer: Timer, delay_s: float) -> float:
        """A grant begins to run; when to look whether it is over."""
        if self._clocks is None:
            return delay_s * (1 + SLEW_BOUND)
        hosted.lease.grants(timer, delay_s, self._clocks())
        return delay_s

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
        if type(output) is Ended and hosted.peer is None:
            self._hosted.pop(hosted.number, None)
            self._retire(hosted, now)

    def _send(self, hosted: HostedGroup, sends: dict[Member, list[bytes]], now: float) -> None:
        """Messages that leave together; those of a broadcast are made entries once."""
        before: list[bytes] = []
        found: list[bytes] = []
        for to, packed in sends.items():
            if packed != before:
                before, found = packed, entries(packed)
            peer = hosted.peer or to.key
            if hosted.peer is None and self.contacts.lives.get(peer) != to.incarnation:
                continue  # The lane to that life of it is gone; the group learns of it by `link`.
            for entry in found:
                if self._outbox.send(peer, hosted.number, entry, now):
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
        hosted.renew(tuple(m for m in members if m != self.me))
        self._demand.need([m.key for m in hosted.members], +1)
        self._demand.need([m.key for m in before], -1)
        for key in dict.fromkeys(m.key for m in (*hosted.members, *before)):
            self.peers.relays(key, self._common(key))
        for member in hosted.members:
            # Until now nobody kept the presence with a joiner: it may have gone meanwhile, and
            # what was said to it then has gone with it.
            if self.contacts.lives.get(member.key) != member.incarnation:
                if hosted.durable is None:
                    hosted.group.lost(member)
                elif self.contacts.addresses(member.key):
                    self.contacts.reconnect(member.key, self._now)
                else:
                    hosted.group.link(member, False)
            elif not self.contacts.is_up(member):
                hosted.group.link(member, False)

    def _common(self, peer: bytes) -> list[bytes]:
        """Members of groups that this node and the peer share: they relay between the two, and
        for whom this node relays between them and the peer."""
        found: dict[bytes, None] = {}
        for hosted in self._hosted.values():
            keys = [member.key for member in hosted.members]
            if peer in keys:
                found.update(dict.fromkeys(keys))
        found.pop(peer, None)
        return list(found)[:RELAYS_MAX]

    def _retire(self, hosted: HostedGroup, now: float) -> None:
        self._install(hosted, ())
        self._awaited.forget(hosted, now)
        self._timers.disarm_all(lambda timer: timer[0] is hosted)
