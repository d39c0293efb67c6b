"""Packet numbers that are short on the wire, and the window that refuses what was opened before.

A number is sent as its low bits: big-endian groups of seven, in which the high bit says that
another byte follows. As many groups as leave no ambiguity: the groups tell apart 32 times as many
numbers as lie between the last acknowledged one and this one. The receiver chooses, among all
numbers with these low bits, the one nearest to the one it expects next (RFC 9000, A.3).
"""

from __future__ import annotations

from transport.core.constants import (
    PACKET_NUMBER_AMBIGUITY_FACTOR,
    PACKET_NUMBER_MAX,
    PACKET_NUMBER_SIZE_MAX,
)
from transport.core.errors import LocalError, WireError

_BITS_MAX = 7 * PACKET_NUMBER_SIZE_MAX
_FACTOR_BITS = PACKET_NUMBER_AMBIGUITY_FACTOR.bit_length() - 1
assert PACKET_NUMBER_AMBIGUITY_FACTOR == 1 << _FACTOR_BITS
assert PACKET_NUMBER_MAX == (1 << _BITS_MAX) - 1
_ONE_BYTE_DISTANCE = 128 // PACKET_NUMBER_AMBIGUITY_FACTOR
_ONE_BYTE = tuple(bytes([value]) for value in range(128))


def size_for(number: int, acknowledged: int) -> int:
    """Bytes needed to name `number` when the peer has acknowledged `acknowledged` (-1: nothing)."""
    distance = number - acknowledged
    if distance < 1:
        distance = 1
    # (distance - 1).bit_length() is the ceiling of log2(distance).
    size = ((distance - 1).bit_length() + _FACTOR_BITS + 6) // 7
    return size if size < PACKET_NUMBER_SIZE_MAX else PACKET_NUMBER_SIZE_MAX


def encode(number: int, size: int) -> bytes:
    """The low `7 * size` bits of `number`.

    Raises `LocalError` if `number` is not 0 to `PACKET_NUMBER_MAX`, or `size` not 1 to 9.
    """
    if size == 1 and 0 <= number <= PACKET_NUMBER_MAX:
        return _ONE_BYTE[number & 0x7F]
    if not 0 <= number <= PACKET_NUMBER_MAX:
        raise LocalError("packet number out of range")
    if not 1 <= size <= PACKET_NUMBER_SIZE_MAX:
        raise LocalError("packet number's size out of range")
    value = number & 0x7F
    shift = 8
    for _ in range(size - 1):
        number >>= 7
        value |= (number & 0x7F | 0x80) << shift
        shift += 8
    return value.to_bytes(size, "big")


def decode_untrusted(data: bytes, offset: int, expected: int) -> tuple[int, int]:
    """Read a packet number at `offset`; returns the number and the offset behind it.

    `expected` is the largest number opened so far plus one. Raises `WireError` if it is
    cut off, longer than nine bytes, or names a number that does not exist.
    """
    try:
        byte = data[offset]
        if byte < 0x80:
            return nearest(byte, 7, expected), offset + 1
        value = byte & 0x7F
        bits = 7
        while byte >= 0x80:
            offset += 1
            byte = data[offset]
            value = value << 7 | byte & 0x7F
            bits += 7
            if bits > _BITS_MAX:
                raise WireError("packet number too long")
    except IndexError:
        raise WireError("packet number cut off") from None
    return nearest(value, bits, expected), offset + 1


def nearest(low: int, bits: int, expected: int) -> int:
    """The number nearest to `expected` whose low `bits` bits are `low`: RFC 9000, A.3.

    Of two equally near ones it is the larger. The result is never negative nor above
    `PACKET_NUMBER_MAX`.
    """
    if bits == 7:
        # One byte, as nearly all are: constants instead of shifts.
        candidate = expected & -128 | low
        if candidate <= expected - 64 and candidate + 128 <= PACKET_NUMBER_MAX:
            return candidate + 128
        if candidate > expected + 64 and candidate >= 128:
            return candidate - 128
        return candidate
    window = 1 << bits
    half = window >> 1
    candidate = expected & -window | low
    if candidate <= expected - half and candidate + window <= PACKET_NUMBER_MAX:
        return candidate + window
    if candidate > expected + half and candidate >= window:
        return candidate - window
    return candidate


class SendNumbers:
    """The sender's side: numbers 0, 1, 2 ... of one direction of one plane."""

    __slots__ = ("_short", "acknowledged", "next", "size_min")

    def __init__(self, size_min: int = 1) -> None:
        self.next = 0
        self.acknowledged = -1
        self.size_min = size_min
        self._short = _ONE_BYTE_DISTANCE if size_min == 1 else -1  # up to where one byte does

    def take(self) -> tuple[int, bytes]:
        """The next number, which is thereby used, and its encoding.

        Raises `LocalError` when all 2^63 are used.
        """
        number = self.next
        if number - self.acknowledged <= self._short and number <= PACKET_NUMBER_MAX:
            self.next = number + 1
            return number, _ONE_BYTE[number & 0x7F]
        size = size_for(number, self.acknowledged)
        encoded = encode(number, size if size > self.size_min else self.size_min)
        self.next = number + 1
        return number, encoded

    def acknowledge(self, number: int) -> None:
        """The peer has opened `number`; numbers never sent and old news are ignored."""
        if self.acknowledged < number < self.next:
            self.acknowledged = number


class ReplayWindow:
    """The receiver's side: which of the last `size` numbers were opened (RFC 4303, 3.4.3)."""

    __slots__ = ("bits", "largest", "mask", "size")

    def __init__(self, size: int) -> None:
        """`size` in numbers, at least 1."""
        if size < 1:
            raise LocalError("a replay window holds at least one number")
        self.size = size
        self.largest = -1
        self.bits = 0
        self.mask = (1 << size) - 1

    @property
    def expected(self) -> int:
        """What `decode_untrusted` measures against."""
        return self.largest + 1

    @property
    def state(self) -> tuple[int, int]:
        """The largest number and the bits of those before it: what `resume` takes."""
        return self.largest, self.bits

    def resume(self, largest: int, bits: int) -> None:
        """Refuse what another window refused when it gave its `state`."""
        self.largest = largest
        self.bits = bits

    def is_fresh(self, number: int) -> bool:
        """False for what was opened before (PR15) and for what is too old to know."""
        behind = self.largest - number
        if behind < 0:
            return True
        return behind < self.size and not self.bits >> behind & 1

    def mark(self, number: int) -> None:
        """Record `number`, once its datagram opened: forged ones must not move this (PR16)."""
        behind = self.largest - number
        if behind < 0:
            # A shift by more than the size would build a huge integer only to mask it away.
            if -behind < self.size:
                self.bits = (self.bits << -behind | 1) & self.mask
            else:
                self.bits = 1
            self.largest = number
        elif behind < self.size:
            self.bits |= 1 << behind
