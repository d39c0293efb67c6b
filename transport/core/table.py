"""What all relations of one node share: look-ups, output, bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from transport.core.config import TransportConfig
from transport.core.constants import CID_SIZE
from transport.core.events import Event
from transport.core.keys import Identity
from transport.core.lane_receive import LaneReceiver
from transport.core.timers import Timers
from transport.core.transient import KnownTransient
from transport.core.types import RandomBytes, Transmit
from transport.core.wire import is_handshake

if TYPE_CHECKING:
    from transport.core.mailbox import Mailbox
    from transport.core.presence import Presence
    from transport.core.relation import Relation

__all__ = ["HalfLane", "Table"]


class HalfLane(NamedTuple):
    """Which of a peer's packets were received."""

    incarnation: int
    lane_id: int
    receiver: LaneReceiver


class Table:
    """Owned by `Peers`; relations read and write it."""

    __slots__ = (
        "attempts",
        "by_cid",
        "by_echo",
        "config",
        "dirty",
        "events",
        "halves",
        "identity",
        "incarnation",
        "known",
        "mail",
        "out",
        "random",
        "relations",
        "soon_s",
        "timers",
        "unconfirmed",
    )

    def __init__(
        self, identity: Identity, config: TransportConfig, random: RandomBytes, incarnation: int
    ) -> None:
        self.identity = identity
        self.config = config
        self.random = random
        self.incarnation = incarnation
        self.events: list[Event] = []
        self.out: list[Transmit] = []
        self.by_cid: dict[bytes, Presence] = {}
        """Where a sealed datagram belongs: one look-up."""
        self.by_echo: dict[bytes, Relation] = {}
        """Where a P2 or P4 belongs."""
        self.relations: dict[bytes, Relation] = {}
        self.dirty: list[Relation] = []
        """Those that may have something to send."""
        self.timers: Timers[Relation] = Timers()
        self.soon_s = min(config.ack_delay_s, config.quick_probe_s)
        """Nothing that passes on a lane makes anything due before so much time is over."""
        self.known: dict[bytes, KnownTransient] = {}
        """Transients learned from peers, by peer: what makes 0-RTT possible."""
        self.mail: dict[bytes, Mailbox] = {}
        """Of the peers with whom messages were exchanged in this life of the lane."""
        self.attempts = 0
        """Attempts under way."""
        self.halves: dict[bytes, HalfLane] = {}
        """Receiving halves of lanes whose presence was never confirmed, by peer."""
        self.unconfirmed = 0
        """Presences made from a P3 under whose keys nothing has opened yet."""

    def draw_cid(self) -> bytes:
        """A connection id that is not in use and not a handshake's beginning."""
        while True:
            cid = self.random(CID_SIZE)
            if not is_handshake(cid) and cid not in self.by_cid:
                return cid

    def draw_cids(self) -> tuple[bytes, bytes]:
        """Two different ones: for messages, and for bulk."""
        message_cid = self.draw_cid()
        while (bulk_cid := self.draw_cid()) == message_cid:
            pass
        return message_cid, bulk_cid

    def remember_half(self, peer: bytes, half: HalfLane) -> None:
        """What came in a P3 was handed up, and the lane is forgotten without the peer's knowing.

        Its next P3 may bring the same packets; then this tells them apart from new ones.
        """
        self.halves.pop(peer, None)
        self.halves[peer] = half
        while len(self.halves) > self.config.halves_max:
            del self.halves[next(iter(self.halves))]

    def learn_transient(self, known: KnownTransient) -> None:
        """A handshake has shown a peer's transient: the next attempt costs one round trip."""
        self.known.pop(known.peer, None)
        self.known[known.peer] = known
        while len(self.known) > self.config.known_max:
            del self.known[next(iter(self.known))]

    def known_transient(self, peer: bytes, now: float) -> KnownTransient | None:
        """The peer's, if one was learned that it still accepts; it is good for one attempt."""
        known = self.known.pop(peer, None)
        return known if known is not None and known.is_usable(now) else None

    def mark(self, relation: Relation) -> None:
        """Let the next `poll_transmits` look at all of `relation`, and at all its deadlines."""
        relation.changed = True
        if not relation.dirty:
            relation.dirty = True
            self.dirty.append(relation)
