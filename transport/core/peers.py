"""The table of peers: dispatches datagrams to presences, drives handshakes, lanes and liveness.

Pure: time and randomness are arguments, datagrams go in and out by four verbs. After any change
drain `poll_transmits`, then `poll_events`, then arm a timer for `next_timeout`. Nothing a peer
sends raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transport.core.config import TransportConfig
from transport.core.constants import CID_SIZE
from transport.core.crypto.keys import Identity
from transport.core.dispatch import handshakes, receive, send, timeouts
from transport.core.dispatch.introductions import Introductions
from transport.core.dispatch.places import place_of
from transport.core.errors import LocalError, UnknownPeer
from transport.core.establish import connect, key_update, migration
from transport.core.events import APPLICATION_REASON_MAX, Event, PeerStatus, Reason
from transport.core.handshake.wire import is_handshake
from transport.core.peer import mailbox, relay, teardown, transmit
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.responder.responder import Responder
from transport.core.types import Address, Delivery, Message, RandomBytes, Transmit, Ways

__all__ = ["Peers"]


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
        self._context = context = Context(identity, config, random, incarnation)
        self._responder = Responder(identity, context.config.handshake, random, now)
        self.introductions = Introductions(context, self._responder)
        self.roams = config.roams  # `move` may be called
        self.needs_unix_time = bool(config.handshake.circles)  # see `tell_unix_time`
        context.responder_at = self._responder.next_timeout()
        self._now = now

    # -- verbs

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> bool:
        """Take datagrams in the order of their arrival. Whether any was a peer's. Never raises."""
        self._now = now
        context = self._context
        find = context.by_cid.get
        by_key = context.by_key
        dirty = context.dirty
        heard = False
        for data, address in batch:
            presence = find(data[:CID_SIZE])
            if presence is not None:
                peer = by_key[presence.key]
                opened = receive.receive_untrusted(context, peer, presence, data, address, now)
                heard |= opened
                if opened and not peer.dirty:
                    peer.dirty = True
                    dirty.append(peer)
            elif is_handshake(data):
                heard |= handshakes.receive_untrusted(context, self._responder, data, address, now)
            elif context.spares:
                moved = receive.receive_moved_untrusted(context, data, address, now)
                if moved is not None:
                    heard = True
                    context.mark(moved)
        if context.consulted:
            heard |= handshakes.poll(context, self._responder, now)
        return heard

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`."""
        self._now = now
        context = self._context
        while (peer := context.timers.due(now)) is not None:
            if peer.dropped:
                continue
            timeouts.handle_timeout(context, peer, now)
            if timeouts.rest(context, peer, now):
                context.timers.wake(peer, timeouts.rest_until(context, peer), now)
            else:
                context.mark(peer)
        if context.responder_at is not None and context.responder_at <= now:
            self._responder.handle_timeout(now)
            handshakes.poll(context, self._responder, now)

    def poll_transmits(self) -> list[Transmit]:
        """Everything that may go now; pending entries are packed once per call."""
        context = self._context
        now = self._now
        dirty = context.dirty
        if dirty:
            context.dirty = []
            soon = now + context.soon_s
            for peer in dirty:
                peer.dirty = False
                if peer.changed or peer.pending_accept is not None:
                    peer.changed = False
                    send.flush(context, peer, now)
                    if peer.dropped:
                        continue
                    due = timeouts.next_timeout(context, peer, now)
                    if due is not None and due < peer.wake_at:
                        context.timers.wake(peer, due, now)
                else:
                    # Only the lane has moved. What that makes due is due later than this; when
                    # it comes, the deadlines are looked at.
                    transmit.flush_lane(context, peer, now)
                    if peer.wake_at > soon:
                        context.timers.wake(peer, soon, now)
            if context.strained:
                context.strained = False
                self._responder.strained()
                context.responder_at = self._responder.next_timeout()
        out = context.out
        context.out = []
        return out

    def poll_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events = self._context.events
        self._context.events = []
        return events

    def prepare(self) -> None:
        """Do ahead what can be done, now that there is nothing to send. Need not be called."""
        initiator, self._context.unprepared = self._context.unprepared, None
        if initiator is not None:
            initiator.prepare()

    def next_timeout(self) -> float | None:
        """When `handle_timeout` is wanted; may be early, never late."""
        if self._context.dirty:
            return self._now
        due = self._context.timers.next_timeout()
        responder = self._context.responder_at
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
        found = place_of(self._context, peer, now)
        connect.seek(self._context, found, addresses, now, now + timeout_s, anew=anew)
        self._context.mark(found)

    def connect_anonymously(
        self, peer: bytes, addresses: Sequence[Address], now: float, timeout_s: float = 5.0
    ) -> bytes:
        """As `connect`, without telling the peer who this is, where it allows that.

        Returns the alias by which the peer goes in all that is said of this presence; nothing links
        it to another under the peer's key. It is had once. Raises as `connect`, and in a closed
        group.
        """
        self._now = now
        alias = connect.draw_alias(self._context, peer)
        try:
            self.connect(alias, addresses, now, timeout_s)
        except LocalError:
            self._context.masks.pop(alias, None)
            raise
        return alias

    def send(self, peer: bytes, group: int, entry: bytes, now: float) -> None:
        """Queue an entry; it leaves with the next `poll_transmits` if the window allows.

        Raises `UnknownPeer`, `LaneFull` (nothing was queued), or `LocalError` for an entry above
        64 KiB or a group number above 63 bits.
        """
        self._now = now
        context = self._context
        found = context.by_key.get(peer)
        if found is None or not (found.reported or found.attempt or found.kept):
            raise UnknownPeer("there is no presence with this peer, and none is being set up")
        found.lane.sender.push(group, entry)
        if not found.dirty:
            found.dirty = True
            context.dirty.append(found)

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
        context = self._context
        found = context.by_key.get(peer)
        if found is None:
            raise UnknownPeer("there is no presence with this peer")
        delivery = mailbox.send(context, found, message, now, timeout_s, reply_timeout_s, ways)
        if idle_s is not None:
            context.lingering[peer] = max(now + idle_s, context.lingering.get(peer, now))
        context.mark(found)
        return delivery

    def watch(self, peer: bytes, quick: bool, now: float) -> None:
        """Something is awaited from the peer, or no longer: probe it quickly. Unknown: nothing."""
        self._now = now
        found = self._context.by_key.get(peer)
        if found is not None and found.liveness.quick != quick:
            found.liveness.watch(quick, now)
            if not found.dirty:
                found.dirty = True
                self._context.dirty.append(found)

    def keep(self, peer: bytes, wanted: bool) -> None:
        """A group needs the peer: no idle expiry, slow probes, and its lane outlives silence.

        Raises `LocalError` if the table is full or the key is this node's own.
        """
        found = self._context.by_key.get(peer)
        if found is None:
            if not wanted:
                return
            found = place_of(self._context, peer, self._now)
        found.kept = wanted
        teardown.drop_if_unused(self._context, found)
        if not found.dropped:
            self._context.mark(found)

    def relays(self, peer: bytes, via: Sequence[bytes]) -> None:
        """Who may pass on sealed datagrams to and from the peer while the direct link is quiet,
        at most 16: peers that both sides keep. Replaces what was said before; unknown: nothing.

        The peer is `Silent` only when relays do not reach it either; `LinkCut` and `LinkHealed`
        tell when it is reached by relay only. Raises `LocalError` for keys that cannot relay.
        """
        found = self._context.by_key.get(peer)
        if found is not None:
            relay.configure(self._context, found, via, self._now)
            self._context.mark(found)

    def probe(self, peer: bytes, now: float) -> None:
        """Send one probe, which shows the peer this node's address. Unknown: nothing."""
        self._now = now
        found = self._context.by_key.get(peer)
        if found is not None and found.current is not None:
            found.current.ping(now)
            self._context.mark(found)

    def move(self, peer: bytes, now: float) -> None:
        """This node has, or is about to have, another address, and nobody is to see who it was
        before: go on under other connection ids and keys, from before anything leaves there. Needs
        `roams`. Raises `UnknownPeer` without a presence, `LocalError` if it is not confirmed, or if
        the peer was not heard since two moves.
        """
        self._now = now
        context = self._context
        if not context.config.roams:
            raise LocalError("this node does not roam: its peers know no other connection ids")
        migration.forget_ended(context)
        found = context.by_key.get(peer)
        if found is None:
            raise UnknownPeer("there is no presence with this peer")
        migration.move(context, found, now)
        context.mark(found)

    def bulk_passed(self, peer: bytes, size: int, now: float) -> None:
        """The bulk path has sent or received `size` bytes with the peer since the last call.

        They count toward the age and the limit of the keys, and against idle expiry. Call it once
        in a while, not for every datagram; unknown peers are ignored.
        """
        self._now = now
        found = self._context.by_key.get(peer)
        if found is not None and found.current is not None and size > 0:
            key_update.count_bulk(self._context, found.current, size, now)
            self._context.mark(found)

    def bulk_heard(self, peer: bytes, address: Address, size: int, now: float) -> None:
        """The peer's newest bulk datagram, of `size` bytes, came from another address than it is
        reached at: it is asked there and at the old one. Ignores peers without a presence."""
        self._now = now
        found = self._context.by_key.get(peer)
        if found is not None and found.current is not None:
            path, retry_s = found.current.path, found.rtt.timeout_s()
            path.arrived(address, size, True, retry_s, now)
            self._context.mark(found)

    def known(self) -> tuple[bytes, ...]:
        """All peers of whom there is anything."""
        return tuple(self._context.by_key)

    def owed_s(self, patience: float) -> float:
        """How long it may take peers to acknowledge what was sent and waits for that: `patience`
        time-outs of the slowest with a presence. 0 when nothing waits."""
        return max(
            (
                patience * peer.rtt.timeout_s()
                for peer in self._context.by_key.values()
                if peer.current is not None and not peer.lane.quiet
            ),
            default=0.0,
        )

    def close(self, peer: bytes, reason: int, now: float) -> None:
        """End the presence and any attempt; `reason`, at most 127, is told to the peer."""
        self._now = now
        if not 0 <= reason <= APPLICATION_REASON_MAX:
            raise LocalError(f"a reason is 0 to {APPLICATION_REASON_MAX}")
        found = self._context.by_key.get(peer)
        if found is not None:
            self._close(found, reason, now)

    def forget(self, peer: bytes) -> None:
        """End everything with the peer and drop what its lane holds."""
        found = self._context.by_key.get(peer)
        if found is not None:
            found.kept = False
            self._close(found, Reason.FORGOTTEN, self._now)

    def names(self, peer: bytes) -> tuple[bytes, bytes]:
        """What both sides call this node and the peer, also where one has told no name."""
        return self._context.names(peer)

    def clock(self, now: float) -> float:
        """This node's time as peers are shown it (`PeerStatus.clock_offset_s`)."""
        return now + self._context.config.handshake.clock_origin_s

    def tell_unix_time(self, unix_s: float, now: float) -> None:
        """What time it is, now and then: clocks are set."""
        handshake = replace(self._context.config.handshake, unix_offset_s=unix_s - now)
        self._context.config = replace(self._context.config, handshake=handshake)
        self._responder.tell_unix_time(unix_s - now)

    def status(self, peer: bytes) -> PeerStatus | None:
        """A snapshot of the peer; None if nothing is known of it."""
        found = self._context.by_key.get(peer)
        return None if found is None else found.status()

    def _close(self, peer: Peer, reason: int, now: float) -> None:
        if peer.attempt is not None:
            connect.attempt_failed(self._context, peer, reason)
        teardown.close(self._context, peer, reason, now)
        if not peer.dropped:
            self._context.mark(peer)
