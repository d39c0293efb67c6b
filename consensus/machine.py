"""One node, pure: a table of peers and the groups above it, behind the four verbs.

What passes between the two: a group's `Send` becomes an entry of the lane to that member, an
entry becomes `receive`, the presence's liveness becomes `link`, a group's timers become part of
`next_timeout`. Entries of group number 0 belong to the view of two of `ask`; every other group
has a number made of its id. A message is meant for one incarnation and never reaches another.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count

import msgpack

from consensus.core.config import WHERE_SIZE_MAX, GroupConfig
from consensus.core.errors import GroupError, MessageError
from consensus.core.group import Group
from consensus.core.messages import Assembler, decode_untrusted, encode
from consensus.core.outputs import (
    Arm,
    Disarm,
    Ended,
    Installed,
    Lost,
    Output,
    ReachWanted,
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
from transport.core.config import TransportConfig
from transport.core.errors import LaneFull, UnknownPeer
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
OVERFLOW_ENTRIES_MAX = 65_536
"""Messages waiting for room in one peer's lane: every group's window of every member, and more."""
ADDRESSES_MAX = 8
LINKS_TOLD_MAX = 64
"""Presences a joining group is told of at its beginning; it hears of later ones as they come up."""
_PART = b"\xc1"
RECONNECT_S = 1.0
"""How long after a failed attempt a member of a view is tried again."""


def group_number(group_id: bytes) -> int:
    """The number of a group on the lanes: 63 bits of its id, never that of `ask`."""
    return int.from_bytes(group_id[:8], "big") >> 1 or 1


@dataclass(frozen=True, slots=True)
class GroupEvent:
    """What a group has to say to the application."""

    number: int
    output: Output


@dataclass(frozen=True, slots=True)
class PairEvent:
    """What the view of two with `peer` has to say to the application."""

    peer: bytes
    output: Output


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Tuning of a node."""

    transport: TransportConfig = field(default_factory=TransportConfig)
    pair: GroupConfig = field(default_factory=GroupConfig)
    """For the views of two of `ask`."""


