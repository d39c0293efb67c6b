"""Everything between this node and one peer: presences, the lane, liveness, attempts.

How presences come about is in `meeting`; here is what happens with those that exist.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf

from transport.core import frames
from transport.core.crypto.aead import SEALED_PAYLOAD_SIZE_MAX
from transport.core.dispatch import frames_in
from transport.core.errors import WireError
from transport.core.establish import accept, connect, migration
from transport.core.establish.accept import Admission
from transport.core.events import (
    BulkClosed,
    EntriesReceived,
    Heard,
    PeerStatus,
    PresenceDown,
    Reason,
)
from transport.core.frames import LANE, LANE_KIND_MASK
from transport.core.initiator.attempt import Attempt
from transport.core.lane.lane import HEADER_SIZE_MAX, Lane
from transport.core.lane.queue import BODY_SIZE_MAX
from transport.core.lane.rtt import RoundTrip
from transport.core.lane.tombstones import Evidence, HalfLane
from transport.core.peer import mailbox, relay
from transport.core.peer.context import Table
from transport.core.peer.relay import Detour
from transport.core.presence.liveness import Liveness
from transport.core.presence.presence import Presence
from transport.core.types import Address, Transmit

__all__ = ["Relation"]

_named = tuple.__new__  # what a named tuple's own constructor calls, without the call around it
_LANE_ROOM = HEADER_SIZE_MAX + BODY_SIZE_MAX


class Relation:
    """One peer's. Created by `connect`, `keep` or an admitted P3; dropped when nothing is left."""

    __slots__ = (
        "active_at",
        "admission",
        "attempt",
        "changed",
        "current",
        "detour",
        "dirty",
        "dropped",
        "evidence",
        "former",
        "incarnation",
        "kept",
        "lane",
        "liveness",
        "peer",
        "reported",
        "restarted",
        "rtt",
        "switched_at",
        "table",
        "unconfirmed",
        "wake_at",
        "wakeups",
    )

    def __init__(self, table: Table, peer: bytes, now: float) -> None:
        config = table.config
        self.table = table
        self.peer = peer
        self.rtt = RoundTrip(config.rto_initial_s, config.rto_min_s, config.rto_max_s)
        self.liveness = Liveness(config, self.rtt, now)
        self.lane = self.new_lane()
        self.incarnation: int | None = None
        """Of the peer, to whose life the lane belongs; None: it has never been met."""
        self.current: Presence | None = None
        """Where new datagrams go."""
        self.former: tuple[Presence, ...] = ()
        """Replaced or closed ones, which still open datagrams for a while."""
        self.unconfirmed: tuple[Presence, ...] = ()
        """Made from the peer's P3s; the first datagram that opens makes one current."""
        self.attempt: Attempt | None = None
        self.admission: Admission | None = None
        self.kept = False
        self.reported = False
        """`PresenceUp` was told and `PresenceDown` was not."""
        self.restarted = False
        """The lane began anew since the last `PresenceUp`."""
        self.evidence = Evidence.NONE
        """What speaks for the peer while it is not confirmed."""
        self.active_at = now
        """When an entry passed last, either way."""
        self.switched_at = now
        """When `current` changed last."""
        self.detour: Detour | None = None
        self.dirty = False
        """It is in the table's list of those to look at."""
        self.changed = False
        """Something other than the lane: look at everything."""
        self.dropped = False
        self.wake_at = inf
        self.wakeups: tuple[float, ...] = ()

    def new_lane(self) -> Lane:
        """A lane in whose life nothing has happened yet."""
        table = self.table
        return Lane(table.config, self.rtt, int.from_bytes(table.random(8), "big") or 1)

    # -- receiving

    def receive_untrusted(
        self, presence: Presence, datagram: bytes, address: Address | None, now: float
    ) -> bool:
        """Take a sealed datagram of `presence`. False: it does not open, nothing has changed.

        `address` is None if a relay has brought it: that says nothing about the path.
        """
        opener = presence.opener
        try:
            payload = opener.open_untrusted(datagram)
        except WireError:
            return False
        path = presence.path
        if address is not None and (address != path.address or path.candidate is not None):
            path.arrived(address, len(datagram), opener.newest, self.rtt.timeout_s(), now)
            self.changed = True
        if presence is not self.current or not presence.confirmed:
            self.changed = True
            if not accept.opened_elsewhere(self.table, self, presence, payload, now):
                return True
        liveness = self.liveness
        liveness.heard_at = now
        if liveness.probed_since is not None and liveness.heard(now):
            self.changed = True
            self.table.events.append(Heard(self.peer, presence.incarnation))
            self.lane.sender.resume(now)
        if payload and payload[0] & LANE_KIND_MASK == LANE and presence.lane is self.lane:
            self.take_packet_untrusted(presence, payload, 0, now)
        else:
            self.changed = True
            frames_in.take_frames_untrusted(self.table, self, presence, payload, 0, address, now)
        return True

    def take_packet_untrusted(
        self, presence: Presence, payload: bytes, offset: int, now: float
    ) -> None:
        """The lane packet from `offset` to the payload's end."""
        entries: list[tuple[int, bytes]] = []
        lane = self.lane
        broken = False
        try:
            lane.receive_packet_untrusted(payload, offset, now, entries)
        except WireError:
            broken = True
        watched = presence.watched
        if watched is not None and watched[0] < lane.sender.unacknowledged:
            presence.watched = None
            presence.sealer.acknowledge(watched[1])
        if lane.sender.full:
            frames_in.lane_moved(self.table, self, presence)
        if entries:
            self.active_at = now
            what = (self.peer, presence.incarnation, entries)
            self.table.events.append(_named(EntriesReceived, what))
        if broken:
            frames_in.broken(self, presence, now)

    def take_first_data_untrusted(self, data: bytes, offset: int, now: float) -> bool:
        """Act on the lane packet in a P3's first data; nothing else counts there.

        Whether it brought anything that may be answered.

        Malformed entries are dropped with everything behind them: there are no keys yet to tell
        the peer, and its lane will not get far under those that follow.
        """
        if offset >= len(data) or data[offset] & LANE_KIND_MASK != LANE:
            return False
        entries: list[tuple[int, bytes]] = []
        with suppress(WireError):
            self.lane.receive_packet_untrusted(data, offset, now, entries)
        if entries:
            assert self.incarnation is not None
            self.active_at = now
            self.table.events.append(EntriesReceived(self.peer, self.incarnation, entries))
        return bool(entries)

    # -- sending

    def flush(self, now: float) -> None:
        """Put everything that may go now into `out`."""
        table = self.table
        if self.attempt is not None:
            connect.flush_attempt(table, self, now)
        if self.admission is not None:
            accept.accept_due(table, self, now)
        for each in (*self.former, *self.unconfirmed):
            if each.control:
                self.send(each, each.take_control())
            if each.directed:
                each.seal_directed(table.out)
        presence = self.current
        if presence is None:
            return
        out = table.out
        if presence.path.next_at is not None:
            for address, token in presence.path.challenges_due(now):
                presence.direct(address, frames.challenge(token))
        if presence.directed:
            presence.seal_directed(out)
        if presence.path.unsettled:
            if presence.control:
                self.send(presence, presence.take_control())
            return
        mailbox.flush(table, self, presence, now)
        if presence.control:
            self._flush_control(presence, now)
        self.flush_lane(now)

    def _flush_control(self, presence: Presence, now: float) -> None:
        """Control frames, with as much of the lane as fits behind them."""
        control = presence.take_control()
        lane = self.lane
        number = lane.sender.next_number
        frame = lane.packet_frame(now, min(SEALED_PAYLOAD_SIZE_MAX - len(control), _LANE_ROOM))
        if frame is not None:
            self.active_at = now
            if presence.watched is None and number != lane.sender.next_number:
                presence.watched = (number, presence.sealer.next_counter)
        elif lane.receiver.ack_at is not None:
            frame = lane.ack_frame(now)
        self.send(presence, control + (frame or b""))

    def flush_lane(self, now: float) -> None:
        """Put what the lane may send now into `out`."""
        presence = self.current
        if presence is None or presence.path.unsettled:
            return
        lane = self.lane
        sender = lane.sender
        detour = self.detour
        while sender.queue.entries or sender.lost:
            number = sender.next_number
            frame = lane.packet_frame(now, _LANE_ROOM)
            if frame is None:
                break
            self.active_at = now
            if presence.watched is None and number != sender.next_number:
                presence.watched = (number, presence.sealer.next_counter)
            path = presence.path
            if path.use_candidate or (detour is not None and detour.cut):
                self.send(presence, frame)
            else:
                datagram = presence.sealer.seal(frame)
                self.table.out.append(_named(Transmit, (datagram, path.address)))
        ack_at = lane.receiver.ack_at
        if ack_at is not None and ack_at <= now:
            self.send(presence, lane.ack_frame(now))

    def send(self, presence: Presence, payload: bytes) -> None:
        """One datagram, to where the peer is reached or by way of a relay."""
        table = self.table
        transmit = presence.seal(payload)
        path = presence.path
        if path.unsettled and not path.takes(transmit.address, len(transmit.data)):
            return
        detour = self.detour
        if detour is None or not detour.cut or not relay.through(table, self, transmit.data):
            table.out.append(transmit)

    def active(self) -> bool:
        """The peer is wanted: kept, awaited, or owed something."""
        if self.kept or self.liveness.quick or not self.lane.quiet:
            return True
        if self.peer in self.table.lingering:
            return True
        mail = mailbox.mailbox_of(self.table, self)
        return mail is not None and mail.owing

    def status(self) -> PeerStatus:
        """A snapshot."""
        current = self.current
        sender = None if self.lane.resting else self.lane.sender
        return PeerStatus(
            up=self.reported,
            incarnation=self.incarnation,
            address=current.address if current is not None else None,
            rtt_s=self.rtt.smoothed_s,
            clock_offset_s=current.clock_offset_s if current is not None else None,
            relayed=self.detour is not None and self.detour.cut,
            silent=self.liveness.silent_at is not None,
            backlog_bytes=sender.backlog_bytes if sender is not None else 0,
            backlog_entries=sender.backlog_entries if sender is not None else 0,
        )

    # -- ends

    def close(self, reason: int, now: float) -> None:
        """Tell the peer, and keep the presence a while to tell it again if it did not hear."""
        for presence in self.former:
            if presence.closed_reason is None:
                # The peer may still be there, if it did not hear of the newer one.
                presence.closed_reason = reason
        for presence in [*self.unconfirmed, *([self.current] if self.current else [])]:
            presence.take_control()
            self.send(presence, frames.close(min(reason, 255)))
            if presence is self.current:
                presence.closed_reason = reason
                presence.told_at = now
                self.retire(presence, now)
            else:
                self.discard(presence)
        self.admission = None
        self.down(reason, now)

    def retire(self, presence: Presence, now: float) -> None:
        """Let `presence` drain."""
        if presence is self.current:
            self.current = None
        presence.expires_at = now + self.table.config.drain_s
        presence.probe_at = None
        self.former = (*self.former, presence)
        while len(self.former) > 2:
            self.discard(self.former[0])

    def discard(self, presence: Presence) -> None:
        """Erase `presence`; its datagrams are unknown from here on."""
        if presence is self.current:
            self.current = None
        self.former = tuple(p for p in self.former if p is not presence)
        self.unconfirmed = tuple(p for p in self.unconfirmed if p is not presence)
        self.table.settled(presence)
        self.table.by_cid.pop(presence.message_cid, None)
        if self.table.spares or self.table.moved:
            migration.withdraw(self.table, presence)
        presence.erase()

    def lapse(self, presence: Presence, now: float) -> None:
        """Give up an unconfirmed presence; with the last one goes what was told of the peer."""
        self.discard(presence)
        if self.reported and self.current is None and not self.unconfirmed:
            self.down(Reason.UNCONFIRMED, now)
        self.drop_if_unused()

    def down(self, reason: int, now: float) -> None:
        """No presence is left: tell, and forget the lane unless the peer is kept."""
        if self.reported:
            self.reported = False
            incarnation = self.incarnation
            assert incarnation is not None
            self.table.events.append(BulkClosed(self.peer))
            self.table.events.append(PresenceDown(self.peer, incarnation, reason))
        self.liveness.heard(now)
        if self.detour is not None:
            self.detour.cut = False
        if not self.kept and self.attempt is None:
            self.forget_lane(reason)
            self.incarnation = None
            self.restarted = False
        self.drop_if_unused()

    def forget_lane(self, reason: int = Reason.FORGOTTEN) -> None:
        """Drop the lane; of one the peer does not know that it was there, keep what arrived."""
        self._end_lane(reason)
        self.lane = self.new_lane()

    def _end_lane(self, reason: int) -> None:
        if self.dropped:
            return  # It was ended then, and what is remembered of it says on what evidence.
        mailbox.end(self.table, self, reason)
        lane = self.lane
        if not lane.met and lane.started and self.incarnation is not None:
            half = HalfLane(self.incarnation, lane.peer_id, lane.receiver)
            ours = self.kept or self.peer in self.table.known
            evidence = Evidence.OURS if ours else self.evidence
            self.table.halves.remember(self.peer, half, evidence)
        self.evidence = Evidence.NONE

    def drop_if_unused(self) -> None:
        """Leave the table if nothing keeps this relation there."""
        if (
            self.kept
            or self.reported
            or self.current is not None
            or self.attempt is not None
            or self.admission is not None
            or self.former
            or self.unconfirmed
        ):
            return
        self._end_lane(Reason.FORGOTTEN)
        self.dropped = True
        self.table.relations.pop(self.peer, None)
        self.table.masks.pop(self.peer, None)
        self.table.lingering.pop(self.peer, None)
