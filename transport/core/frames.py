"""What a sealed payload consists of, and the first data and reply of a handshake.

A payload is a row of frames, each a kind byte and its content. A kind nobody knows ends the row:
the rest is ignored, so that a later generation can add kinds at the end. Layouts are in
docs/protocol/presence.md.
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error
from typing import Final

from transport.core.constants import CID_SIZE as CID_SIZE
from transport.core.constants import KEY_SIZE as KEY_SIZE
from transport.core.errors import WireError

__all__ = [
    "CHALLENGE",
    "CLOSE",
    "ECHO",
    "LANE",
    "LANE_ACK",
    "LANE_KIND_MASK",
    "LANE_OPEN",
    "MESSAGE",
    "MESSAGE_ACK",
    "MOVABLE",
    "PADDING",
    "PING",
    "PONG",
    "REKEY_ASK",
    "REKEY_FIRST",
    "REKEY_SECOND",
    "RELAY",
    "RELAYED",
    "TICKET",
    "challenge",
    "close",
    "control_untrusted",
    "echo",
    "lane_open",
    "message_ack",
    "ping",
    "pong",
    "rekey",
    "relay",
    "relayed",
    "ticket",
]

PADDING: Final = 0x00
"""The rest of the payload means nothing."""
PING: Final = 0x01
"""number (4): to be answered at once."""
PONG: Final = 0x02
"""The number of a PING."""
CHALLENGE: Final = 0x03
"""token (8): to be echoed to the address it came from."""
ECHO: Final = 0x04
"""The token of a CHALLENGE."""
CLOSE: Final = 0x05
"""reason (1): the sender has closed the presence."""
LANE_OPEN: Final = 0x06
"""the sender's lane id (8), the receiver's lane id as the sender knows it, or 0 (8)."""
RELAY: Final = 0x07
"""key (32), then a sealed datagram to the payload's end: pass it on to the peer of that key."""
REKEY_ASK: Final = 0x08
"""The handshake's responder asks its initiator for new keys."""
REKEY_FIRST: Final = 0x09
"""size (2), message 1 of a rekeying."""
REKEY_SECOND: Final = 0x0A
"""size (2), message 2 of a rekeying."""
RELAYED: Final = 0x0B
"""key (32), then a sealed datagram to the payload's end: it came from the peer of that key."""
TICKET: Final = 0x0C
"""A ticket of the sender's, for its receiver (`transport.core.handshake.ticket`)."""
MOVABLE: Final = 0x0D
"""The sender may move to another address on purpose: know its spare connection ids."""
MESSAGE: Final = 0x10
"""A message of the presence: `transport.core.lane.message`."""
MESSAGE_ACK: Final = 0x11
"""number (4): all messages below it have arrived."""
LANE: Final = 0x40
"""0x40 | flags: a lane packet, to the payload's end (`transport.core.lane`)."""
LANE_ACK: Final = 0x50
"""0x50 | flags: an acknowledgement without a packet."""
LANE_KIND_MASK: Final = 0xF8

TICKET_SIZE: Final = 53
_U16 = Struct(">BH")
_U32 = Struct(">BI")
_U64 = Struct(">BQ")
_U64_TWICE = Struct(">BQQ")


def ping(number: int) -> bytes:
    """A probe; `number` has 32 bits."""
    return _U32.pack(PING, number)


def pong(number: int) -> bytes:
    """The answer to a probe."""
    return _U32.pack(PONG, number)


def challenge(token: int) -> bytes:
    """A question only the address it is sent to can answer; `token` has 64 bits."""
    return _U64.pack(CHALLENGE, token)


def echo(token: int) -> bytes:
    """The answer to a challenge."""
    return _U64.pack(ECHO, token)


def close(reason: int) -> bytes:
    """The end of a presence; `reason` has 8 bits."""
    return bytes((CLOSE, reason))


def lane_open(lane_id: int, peer_lane_id: int) -> bytes:
    """Which life of the lane the sender speaks of, and which of the peer's it knows."""
    return _U64_TWICE.pack(LANE_OPEN, lane_id, peer_lane_id)


def rekey(kind: int, message: bytes) -> bytes:
    """`REKEY_FIRST` or `REKEY_SECOND` with its message."""
    return _U16.pack(kind, len(message)) + message


def message_ack(number: int) -> bytes:
    """All messages below `number` have arrived."""
    return _U32.pack(MESSAGE_ACK, number)


def relay(key: bytes, datagram: bytes) -> bytes:
    """Ask to pass `datagram` on to the peer of `key`."""
    return b"%c%b%b" % (RELAY, key, datagram)


def relayed(key: bytes, datagram: bytes) -> bytes:
    """Pass on `datagram`, which came from the peer of `key`."""
    return b"%c%b%b" % (RELAYED, key, datagram)


def ticket(encoded: bytes) -> bytes:
    """Lets the receiver in once, with one round trip."""
    return b"%c%b" % (TICKET, encoded)


def control_untrusted(payload: bytes, offset: int) -> tuple[int, int, int, int]:
    """Decode the frame at `offset` that is not a lane's: kind, two values, where the next begins.

    The values of a rekeying's message, a relay's datagram and a ticket are where it begins and
    ends.
    An unknown kind is returned as `PADDING` that ends the payload. Raises `WireError` if the frame
    is cut short.
    """
    kind = payload[offset]
    try:
        if kind in (PING, PONG, MESSAGE_ACK):
            return kind, _U32.unpack_from(payload, offset)[1], 0, offset + 5
        if kind in (CHALLENGE, ECHO):
            return kind, _U64.unpack_from(payload, offset)[1], 0, offset + 9
        if kind == CLOSE:
            return kind, payload[offset + 1], 0, offset + 2
        if kind == LANE_OPEN:
            _, ours, theirs = _U64_TWICE.unpack_from(payload, offset)
            return kind, ours, theirs, offset + 17
        if kind in (RELAY, RELAYED):
            start = offset + 1 + KEY_SIZE
            if start > len(payload):
                raise WireError("a relay's frame is cut short")
            return kind, start, len(payload), len(payload)
        if kind == TICKET:
            start, end = offset + 1, offset + 1 + TICKET_SIZE
            if end > len(payload):
                raise WireError("a ticket is cut short")
            return kind, start, end, end
        if kind in (REKEY_ASK, MOVABLE):
            return kind, 0, 0, offset + 1
        if kind in (REKEY_FIRST, REKEY_SECOND):
            start = offset + 3
            end = start + _U16.unpack_from(payload, offset)[1]
            if end > len(payload):
                raise WireError("a rekeying's message is cut short")
            return kind, start, end, end
    except (IndexError, struct_error):
        raise WireError("a frame is cut short") from None
    return PADDING, 0, 0, len(payload)