class _Slot:
    """A group with what the shell keeps for it."""

    __slots__ = (
        "armed", "assemblers", "candidates", "group", "joining", "lost_because", "members",
        "number", "peer", "watched",
    )  # fmt: skip

    def __init__(self, group: Group, number: int, peer: bytes | None, joining: bool = False):
        self.group = group
        self.number = number
        self.peer = peer
        self.joining = joining
        self.lost_because = ""
        self.assemblers: dict[Member, Assembler] = {}
        self.armed: dict[Timer, int] = {}
        self.candidates: dict[Member, Candidate] = {}
        self.members: tuple[Member, ...] = ()
        self.watched: frozenset[Member] = frozenset()


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
        self._slots: dict[int, _Slot] = {}
        self._pairs: dict[bytes, _Slot] = {}
        self._dirty: dict[_Slot, None] = {}
        self._events: list[object] = []
        self._timers: list[tuple[float, int, _Slot | None, Timer | bytes]] = []
        self._serial = count()
        self._lives: dict[bytes, int] = {}
        self._where: dict[bytes, tuple[Address, ...]] = {}
        self._overflow: dict[bytes, deque[tuple[int, bytes]]] = {}
        self._needed: dict[bytes, int] = {}
        self._quick: dict[bytes, int] = {}

    # The four verbs.

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> None:
        """Datagrams that came in, in order."""
        self.peers.receive_datagrams(batch, now)
        self._work(now)

    def handle_timeout(self, now: float) -> None:
        """The time that `next_timeout` named has come."""
        self.peers.handle_timeout(now)
        while self._timers and self._timers[0][0] <= now:
            _, serial, slot, timer = heapq.heappop(self._timers)
            if slot is None:
                assert isinstance(timer, bytes)
                self._reconnect(timer, now)
            elif isinstance(timer, Timer) and slot.armed.get(timer) == serial:
                del slot.armed[timer]
                slot.group.fire(timer)
                self._dirty[slot] = None
        self._work(now)

    def poll_transmits(self) -> list[Transmit]:
        """Datagrams that may go now."""
        return self.peers.poll_transmits()

    def poll_events(self) -> list[object]:
        """GroupEvent, PairEvent and the transport's events, in the order in which they happened."""
        events, self._events = self._events, []
        return events

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""
        peers_at = self.peers.next_timeout()
        if not self._timers:
            return peers_at
        return self._timers[0][0] if peers_at is None else min(peers_at, self._timers[0][0])

    # What the application asks for.

    def know(self, peer: bytes, addresses: Iterable[Address]) -> None:
        """Where a peer may be found."""
        self._where[peer] = tuple(addresses)[:ADDRESSES_MAX]

    def connect(self, peer: bytes, now: float, timeout_s: float) -> None:
        """Have a presence with a peer whose address is known. Raises LocalError if it is not."""
        self.peers.connect(peer, self._addresses(peer), now, timeout_s)
        self._work(now)

    def found(self, number: int, config: GroupConfig, now: float) -> None:
        """Found a group: its first view is this node alone."""
        self._add(number, Group.found(self.me, config), joining=False)
        self._work(now)

    def join(self, number: int, sponsor: bytes, config: GroupConfig, now: float) -> None:
        """Stand ready to be taken into a group by a sponsor with whom a presence is up."""
        life = self._lives.get(sponsor)
        if life is None:
            raise GroupError("no presence with the sponsor")
        group = Group.joining(self.me, Member(sponsor, life), config)
        for peer, incarnation in sorted(self._lives.items())[:LINKS_TOLD_MAX]:
            group.link(Member(peer, incarnation), True)
        self._add(number, group, joining=True)
        self._work(now)

    def sponsor(
        self, number: int, joiner: bytes, addresses: Sequence[Address], now: float
    ) -> Ticket:
        """Propose to admit a peer with whom a presence is up, in its present life."""
        life = self._lives.get(joiner)
        if life is None:
            raise GroupError("no presence with the joiner")
        slot = self._slot(number)
        ticket = slot.group.sponsor(Member(joiner, life), encode_addresses(addresses))
        return self._acted(slot, ticket, now)

    def propose(self, number: int, content: Content, now: float) -> Ticket:
        """Put a proposal to a group. Raises GroupError."""
        slot = self._slot(number)
        return self._acted(slot, slot.group.propose(content), now)

    def answer(self, number: int, proposal: ProposalId, vote: Vote, now: float) -> None:
        """The application's vote. Too late or unknown is no error."""
        slot = self._slots.get(number)
        if slot is not None:
            slot.group.answer(proposal, vote)
            self._acted(slot, 0, now)

    def kick(self, number: int, member: Member, reason: str, now: float) -> Ticket:
        """Propose to remove a member. Raises GroupError."""
        slot = self._slot(number)
        return self._acted(slot, slot.group.kick(member, reason), now)

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
        """Propose in the view of two with `peer`. Connects if need be; raises LocalError when it
        is not known where the peer is."""
        if peer == self.me.key:
            raise GroupError("a node does not ask itself")
        slot = self._pair(peer)
        if peer not in self._lives:
            self.peers.connect(peer, self._addresses(peer), now, timeout_s)
        return self._acted(slot, slot.group.propose(content), now)

    def answer_peer(self, peer: bytes, proposal: ProposalId, vote: Vote, now: float) -> None:
        """The application's vote on what a peer asked. Too late is no error."""
        slot = self._pairs.get(peer)
        if slot is not None:
            slot.group.answer(proposal, vote)
            self._acted(slot, 0, now)

    def life(self, peer: bytes) -> int | None:
        """The incarnation of a peer with whom a presence is up."""
        return self._lives.get(peer)

    def addresses(self, peer: bytes) -> tuple[Address, ...]:
        """Where a peer was last reached, or is said to be found; may be empty."""
        status = self.peers.status(peer)
        known = self._where.get(peer, ())
        if status is None or status.address is None or status.address in known:
            return known
        return (status.address, *known)[:ADDRESSES_MAX]

    # Between the two.

    def _addresses(self, peer: bytes) -> tuple[Address, ...]:
        found = self.addresses(peer)
        if not found:
            raise GroupError(f"no address is known for {peer.hex()[:16]}")
        return found

    def _slot(self, number: int) -> _Slot:
        slot = self._slots.get(number)
        if slot is None:
            raise GroupError("this node is not in that group")
        return slot

    def _add(self, number: int, group: Group, *, joining: bool) -> None:
        if number in self._slots or number == PAIR_NUMBER:
            raise GroupError("this node is in that group already")
        if len(self._slots) >= GROUPS_MAX:
            raise GroupError(f"a node is in at most {GROUPS_MAX} groups")
        slot = self._slots[number] = _Slot(group, number, None, joining)
        self._dirty[slot] = None

    def _pair(self, peer: bytes) -> _Slot:
        slot = self._pairs.get(peer)
        if slot is None:
            # A lane serves one pair of lives, and this group lives as long as the lane does: it
            # needs no incarnations, and can exist before the peer's is known.
            group = Group.pair(Member(self.me.key, 0), Member(peer, 0), self._config.pair)
            slot = self._pairs[peer] = _Slot(group, PAIR_NUMBER, peer)
        return slot

    def _acted(self, slot: _Slot, ticket: Ticket, now: float) -> Ticket:
        self._dirty[slot] = None
        self._work(now)
        return ticket

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
        match event:
            case EntriesReceived(peer, incarnation, entries):
                self._receive(peer, incarnation, entries)
                return
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
                self._relieve(peer, now)
        self._events.append(event)

    def _receive(self, peer: bytes, life: int, entries: Sequence[tuple[int, bytes]]) -> None:
        for number, entry in entries:
            if number == PAIR_NUMBER:
                slot, sender = self._pair(peer), Member(peer, 0)
            elif number in self._slots:
                slot, sender = self._slots[number], Member(peer, life)
            else:
                continue
            try:
                if entry[:1] == _PART:
                    assembler = slot.assemblers.get(sender)
                    if assembler is None:
                        assembler = slot.assemblers[sender] = Assembler()
                    message = assembler.receive_untrusted(entry)
                else:
                    message = decode_untrusted(entry)
            except MessageError:
                slot.group._accuse(sender, "sent what is no message")
            else:
                if message is not None:
                    slot.group.receive(sender, message)
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
        before = self._lives.get(peer)
        if event.restarted or before not in (None, life):
            self._overflow.pop(peer, None)
            self._lose_pair(peer, "the peer has started anew")
            for slot in self._slots.values():
                for member in slot.members:
                    if member.key == peer and member.incarnation != life:
                        slot.group.lost(member)
                        self._dirty[slot] = None
        self._lives[peer] = life
        self._link(Member(peer, life), up=True)
        for slot in self._slots.values():
            for candidate in [c for c in slot.candidates if c.key == peer]:
                del slot.candidates[candidate]
                slot.group.reached(candidate, candidate.incarnation == life)
                self._dirty[slot] = None

    def _presence_down(self, peer: bytes, life: int, now: float) -> None:
        if self._lives.get(peer) != life:
            return
        self._link(Member(peer, life), up=False)
        if self._needed.get(peer):
            self._retry(peer, now)
        else:
            del self._lives[peer]
            self._overflow.pop(peer, None)
            self._lose_pair(peer, "the presence has ended")

    def _connect_failed(self, peer: bytes, now: float) -> None:
        for slot in self._slots.values():
            for candidate in [c for c in slot.candidates if c.key == peer]:
                del slot.candidates[candidate]
                slot.group.reached(candidate, False)
                self._dirty[slot] = None
        if self._needed.get(peer):
            self._retry(peer, now)
        elif peer not in self._lives:
            self._overflow.pop(peer, None)
            self._lose_pair(peer, "the peer could not be reached")

    def _lose_pair(self, peer: bytes, reason: str) -> None:
        pair = self._pairs.pop(peer, None)
        if pair is not None:
            pair.lost_because = reason
            pair.group.lost(Member(peer, 0))
            self._dirty[pair] = None

    def _retry(self, peer: bytes, now: float) -> None:
        heapq.heappush(self._timers, (now + RECONNECT_S, next(self._serial), None, peer))

    def _reconnect(self, peer: bytes, now: float) -> None:
        status = self.peers.status(peer)
        addresses = self.addresses(peer)
        if self._needed.get(peer) and addresses and (status is None or not status.up):
            self.peers.connect(peer, addresses, now)

    def _carry_out(self, slot: _Slot, now: float) -> None:
        message: Message | None = None
        entries: list[bytes] = []
        for output in slot.group.poll():
            if type(output) is Send:
                if output.message is not message:
                    message = output.message
                    entries = encode(message)
                for entry in entries:
                    self._send(slot, output.to, entry, now)
            elif type(output) is Arm:
                serial = slot.armed[output.timer] = next(self._serial)
                heapq.heappush(self._timers, (now + output.delay_s, serial, slot, output.timer))
            elif type(output) is Disarm:
                slot.armed.pop(output.timer, None)
            elif type(output) is ReachWanted:
                self._reach(slot, output.candidate, now)
            else:
                if type(output) is Installed and slot.peer is None:
                    slot.joining = False
                    self._install(slot, output.view.members)
                elif type(output) is Lost and slot.lost_because:
                    output = Lost(slot.lost_because)
                if slot.peer is not None:
                    self._events.append(PairEvent(slot.peer, output))
                else:
                    self._events.append(GroupEvent(slot.number, output))
                if type(output) is Ended and slot.peer is None:
                    self._slots.pop(slot.number, None)
                    self._retire(slot, now)
        awaited = slot.group.awaited
        if awaited != slot.watched:
            self._watch(slot, awaited, now)

    def _send(self, slot: _Slot, to: Member, entry: bytes, now: float) -> None:
        peer = to.key
        if slot.peer is None and self._lives.get(peer) != to.incarnation:
            return  # The lane to that life of it is gone; the group learns of it by `link`.
        waiting = self._overflow.get(peer)
        if waiting is None:
            try:
                self.peers.send(peer, slot.number, entry, now)
                return
            except UnknownPeer:
                self._lose_pair(peer, "the presence has ended")
                return
            except LaneFull:
                waiting = self._overflow[peer] = deque()
        waiting.append((slot.number, entry))
        if len(waiting) > OVERFLOW_ENTRIES_MAX:
            del self._overflow[peer]
            self.peers.forget(peer)

    def _relieve(self, peer: bytes, now: float) -> None:
        waiting = self._overflow.get(peer)
        if waiting is None:
            return
        try:
            while waiting:
                self.peers.send(peer, *waiting[0], now)
                waiting.popleft()
        except LaneFull:
            return
        del self._overflow[peer]

    def _reach(self, slot: _Slot, candidate: Candidate, now: float) -> None:
        member = candidate.member
        status = self.peers.status(member.key)
        if member == self.me:
            slot.group.reached(member, False)
        elif status is not None and status.up and self._lives.get(member.key) == member.incarnation:
            slot.group.reached(member, True)
        else:
            addresses = decode_addresses_untrusted(candidate.where)
            if addresses:
                slot.candidates[member] = candidate
                self.peers.connect(member.key, addresses, now)
            else:
                slot.group.reached(member, False)
        self._dirty[slot] = None

    def _install(self, slot: _Slot, members: Sequence[Member]) -> None:
        before, slot.members = slot.members, tuple(m for m in members if m != self.me)
        self._need([m.key for m in slot.members], +1)
        self._need([m.key for m in before], -1)

    def _need(self, keys: Iterable[bytes], step: int) -> None:
        for key in keys:
            wanted = self._needed.get(key, 0) + step
            self._needed[key] = wanted
            if wanted == 0:
                del self._needed[key]
            self.peers.keep(key, wanted > 0)

    def _watch(self, slot: _Slot, awaited: frozenset[Member], now: float) -> None:
        begin = [(member, 1) for member in sorted(awaited - slot.watched)]
        end = [(member, -1) for member in sorted(slot.watched - awaited)]
        for member, step in begin + end:
            wanted = self._quick.get(member.key, 0) + step
            self._quick[member.key] = wanted
            if wanted == 0:
                del self._quick[member.key]
            if wanted == 0 or (wanted == 1 and step == 1):
                self.peers.watch(member.key, wanted > 0, now)
        slot.watched = awaited

    def _retire(self, slot: _Slot, now: float) -> None:
        self._install(slot, ())
        self._watch(slot, frozenset(), now)
        slot.armed.clear()


def encode_addresses(addresses: Sequence[Address]) -> bytes:
    """A joiner's addresses as the group carries them."""
    return bytes(msgpack.packb([list(address) for address in addresses[:ADDRESSES_MAX]]))


def decode_addresses_untrusted(data: bytes) -> tuple[Address, ...]:
    """The addresses of a joiner; none where the bytes are no such list."""
    if len(data) > WHERE_SIZE_MAX:
        return ()
    try:
        rows = msgpack.unpackb(data, max_array_len=ADDRESSES_MAX, max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return ()
    if not isinstance(rows, list):
        return ()
    found = []
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2):
            return ()
        host, port = row
        if not (isinstance(host, str) and isinstance(port, int) and 0 < port <= 0xFFFF):
            return ()
        found.append((host, port))
    return tuple(found)
