"""The sending half of a lane: packing, the window, loss and the retransmission timer.

Window (docs/protocol/presence.md, section 3): 10 datagrams at the start, one more per round trip
when limited by it, halved at most once per round trip on loss, 1 on timeout, at most 64. Loss is a
packet sent three transmissions before one that arrived (RFC 9002 section 6.1.1), or the timer (RFC
6298).
"""

from __future__ import annotations

from transport.core.config import TransportConfig
from transport.core.errors import LaneFull, LocalError, WireError
from transport.core.lane.queue import BODY_SIZE_MAX, EntryQueue
from transport.core.lane.receiver import ENTRY_SIZE_MAX
from transport.core.lane.rtt import RoundTrip

__all__ = ["BODY_SIZE_MAX", "LaneSender", "Sent"]

_REORDERING = 3  # transmissions that may overtake a packet before it counts as lost


class Sent:
    """One packet that is not acknowledged."""

    __slots__ = (
        "again",
        "body",
        "entries",
        "lost",
        "number",
        "sent_at",
        "serial",
        "size",
        "untimed",
    )

    def __init__(self, number: int, body: bytes, entries: int, size: int) -> None:
        self.number = number
        self.body = body
        self.entries = entries
        """Entries that end in this packet."""
        self.size = size
        """Bytes of entries in it, without their headers."""
        self.sent_at = 0.0
        self.serial = 0
        self.lost = False
        self.again = False
        """Sent more than once: no sample of the round trip (Karn)."""
        self.untimed = False
        """Sent lazy: acknowledged whenever the peer likes, no sample either."""


