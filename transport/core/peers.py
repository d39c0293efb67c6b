"""The table of peers: dispatches datagrams to presences, drives handshakes, lanes and liveness.

Pure: time and randomness are arguments, datagrams go in and out by four verbs. After any change
drain `poll_transmits`, then `poll_events`, then arm a timer for `next_timeout`. Nothing a peer
sends raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transport.core.config import TransportConfig
from transport.core.constants import CID_SIZE, KEY_SIZE, PAYLOAD_SIZE_MAX
from transport.core.crypto.keys import Identity
from transport.core.dispatch import timeouts
from transport.core.dispatch.introductions import Introductions
from transport.core.errors import LocalError, UnknownPeer
from transport.core.establish import accept, migration
from transport.core.establish import connect as initiating
from transport.core.events import APPLICATION_REASON_MAX, Event, PeerStatus, Reason
from transport.core.handshake.wire import echo_of_untrusted, is_handshake
from transport.core.initiator.simultaneous_open import PROBE_PREFIX
from transport.core.lane.message import Delivery, Message, Ways
from transport.core.peer import mailbox, relay
from transport.core.peer.context import Table
from transport.core.peer.peer import Relation
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder
from transport.core.types import Address, RandomBytes, Transmit

__all__ = ["Peers"]

_RESERVED_SHARE = 8
"""One place in so many of the table of peers is for those this node connects to or keeps."""


class Peers:
    """Everything one node shares with its peers."""

    def __init__(
        self,
        identity: Identity,
        config: TransportConfig,
        random: RandomBytes,
        now: float,
        incarnation: int,
    ) -> None:
        """`incarnation`: 64 random bits, drawn when the process starts."""
        if incarnation >> 64:
            raise LocalError("an incarnation has 64 bits")
        self._table = Table(identity, config, random, incarnation)
        self._responder = Responder(identity, self._table.config.handshake, random, now)
        self.introductions = Introductions(self._table, self._responder, self._relation)
        self.roams = config.roams  # `move` may be called
        self.needs_unix_time = bool(config.handshake.groups)  # see `tell_unix_time`
        self._responder_at = self._responder.next_timeout()
        self._consulted = False  # the responder was given something and is to be polled
        self._now = now

    # -- verbs

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> bool:
        """Take datagrams in the order of their arrival. Whether any was a peer's. Never raises."""
        self._now = now
        table = self._table
        find = table.by_cid.get
        dirty = table.dirty
        heard = False
        for data, address in batch:
            presence = find(data[:CID_SIZE])
            if presence is not None:
                relation = presence.relation
                opened = relation.receive_untrusted(presence, data, address, now)
                heard |= opened
                if opened and not relation.dirty:
                    relation.dirty = True
                    dirty.append(relation)
            elif is_handshake(data):
                heard |= self._handshake_untrusted(data, address, now)
            elif table.spares:
                moved = migration.receive_untrusted(table, data, address, now)
                if moved is not None:
                    heard = True
                    table.mark(moved)
        if self._consulted:
            heard |= self._poll_responder(now)
        return heard

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`."""
        self._now = now
        table = self._table
        while (relation := table.timers.due(now)) is not None:
            if relation.dropped:
                continue
            timeouts.handle_timeout(table, relation, now)
            if timeouts.rest(table, relation, now):
                table.timers.wake(relation, timeouts.rest_until(table, relation), now)
            else:
                table.mark(relation)
        if self._responder_at is not None and self._responder_at <= now:
            self._responder.handle_timeout(now)
            self._poll_responder(now)

    def poll_transmits(self) -> list[Transmit]:
        """Everything that may go now; pending entries are packed once per call."""
        table = self._table
        now = self._now
        dirty = table.dirty
        if dirty:
            table.dirty = []
            soon = now + table.soon_s
            for relation in dirty:
                relation.dirty = False
                if relation.changed or relation.admission is not None:
                    relation.changed = False
                    relation.flush(now)
                    if relation.dropped:
                        continue
                    due = timeouts.next_timeout(table, relation, now)
                    if due is not None and due < relation.wake_at:
                        table.timers.wake(relation, due, now)
                else:
                    # Only the lane has moved. What that makes due is due later than this; when
                    # it comes, the deadlines are looked at.
                    relation.flush_lane(now)
                    if relation.wake_at > soon:
                        table.timers.wake(relation, soon, now)
            if table.strained:
                table.strained = False
                self._responder.strained()
                self._responder_at = self._responder.next_timeout()
        out = table.out
        table.out = []
        return out

    def poll_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events = self._table.events
        self._table.events = []
        return events

    def prepare(self) -> None:
        """Do ahead what can be done, now that there is nothing to send. Need not be called."""
        initiator, self._table.unprepared = self._table.unprepared, None
        if initiator is not None:
            initiator.prepare()

    def next_timeout(self) -> float | None:
        """When `handle_timeout` is wanted; may be early, never late."""
        if self._table.dirty:
            return self._now
        due = self._table.timers.next_timeout()
        responder = self._responder_at
        if due is None or (responder is not None and responder < due):
            return responder
        return due

    # -- actions

    def connect(
        self,
        peer: bytes,
        addresses: Sequence[Address],
        now: float,
        timeout_s: float = 5.0,
        *,
        anew: bool = False,
    ) -> None:
        """Bring about a presence, trying `addresses` side by side.

        Ends in `PresenceUp` or `ConnectFailed`. A peer that is up and heard needs nothing, and
        nothing is said, unless the presence is wanted `anew` because the peer is said to live
        another life; an attempt under way takes the addresses as well. Raises `LocalError` for
        a key that is none or this node's own, for no address, and if a table is full.
        """
        self._now = now
        if not addresses:
            raise LocalError("there is no address to try")
        if timeout_s <= 0:
            raise LocalError("a timeout is positive")
        table = self._table
        relation = self._relation(peer, now)
        attempt = relation.attempt
        if attempt is not None:
            attempt.add(addresses)
            attempt.deadline = max(attempt.deadline, now + timeout_s)
            attempt.next_at = now
            attempt.asked = True
        elif anew or relation.current is None or relation.liveness.silent_at is not None:
            if peer in table.masks and relation.incarnation is not None:
                raise LocalError("a presence without a name is not had a second time")
            try:
                initiating.begin_attempt(table, relation, addresses, now, now + timeout_s)
            except LocalError:
                relation.drop_if_unused()
                raise
        table.mark(relation)

    def connect_anonymously(
        self, peer: bytes, addresses: Sequence[Address], now: float, timeout_s: float = 5.0
    ) -> bytes:
        """As `connect`, without telling the peer who this is, where it allows that.

        Returns the alias by which the peer goes in all that is said of this presence; nothing links
        it to another under the peer's key. It is had once. Raises as `connect`, and in a closed
        group.
        """
        self._now = now
        alias = initiating.draw_alias(self._table, peer)
        try:
            self.connect(alias, addresses, now, timeout_s)
        except LocalError:
            self._table.masks.pop(alias, None)
            raise
        return alias

    def send(self, peer: bytes, group: int, entry: bytes, now: float) -> None:
        """Queue an entry; it leaves with the next `poll_transmits` if the window allows.

        Raises `UnknownPeer`, `LaneFull` (nothing was queued), or `LocalError` for an entry above
        64 KiB or a group number above 63 bits.
        """
        self._now = now
        table = self._table
        relation = table.relations.get(peer)
        if relation is None or not (relation.reported or relation.attempt or relation.kept):
            raise UnknownPeer("there is no presence with this peer, and none is being set up")
        relation.lane.sender.push(group, entry)
        if not relation.dirty:
            relation.dirty = True
            table.dirty.append(relation)

    def send_message(
        self,
        peer: bytes,
        message: Message,
        now: float,
        *,
        timeout_s: float | None = 5.0,
        reply_timeout_s: float | None = None,
        idle_s: float | None = None,
        ways: Ways = Ways.ANY,
    ) -> Delivery:
        """Send a message of one datagram; `DeliveryKnown` tells what became of it.

        `timeout_s` is for its arrival, `reply_timeout_s` for an answer; None for no limit and for
        no answer awaited. `idle_s`: so long the presence is kept from now on, by slow probes.
        Raises `UnknownPeer`, `LaneFull`, or `LocalError` for a body above 1,024 bytes (fewer with
        references) and for no way to send it.
        """
        self._now = now
        table = self._table
        relation = table.relations.get(peer)
        if relation is None:
            raise UnknownPeer("there is no presence with this peer")
        delivery = mailbox.send(table, relation, message, now, timeout_s, reply_timeout_s, ways)
        if idle_s is not None:
            table.lingering[peer] = max(now + idle_s, table.lingering.get(peer, now))
        table.mark(relation)
        return delivery

    def watch(self, peer: bytes, quick: bool, now: float) -> None:
        """Something is awaited from the peer, or no longer: probe it quickly. Unknown: nothing."""
        self._now = now
        relation = self._table.relations.get(peer)
        if relation is not None and relation.liveness.quick != quick:
            relation.liveness.watch(quick, now)
            if not relation.dirty:
                relation.dirty = True
                self._table.dirty.append(relation)

    def keep(self, peer: bytes, wanted: bool) -> None:
        """A group needs the peer: no idle expiry, slow probes, and its lane outlives silence.

        Raises `LocalError` if the table is full or the key is this node's own.
        """
        relation = self._table.relations.get(peer)
        if relation is None:
            if not wanted:
                return
            relation = self._relation(peer, self._now)
        relation.kept = wanted
        relation.drop_if_unused()
        if not relation.dropped:
            self._table.mark(relation)

    def relays(self, peer: bytes, via: Sequence[bytes]) -> None:
        """Who may pass on sealed datagrams to and from the peer while the direct link is quiet,
        at most 16: peers that both sides keep. Replaces what was said before; unknown: nothing.

        The peer is `Silent` only when relays do not reach it either; `LinkCut` and `LinkHealed`
        tell when it is reached by relay only. Raises `LocalError` for keys that cannot relay.
        """
        relation = self._table.relations.get(peer)
        if relation is not None:
            relay.configure(self._table, relation, via, self._now)
            self._table.mark(relation)

    def probe(self, peer: bytes, now: float) -> None:
        """Send one probe, which shows the peer this node's address. Unknown: nothing."""
        self._now = now
        relation = self._table.relations.get(peer)
        if relation is not None and relation.current is not None:
            relation.current.ping(now)
            self._table.mark(relation)

    def move(self, peer: bytes, now: float) -> None:
        """This node has, or is about to have, another address, and nobody is to see who it was
        before: go on under other connection ids and keys, from before anything leaves there. Needs
        `roams`. Raises `UnknownPeer` without a presence, `LocalError` if it is not confirmed, or if
        the peer was not heard since two moves.
        """
        self._now = now
        table = self._table
        if not table.config.roams:
            raise LocalError("this node does not roam: its peers know no other connection ids")
        migration.forget_ended(table)
        relation = table.relations.get(peer)
        if relation is None:
            raise UnknownPeer("there is no presence with this peer")
        migration.move(table, relation, now)
        table.mark(relation)

    def bulk_passed(self, peer: bytes, size: int, now: float) -> None:
        """The bulk path has sent or received `size` bytes with the peer since the last call.

        They count toward the age and the limit of the keys, and against idle expiry. Call it once
        in a while, not for every datagram; unknown peers are ignored.
        """
        self._now = now
        relation = self._table.relations.get(peer)
        if relation is not None and relation.current is not None and size > 0:
            presence = relation.current
            presence.bulk_datagrams += -(-size // PAYLOAD_SIZE_MAX)
            presence.bulk_at = now
            limit = self._table.config.rekey_datagrams
            due = presence.sealed >= limit
            if due and presence.renewal is None and presence.renew_tries == 0:
                presence.renew_at = now
            self._table.mark(relation)

    def bulk_heard(self, peer: bytes, address: Address, size: int, now: float) -> None:
        """The peer's newest bulk datagram, of `size` bytes, came from another address than it is
        reached at: it is asked there and at the old one. Ignores peers without a presence."""
        self._now = now
        relation = self._table.relations.get(peer)
        if relation is not None and relation.current is not None:
            path, retry_s = relation.current.path, relation.rtt.timeout_s()
            path.arrived(address, size, True, retry_s, now)
            self._table.mark(relation)

    def close(self, peer: bytes, reason: int, now: float) -> None:
        """End the presence and any attempt; `reason`, at most 127, is told to the peer."""
        self._now = now
        if not 0 <= reason <= APPLICATION_REASON_MAX:
            raise LocalError(f"a reason is 0 to {APPLICATION_REASON_MAX}")
        relation = self._table.relations.get(peer)
        if relation is not None:
            self._close(relation, reason, now)

    def forget(self, peer: bytes) -> None:
        """End everything with the peer and drop what its lane holds."""
        relation = self._table.relations.get(peer)
        if relation is not None:
            relation.kept = False
            self._close(relation, Reason.FORGOTTEN, self._now)

    def names(self, peer: bytes) -> tuple[bytes, bytes]:
        """What both sides call this node and the peer, also where one has told no name."""
        return self._table.names(peer)

    def clock(self, now: float) -> float:
        """This node's time as peers are shown it (`PeerStatus.clock_offset_s`)."""
        return now + self._table.config.handshake.clock_origin_s

    def tell_unix_time(self, unix_s: float, now: float) -> None:
        """What time it is, now and then: clocks are set."""
        handshake = replace(self._table.config.handshake, unix_offset_s=unix_s - now)
        self._table.config = replace(self._table.config, handshake=handshake)
        self._responder.tell_unix_time(unix_s - now)

    def status(self, peer: bytes) -> PeerStatus | None:
        """A snapshot of the peer; None if nothing is known of it."""
        relation = self._table.relations.get(peer)
        return None if relation is None else relation.status()

    # -- inside

    def _close(self, relation: Relation, reason: int, now: float) -> None:
        if relation.attempt is not None:
            initiating.attempt_failed(self._table, relation, reason)
        relation.close(reason, now)
        if not relation.dropped:
            self._table.mark(relation)

    def _relation(self, peer: bytes, now: float, *, ours: bool = True) -> Relation:
        table = self._table
        relation = table.relations.get(peer)
        if relation is None:
            if len(peer) != KEY_SIZE or peer == table.identity.key:
                raise LocalError("a peer is another node's key of 32 bytes")
            room = table.config.peers_max
            room -= 0 if ours else room // _RESERVED_SHARE
            if len(table.relations) >= room and not timeouts.make_room(table, now):
                raise LocalError("the table of peers is full")
            relation = table.relations[peer] = Relation(table, peer, now)
        return relation

    def _handshake_untrusted(self, data: bytes, address: Address, now: float) -> bool:
        """Whether it was a peer's, and did something."""
        table = self._table
        echo = echo_of_untrusted(data)
        if echo is not None:
            relation = table.by_echo.get(echo)
            if relation is None:
                return False
            heard = initiating.attempt_datagram_untrusted(table, relation, data, address, now)
            if not relation.dropped:
                table.mark(relation)
            return heard
        if data.startswith(PROBE_PREFIX):
            initiating.probe_untrusted(table, data, address, now)
            return False
        crowded = table.crowded
        result = self._responder.receive_untrusted(data, address, now, crowded=crowded)
        if isinstance(result, Reply):
            table.out.append(Transmit(result.data, address))
        elif result is not None:
            self._admit(result, now)
        self._consulted = True
        return isinstance(result, Admitted)

    def _poll_responder(self, now: float) -> bool:
        """Whether anybody was admitted."""
        self._consulted = found = False
        while (admitted := self._responder.poll(now)) is not None:
            found = True
            self._admit(admitted, now)
        self._responder_at = self._responder.next_timeout()
        return found

    def _admit(self, admitted: Admitted, now: float) -> None:
        try:
            relation = self._relation(admitted.peer, now, ours=False)
        except LocalError:
            return  # the table is full: to this peer, we are not there
        table = self._table
        accept.admit(table, relation, admitted, now)
        relation.drop_if_unused()
        if not relation.dropped:
            table.mark(relation)
