"""The receiving half of a lane: order, reassembly, and when an acknowledgement is owed.

The rule of lazy packets (LP1 to LP4 of docs/protocol/presence.md) is split between this
module, which says what is owed, and `sender`, which decides what needs a timer.
"""

from __future__ import annotations

from struct import Struct

from transport.core.errors import WireError

__all__ = ["ENTRY_GROUP", "ENTRY_MORE", "ENTRY_SIZE_MAX", "LaneReceiver"]

ENTRY_SIZE_MAX = 65_536
"""Bytes of one entry; the reassembly of one lane never holds more."""
ENTRY_GROUP = 0x80
"""First byte of an entry's header: eight bytes of group number follow."""
ENTRY_MORE = 0x40
"""First byte of an entry's header: the entry goes on in the next piece."""

_SIZE_HIGH = 0x3F
_GROUP = Struct(">Q").unpack_from


class LaneReceiver:
    """Packets of one direction, handed up once and in order."""

    __slots__ = (
        "_ack_delay_s",
        "_partial",
        "_partial_group",
        "_window",
        "ack_at",
        "expected",
        "held",
        "lazy_owed",
        "owed_count",
        "received_at",
        "started",
    )

    def __init__(self, ack_delay_s: float, window: int, expected: int = -1) -> None:
        """`expected`: the next packet, if any was received before."""
        self._ack_delay_s = ack_delay_s
        self._window = window
        self.expected = max(expected, 0)
        """The next packet number in order; every smaller one was received."""
        self.started = expected >= 0
        """Anything was received: acknowledgements ride on every packet from here on."""
        self.received_at = 0.0
        self.ack_at: float | None = None
        """When an acknowledgement must leave by itself; None: nothing is owed promptly."""
        self.held: dict[int, tuple[bytes, int]] = {}
        """Packets received ahead of a missing one: payload, and where their entries begin."""
        self.owed_count = 0
        """Packets received in order, not acknowledged, whose sender runs a timer for them: the
        next acknowledgement is their first unless it is 0."""
        self.lazy_owed = False
        """The newest packet is lazy: its sender runs no timer."""
        self._partial: bytearray | None = None
        self._partial_group = 0

    def receive_untrusted(
        self,
        number: int,
        lazy: bool,
        payload: bytes,
        offset: int,
        now: float,
        entries: list[tuple[int, bytes]],
    ) -> bool:
        """Take packet `number`, whose entries fill `payload` from `offset`.

        Complete entries are added to `entries`. Returns False for a duplicate. Raises
        `WireError` for entries no honest sender writes.
        """
        self.started = True
        self.received_at = now
        if number == self.expected:
            self.expected = number + 1
            if self.lazy_owed:
                # A newer packet took the lazy one's place: its sender runs a timer for it now.
                self.owed_count += 1
                self.lazy_owed = False
            if lazy:
                self.lazy_owed = True
            else:
                self.owed_count += 1
            if self.owed_count >= 2 or self.held:
                self.ack_at = now
            elif self.owed_count and self.ack_at is None:
                self.ack_at = now + self._ack_delay_s
            self._decode_untrusted(payload, offset, entries)
            held = self.held
            while held:
                following = held.pop(self.expected, None)
                if following is None:
                    break
                self.expected += 1
                self._decode_untrusted(*following, entries)
            return True
        return self._out_of_order(number, payload, offset, now)

    def _out_of_order(self, number: int, payload: bytes, offset: int, now: float) -> bool:
        self.ack_at = now
        if number < self.expected or number in self.held:
            return False
        if number - self.expected <= self._window:
            self.held[number] = (payload, offset)
        return True

    def overtaken(self, now: float) -> None:
        """The peer acknowledged without a packet: its lazy packet lost its insurance (LP3)."""
        if self.lazy_owed:
            self.lazy_owed = False
            self.owed_count += 1
            if self.ack_at is None:
                self.ack_at = now + self._ack_delay_s

    @property
    def idle(self) -> bool:
        """Nothing is owed, held back or half reassembled."""
        owed = self.ack_at is not None or self.lazy_owed or self.owed_count > 0
        return not owed and not self.held and self._partial is None

    def bitmap(self) -> int:
        """Bit i says that packet `expected` + 1 + i was received; `expected` itself is missing."""
        first = self.expected + 1
        bits = 0
        for number in self.held:
            bits |= 1 << (number - first)
        return bits

    def acknowledged(self) -> None:
        """An acknowledgement leaves now."""
        self.owed_count = 0
        self.lazy_owed = False
        self.ack_at = None

    def _decode_untrusted(
        self, payload: bytes, offset: int, entries: list[tuple[int, bytes]]
    ) -> None:
        end = len(payload)
        group = 0
        add = entries.append
        while offset < end:
            start = offset + 2
            if start > end:
                raise WireError("an entry's header is cut short")
            first = payload[offset]
            size = (first & _SIZE_HIGH) << 8 | payload[offset + 1]
            if first & ENTRY_GROUP:
                if start + 8 > end:
                    raise WireError("a group number is cut short")
                (group,) = _GROUP(payload, start)
                start += 8
                if group >> 63:
                    raise WireError("a group number is longer than 63 bits")
            offset = start + size
            if offset > end:
                raise WireError("an entry is cut short")
            if first & ENTRY_MORE or self._partial is not None:
                self._piece_untrusted(group, first, payload[start:offset], entries)
            else:
                add((group, payload[start:offset]))

    def _piece_untrusted(
        self, group: int, first: int, piece: bytes, entries: list[tuple[int, bytes]]
    ) -> None:
        partial = self._partial
        if partial is None:
            # A bytearray, not a list: pieces of one byte must not cost more than their bytes.
            self._partial = partial = bytearray()
            self._partial_group = group
        elif group != self._partial_group:
            raise WireError("an entry changed its group between two pieces")
        if len(partial) + len(piece) > ENTRY_SIZE_MAX:
            raise WireError("an entry is longer than the greatest size")
        partial += piece
        if not first & ENTRY_MORE:
            entries.append((group, bytes(partial)))
            self._partial = None
