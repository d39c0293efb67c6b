"""Which packets came on lanes that were forgotten without the peer's knowing.

Threat: somebody makes up peers until the one whose retry would be a duplicate is pushed out of this
memory. Property: it has a part for each kind of evidence, each bounded by itself, so peers whose
address nothing has shown push out only their own, and strangers never push out peers that this node
keeps or has connected to.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from transport.core.lane.receiver import LaneReceiver

__all__ = ["Evidence", "Tombstone", "Tombstones"]


class Tombstone(NamedTuple):
    """Which of a peer's packets were received."""

    incarnation: int
    lane_id: int
    receiver: LaneReceiver


class Evidence(IntEnum):
    """What speaks for a peer whose presence was never confirmed."""

    NONE = 0
    """Only a P3 without a cookie."""
    ADDRESS = 1
    """A cookie showed that its P3 came from where it said."""
    OURS = 2
    """This node keeps it, or has connected to it before."""


class Tombstones:
    """Receiving halves by peer; at most `size_max` for each kind of evidence, the oldest go."""

    __slots__ = ("_parts", "_size_max")

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._parts: tuple[dict[bytes, Tombstone], ...] = tuple({} for _ in Evidence)

    def remember(self, peer: bytes, tombstone: Tombstone, evidence: Evidence) -> None:
        """What came in a P3 was handed up. The peer's next P3 may bring the same packets; then this
        tells them apart from new ones."""
        self.take(peer)
        part = self._parts[evidence]
        part[peer] = tombstone
        if len(part) > self._size_max:
            del part[next(iter(part))]

    def take(self, peer: bytes) -> Tombstone | None:
        """The peer's, which is forgotten here."""
        for part in self._parts:
            tombstone = part.pop(peer, None)
            if tombstone is not None:
                return tombstone
        return None

    def __len__(self) -> int:
        return sum(map(len, self._parts))
