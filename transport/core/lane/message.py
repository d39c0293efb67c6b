"""Messages of a presence: what can be sent, how they are named, and their frames.

A reference to another message is its name of 32 bytes; on the wire, one to a message that passed
here lately is its distance in one byte.
Layouts are in docs/protocol/presence.md.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from struct import error as struct_error

from transport.core.constants import PAYLOAD_SIZE_MAX
from transport.core.crypto.aead import SEALED_PAYLOAD_SIZE_MAX
from transport.core.errors import LocalError, WireError
from transport.core.frames import MESSAGE
from transport.core.types import Message

__all__ = [
    "BODY_SIZE_MAX",
    "DISTANCE_MAX",
    "NAME_SIZE",
    "check",
    "decode_untrusted",
    "encode",
    "name_of",
]

NAME_SIZE = 32
BODY_SIZE_MAX = PAYLOAD_SIZE_MAX
"""Bytes of a body; with references that are sent in full, up to 96 fewer fit."""
DISTANCE_MAX = 64
"""Messages of either direction that can be referred to by their distance."""

_HEAD = Struct(">BIIHBH")  # frame, number, acknowledged, kind, forms of references, body's size
_LABEL = b"quorate message"
_NONE, _MINE, _YOURS, _FULL = range(4)


def check(message: Message) -> None:
    """Raises `LocalError` for what cannot be sent."""
    if not 0 <= message.kind < 1 << 16:
        raise LocalError("a message's kind has 16 bits")
    given = [each for each in message.references if each is not None]
    if any(len(each) != NAME_SIZE for each in given):
        raise LocalError(f"a reference is a name of {NAME_SIZE} bytes")
    # Any of them may have to be sent in full.
    room = SEALED_PAYLOAD_SIZE_MAX - _HEAD.size - NAME_SIZE * len(given)
    if len(message.body) > min(BODY_SIZE_MAX, room):
        raise LocalError("the body does not fit in a datagram: use a channel")


def name_of(
    sender: bytes, receiver: bytes, lanes: tuple[int, int], number: int, message: Message
) -> bytes:
    """The message's name: both sides compute it, nobody sends it.

    `lanes` are the two sides' lane ids, the sender's first: numbers begin anew with them.
    """
    hashed = blake2b(_LABEL, digest_size=NAME_SIZE)
    hashed.update(sender)
    hashed.update(receiver)
    hashed.update(lanes[0].to_bytes(8, "big") + lanes[1].to_bytes(8, "big"))
    hashed.update(number.to_bytes(4, "big") + message.kind.to_bytes(2, "big"))
    for each in message.references:
        hashed.update(b"\0" if each is None else b"\1" + each)
    hashed.update(message.body)
    return hashed.digest()


def encode(
    number: int,
    acknowledged: int,
    message: Message,
    mine: Callable[[bytes], int | None],
    yours: Callable[[bytes], int | None],
) -> bytes:
    """The frame. `mine` and `yours` give the number of a name that passed lately in the sender's
    and in the receiver's direction, if it is one that the receiver still remembers.
    """
    forms = 0
    encoded = b""
    for place, name in enumerate(message.references):
        if name is None:
            continue
        form, field = _FULL, name
        for short, find, base in ((_MINE, mine, number), (_YOURS, yours, acknowledged)):
            known = find(name)
            if known is not None and 0 < base - known <= DISTANCE_MAX:
                form, field = short, bytes((base - known,))
                break
        forms |= form << 2 * place
        encoded += field
    size = len(message.body)
    head = _HEAD.pack(MESSAGE, number, acknowledged, message.kind, forms, size)
    return head + encoded + message.body


def decode_untrusted(
    payload: bytes,
    offset: int,
    mine: Callable[[int], bytes | None],
    yours: Callable[[int], bytes | None],
) -> tuple[int, int, Message, int]:
    """The frame at `offset`: number, acknowledged, the message, and where the next frame begins.

    `mine` gives the name of a number in the direction of who reads this, `yours` in that of who
    wrote it. Raises `WireError`.
    """
    try:
        _, number, acknowledged, kind, forms, size = _HEAD.unpack_from(payload, offset)
    except struct_error:
        raise WireError("a message is cut short") from None
    if forms >> 6:
        raise WireError("a message has three references")
    offset += _HEAD.size
    names: list[bytes | None] = []
    for _ in range(3):
        form, forms = forms & 3, forms >> 2
        width = NAME_SIZE if form == _FULL else 0 if form == _NONE else 1
        field, offset = payload[offset : offset + width], offset + width
        if len(field) < width:
            raise WireError("a reference is cut short")
        if form == _NONE:
            names.append(None)
        elif form == _FULL:
            names.append(field)
        else:
            name = yours(number - field[0]) if form == _MINE else mine(acknowledged - field[0])
            if name is None:
                raise WireError("a reference to what never passed here")
            names.append(name)
    end = offset + size
    if end > len(payload) or size > BODY_SIZE_MAX:
        raise WireError("a message's body is cut short, or too long")
    return number, acknowledged, Message(kind, payload[offset:end], *names), end
