"""What is remembered for migrations: the spare ids of peers, and how far one's own are used.

`establish.migration` says what they are for.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from transport.core.constants import CID_SIZE
from transport.core.handshake.negotiation import INITIATOR_TO_RESPONDER, RESPONDER_TO_INITIATOR
from transport.core.handshake.wire import is_handshake
from transport.core.presence.presence import Presence

__all__ = ["SPARES", "Origin", "Spare", "SpareIds", "ids_of", "inward", "spare_ids"]

SPARES = 2
"""Moves that are possible before the peer is heard at the new address."""
_IDS_LABEL = b"quorate spare ids"
_IDS_EACH = 2 * CID_SIZE


class Spare(NamedTuple):
    """What a connection id of a peer's that has not moved yet stands for."""

    presence: Presence
    number: int


class Origin(NamedTuple):
    """The epoch whose spares are in use while the peer has not been heard under one."""

    secret: bytes
    handshake_hash: bytes
    used: int

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Origin(used={self.used})"


class SpareIds(NamedTuple):
    """The connection ids of one spare, in one direction."""

    message: bytes
    bulk: bytes

    @property
    def usable(self) -> bool:
        """Both sides find the same; one spare in four million is not."""
        return self.message != self.bulk and not any(map(is_handshake, self))


def spare_ids(secret: bytes, direction: int) -> list[SpareIds]:
    """Of all spares that follow from an epoch's rekey secret."""
    label = _IDS_LABEL + bytes((direction,))
    drawn = blake2b(label, digest_size=SPARES * _IDS_EACH, key=secret).digest()
    return [
        SpareIds(drawn[at : at + CID_SIZE], drawn[at + CID_SIZE : at + _IDS_EACH])
        for at in range(0, len(drawn), _IDS_EACH)
    ]


def inward(initiator: bool) -> int:
    """The direction in which a side receives."""
    return RESPONDER_TO_INITIATOR if initiator else INITIATOR_TO_RESPONDER


def ids_of(presence: Presence) -> list[SpareIds]:
    """Those under which the peer will be heard if it moves."""
    return spare_ids(presence.epoch_keys.rekey, inward(presence.initiator))