class LaneSender:
    """Entries of one direction, each delivered once and in order as long as both sides live."""

    __slots__ = (
        "_acked_serial",
        "_backoff",
        "_config",
        "_credit",
        "_in_flight",
        "_lazy",
        "_limited",
        "_pipe",
        "_recovery_serial",
        "_rtt",
        "_serial",
        "_timer_from",
        "backlog_bytes",
        "backlog_entries",
        "full",
        "lost",
        "next_number",
        "queue",
        "unacknowledged",
        "window",
    )

    def __init__(self, config: TransportConfig, rtt: RoundTrip, number: int = 0) -> None:
        """`number`: packets below it were sent and acknowledged before."""
        self._config = config
        self._rtt = rtt
        self.queue = EntryQueue()
        self._in_flight: dict[int, Sent] = {}  # by number, ascending
        self.lost: tuple[Sent, ...] = ()
        """Lost and not sent again, by number; some may be acknowledged meanwhile."""
        self.next_number = number
        self.unacknowledged = number
        # Packets in flight that are not counted as lost. The lazy one is left out: nobody need
        # acknowledge it, so it must not keep another packet from being sent.
        self._pipe = 0
        self._serial = 0
        self._acked_serial = 0
        self._recovery_serial = 0
        self._lazy: Sent | None = None
        self._timer_from: float | None = None
        self._backoff = 0
        self._credit = 0
        self._limited = False
        self.window = config.lane_window_initial
        self.backlog_bytes = 0
        self.backlog_entries = 0
        self.full = False
        """`push` has raised `LaneFull` and the backlog has not fallen below half since."""

    # -- what the caller does

    def push(self, group: int, entry: bytes) -> None:
        """Queue an entry. Raises `LaneFull` (nothing was queued) or `LocalError`."""
        size = len(entry)
        if size > ENTRY_SIZE_MAX:
            raise LocalError(f"an entry is at most {ENTRY_SIZE_MAX} bytes")
        if group >> 63:
            raise LocalError("a group number has at most 63 bits")
        config = self._config
        held = self.backlog_bytes + size
        entries = self.backlog_entries
        if held > config.lane_backlog_bytes_max or entries >= config.lane_backlog_entries_max:
            self.full = True
            raise LaneFull("the peer's lane is full; wait for LaneRelieved")
        self.backlog_bytes = held
        self.backlog_entries = entries + 1
        self.queue.entries.append((group, entry))

    def relieved(self) -> bool:
        """True once, when the backlog has fallen below half its bounds after `LaneFull`."""
        config = self._config
        if (
            self.full
            and self.backlog_bytes * 2 <= config.lane_backlog_bytes_max
            and self.backlog_entries * 2 <= config.lane_backlog_entries_max
        ):
            self.full = False
            return True
        return False

    @property
    def quiet(self) -> bool:
        """Nothing is queued and nothing under a timer is unacknowledged."""
        return not self.queue.entries and not self._timed()

    @property
    def idle(self) -> bool:
        """Nothing is queued, everything is acknowledged and nobody waits for relief."""
        return not self.queue.entries and not self._in_flight and not self.full

    # -- packets

    def ready(self) -> bool:
        """There is a packet that may go now."""
        if self.lost:
            return self._pipe < self.window
        return bool(self.queue.entries) and self._may_send_new()

    def next_packet(self, room: int) -> Sent | None:
        """The next packet that may go, its body at most `room` bytes unless it was lost before."""
        if self.lost and self._pipe < self.window:
            again = self._next_lost(room)
            if again is not None:
                return again
            if self.lost:
                return None  # it does not fit, and nothing may overtake it
        queue = self.queue
        number = self.next_number
        if self._pipe >= self.window:
            self._limited = bool(queue.entries) or self._limited
            return None
        if not queue.entries or number - self.unacknowledged >= self._config.lane_window_max:
            return None
        body, entries, size = queue.pack(room if room < BODY_SIZE_MAX else BODY_SIZE_MAX)
        if not body:
            return None
        self.next_number = number + 1
        sent = self._in_flight[number] = Sent(number, body, entries, size)
        return sent

    def _next_lost(self, room: int) -> Sent | None:
        while self.lost:
            sent = self.lost[0]
            if sent.lost and len(sent.body) > room:
                return None
            self.lost = self.lost[1:]
            if sent.lost:
                sent.lost = False
                sent.again = True
                return sent
        return None

    def transmitted(self, sent: Sent, lazy: bool, now: float) -> bool:
        """The packet leaves, with an acknowledgement. Returns whether it is flagged LAZY."""
        if self._lazy is not None:
            self.acknowledged_peer(now)
        sent.serial = self._serial = self._serial + 1
        sent.sent_at = now
        if lazy and not sent.again:
            sent.untimed = True
            self._lazy = sent
            return True
        self._pipe += 1
        if self._timer_from is None:
            self._timer_from = now
        return False

    def acknowledged_peer(self, now: float) -> None:
        """Any acknowledgement leaves: a lazy packet sent before is no longer the first of it (LP2).

        From here on the peer may learn that its own packet arrived without ever seeing the
        lazy one, so nobody else would notice its loss: it gets a timer.
        """
        if self._lazy is not None:
            self._lazy = None
            self._pipe += 1
            if self._timer_from is None:
                self._timer_from = now

    def duplicate(self) -> None:
        """The peer sent a packet again: it lacks our acknowledgement, and the lazy packet (LP4)."""
        if self._lazy is not None:
            self._lose(self._lazy)

    def resume(self, before: float) -> None:
        """Another presence carries the lane, or the peer is heard again: what was sent until
        `before` and is not acknowledged goes again at once.
        """
        self._backoff = 0
        for sent in self._in_flight.values():
            if not sent.lost and sent.sent_at < before:
                self._lose(sent)
        self._order_lost()
        if self._timer_from is not None:
            self._timer_from = max(self._timer_from, before)

    # -- acknowledgements and time

    def receive_ack_untrusted(self, upto: int, bitmap: int, delay_s: float, now: float) -> bool:
        """Packets below `upto` arrived, and `upto` + 1 + i for each bit i of `bitmap`.

        Returns whether anything new was acknowledged. Raises `WireError` for what was never sent.
        """
        ahead = upto + 1 + bitmap.bit_length() if bitmap else upto
        if ahead > self.next_number:
            raise WireError("a packet was acknowledged that was never sent")
        in_flight = self._in_flight
        newest: Sent | None = None
        count = 0
        number = self.unacknowledged
        if upto == number + 1 and not bitmap:
            # One more, in order: an answer, or the next of a stream.
            self.unacknowledged = upto
            newest = in_flight.pop(number, None)
            if newest is not None:
                count = 1
                self._forget(newest)
        elif number < upto:
            self.unacknowledged = upto
            while number < upto:
                sent = in_flight.pop(number, None)
                number += 1
                if sent is not None:
                    count += 1
                    self._forget(sent)
                    if newest is None or sent.serial > newest.serial:
                        newest = sent
        if bitmap and upto >= self.unacknowledged:
            number = upto
            while bitmap:
                number += 1
                if bitmap & 1:
                    sent = in_flight.pop(number, None)
                    if sent is not None:
                        count += 1
                        self._forget(sent)
                        if newest is None or sent.serial > newest.serial:
                            newest = sent
                bitmap >>= 1
        if newest is None:
            return False
        if not newest.again and not newest.untimed:
            self._rtt.sample(now - newest.sent_at, delay_s)
        if newest.serial > self._acked_serial:
            self._acked_serial = newest.serial
        if self._rtt.measured:
            # Until then a backed-off timer stays (RFC 6298 section 3): it may be the path's length
            # and not loss that made it fire.
            self._backoff = 0
        if self._limited:
            self._grow(count)
        if in_flight:
            self._find_lost()
            self._timer_from = now if self._timed() else None
        else:
            self._timer_from = None
        return True

    def next_timeout(self) -> float | None:
        """When the retransmission timer fires, in the caller's seconds."""
        if self._timer_from is None:
            return None
        return self._timer_from + self._rtt.timeout_s(self._backoff) + self._config.ack_delay_s

    def handle_timeout(self, now: float) -> None:
        """The timer fired: everything in flight counts as lost, one packet may go."""
        if not self._in_flight:
            self._timer_from = None
            return
        self._backoff += 1
        self.window = 1
        self._credit = 0
        self._recovery_serial = self._serial
        for sent in self._in_flight.values():
            if not sent.lost:
                self._lose(sent)
        self._order_lost()
        self._timer_from = now

    # -- inside

    def _may_send_new(self) -> bool:
        if self._pipe >= self.window:
            self._limited = True
            return False
        # Beyond this the receiver's bitmap could not name the packet.
        return self.next_number - self.unacknowledged < self._config.lane_window_max

    def _timed(self) -> bool:
        return len(self._in_flight) > (0 if self._lazy is None else 1)

    def _forget(self, sent: Sent) -> None:
        if sent.lost:
            sent.lost = False  # its place in the list of lost ones is skipped
        elif sent is self._lazy:
            self._lazy = None
        else:
            self._pipe -= 1
        self.backlog_entries -= sent.entries
        self.backlog_bytes -= sent.size

    def _lose(self, sent: Sent) -> None:
        sent.lost = True
        if sent is self._lazy:
            self._lazy = None
        else:
            self._pipe -= 1
        self.lost = (*self.lost, sent)

    def _order_lost(self) -> None:
        self.lost = tuple(sorted((s for s in self.lost if s.lost), key=lambda s: s.number))

    def _find_lost(self) -> None:
        limit = self._acked_serial - _REORDERING
        lost = [s for s in self._in_flight.values() if not s.lost and s.serial <= limit]
        if not lost:
            return
        for sent in lost:
            self._lose(sent)
        if max(sent.serial for sent in lost) > self._recovery_serial:
            self._recovery_serial = self._serial
            self.window = max(1, self.window // 2)
            self._credit = 0

    def _grow(self, count: int) -> None:
        self._credit += count
        if self._credit >= self.window:
            # A window's worth of acknowledgements is one round trip.
            self._credit = 0
            self._limited = False
            if self.window < self._config.lane_window_max:
                self.window += 1
