"""A lane: ordered opaque entries, tagged with a group number, between two incarnations.

It outlives a presence: its packets' numbers have nothing to do with those of datagrams. A packet
(docs/protocol/presence.md): `kind | number (4) | [upto (4) | delay in ms (1) | [bitmap (8)]] |
entries`, the entries to the payload's end.
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error

from transport.core.config import TransportConfig
from transport.core.errors import WireError
from transport.core.frames import LANE, LANE_ACK
from transport.core.lane.receiver import LaneReceiver
from transport.core.lane.rtt import RoundTrip
from transport.core.lane.sender import LaneSender

__all__ = ["HEADER_SIZE_MAX", "Lane"]

FLAG_ACK = 0x01
FLAG_BITMAP = 0x02
FLAG_LAZY = 0x04

_PLAIN = Struct(">BI")
_ACK = Struct(">BIIB")
_ACK_BITMAP = Struct(">BIIBQ")
_ONLY = Struct(">BIB")
_ONLY_BITMAP = Struct(">BIBQ")
HEADER_SIZE_MAX = _ACK_BITMAP.size

_WIRE = 0xFFFFFFFF
_HALF = 1 << 31


def _nearest(wire: int, base: int) -> int:
    number = base + ((wire - base + _HALF) & _WIRE) - _HALF
    if number < 0:
        raise WireError("a packet number before the first")
    return number


class Lane:
    """Both directions of one lane. The two halves are made when they are needed first, and again
    after a rest: of a lane on which nothing is under way, only its numbers have to stay.
    """

    __slots__ = ("_awake", "_config", "_expected", "_next", "id", "met", "peer_id", "rtt")

    def __init__(self, config: TransportConfig, rtt: RoundTrip, lane_id: int) -> None:
        self.id = lane_id
        """64 random bits that name this side's life of the lane."""
        self.peer_id = 0
        """The peer's; 0 until it has said it."""
        self.met = False
        """Both sides know each other's id: a presence that carries the lane was confirmed."""
        self.rtt = rtt
        self._config = config
        # At rest: the next packet to send and, once anything was received, to receive.
        self._next, self._expected = 0, -1
        self._awake: tuple[LaneSender, LaneReceiver] | None = None

    def _wake(self) -> tuple[LaneSender, LaneReceiver]:
        config = self._config
        sender = LaneSender(config, self.rtt, self._next)
        receiver = LaneReceiver(config.ack_delay_s, config.lane_window_max, self._expected)
        self._awake = awake = sender, receiver
        return awake

    @property
    def sender(self) -> LaneSender:
        """What goes out. Asking for it ends the rest."""
        return (self._awake or self._wake())[0]

    @property
    def receiver(self) -> LaneReceiver:
        """What comes in. Asking for it ends the rest."""
        return (self._awake or self._wake())[1]

    def adopt(self, receiver: LaneReceiver) -> None:
        """Go on with a receiving half that was kept."""
        self._awake = self.sender, receiver

    @property
    def resting(self) -> bool:
        """Nothing is under way, and the halves are not there."""
        return self._awake is None

    @property
    def started(self) -> bool:
        """Anything was received."""
        return self._expected >= 0 if self._awake is None else self._awake[1].started

    @property
    def quiet(self) -> bool:
        """Nothing is queued and nothing under a timer is unacknowledged."""
        return self._awake is None or self._awake[0].quiet

    def rest(self) -> None:
        """Give the halves back, if nothing depends on them."""
        if self._awake is None:
            return
        sender, receiver = self._awake
        if sender.idle and receiver.idle:
            self._next = sender.next_number
            self._expected = receiver.expected if receiver.started else -1
            self._awake = None

    def packet_frame(self, now: float, room: int) -> bytes | None:
        """The next packet that may go now, at most `room` bytes of frame, with the freshest ack."""
        sender = self.sender
        sent = sender.next_packet(room - HEADER_SIZE_MAX)
        if sent is None:
            return None
        receiver = self.receiver
        number = sent.number & _WIRE
        if not receiver.started:
            sender.transmitted(sent, False, now)
            return _PLAIN.pack(LANE, number) + sent.body
        kind = LANE | FLAG_ACK
        if sender.transmitted(sent, receiver.owed_count > 0, now):
            kind |= FLAG_LAZY
        delay = int((now - receiver.received_at) * 1000)
        if delay > 255:
            delay = 255
        elif delay < 0:
            delay = 0
        upto = receiver.expected & _WIRE
        if receiver.held:
            head = _ACK_BITMAP.pack(kind | FLAG_BITMAP, number, upto, delay, receiver.bitmap())
        else:
            head = _ACK.pack(kind, number, upto, delay)
        if receiver.ack_at is not None or receiver.lazy_owed:
            receiver.acknowledged()
        return head + sent.body

    def ack_frame(self, now: float) -> bytes:
        """An acknowledgement without a packet."""
        receiver = self.receiver
        delay = self._delay(now)
        upto = receiver.expected & _WIRE
        if receiver.held:
            frame = _ONLY_BITMAP.pack(LANE_ACK | FLAG_BITMAP, upto, delay, receiver.bitmap())
        else:
            frame = _ONLY.pack(LANE_ACK, upto, delay)
        receiver.acknowledged()
        self.sender.acknowledged_peer(now)
        return frame

    def ack_due(self, now: float) -> bool:
        """An acknowledgement must leave now, with a packet or without."""
        ack_at = self.receiver.ack_at
        return ack_at is not None and ack_at <= now

    def receive_packet_untrusted(
        self, payload: bytes, offset: int, now: float, entries: list[tuple[int, bytes]]
    ) -> None:
        """Take the packet at `offset`; complete entries are added to `entries`.

        Raises `WireError` for what no honest peer sends; the lane is unusable then.
        """
        kind = payload[offset]
        bitmap = 0
        try:
            if kind & FLAG_BITMAP:
                _, wire, upto, delay, bitmap = _ACK_BITMAP.unpack_from(payload, offset)
                start = offset + 18
            elif kind & FLAG_ACK:
                _, wire, upto, delay = _ACK.unpack_from(payload, offset)
                start = offset + 10
            else:
                _, wire = _PLAIN.unpack_from(payload, offset)
                start = offset + 5
        except struct_error:
            raise WireError("a lane packet is cut short") from None
        receiver = self.receiver
        number = receiver.expected
        if wire != number & _WIRE:
            number = _nearest(wire, number)
        if kind & (FLAG_ACK | FLAG_BITMAP):
            sender = self.sender
            acknowledged = sender.unacknowledged
            ahead = upto - acknowledged & _WIRE
            if ahead or bitmap:
                upto = acknowledged + ahead if ahead < _HALF else _nearest(upto, acknowledged)
                sender.receive_ack_untrusted(upto, bitmap, delay / 1000, now)
        lazy = kind & FLAG_LAZY != 0
        if not receiver.receive_untrusted(number, lazy, payload, start, now, entries):
            self.sender.duplicate()

    def receive_ack_untrusted(self, payload: bytes, offset: int, now: float) -> int:
        """Take the acknowledgement at `offset`; returns where the next frame begins."""
        bitmap = 0
        try:
            if payload[offset] & FLAG_BITMAP:
                _, upto, delay, bitmap = _ONLY_BITMAP.unpack_from(payload, offset)
                offset += _ONLY_BITMAP.size
            else:
                _, upto, delay = _ONLY.unpack_from(payload, offset)
                offset += _ONLY.size
        except struct_error:
            raise WireError("an acknowledgement is cut short") from None
        sender = self.sender
        upto = _nearest(upto, sender.unacknowledged)
        sender.receive_ack_untrusted(upto, bitmap, delay / 1000, now)
        self.receiver.overtaken(now)
        return offset

    def next_timeout(self) -> float | None:
        """When an acknowledgement is due or the retransmission timer fires."""
        if self._awake is None:
            return None
        ack_at = self.receiver.ack_at
        deadline = self.sender.next_timeout()
        if ack_at is None or (deadline is not None and deadline < ack_at):
            return deadline
        return ack_at

    def handle_timeout(self, now: float) -> None:
        """Let the retransmission timer fire if it is due."""
        if self._awake is None:
            return
        deadline = self.sender.next_timeout()
        if deadline is not None and deadline <= now:
            self.sender.handle_timeout(now)

    def _delay(self, now: float) -> int:
        held_ms = int((now - self.receiver.received_at) * 1000)
        return min(max(held_ms, 0), 255)
