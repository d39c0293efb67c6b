"""What is remembered for deliberate moves: the spare ids of peers, and how far one's own are used.

`moving` says what they are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transport.core.presence.presence import Presence

__all__ = ["SPARES", "Origin", "Spare"]

SPARES = 2
"""Moves that are possible before the peer is heard at the new address."""


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
