"""What all relations of one node share: look-ups, output, bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from transport.core.config import TransportConfig
from transport.core.constants import CID_SIZE
from transport.core.crypto.keys import Identity
from transport.core.errors import WireError
from transport.core.events import Event
from transport.core.handshake.ticket import Invitation, decode_invitation_untrusted
from transport.core.handshake.transient import KnownTransient
from transport.core.handshake.variants import TICKET
from transport.core.handshake.wire import is_handshake
from transport.core.initiator.attempt import AtOnce
from transport.core.lane.tombstones import Halves
from transport.core.timers import Timers
from transport.core.types import RandomBytes, Transmit

if TYPE_CHECKING:
    from transport.core.initiator.initiator import Initiator
    from transport.core.peer.mailbox import Mailbox
    from transport.core.peer.peer import Relation
    from transport.core.presence.presence import Presence
    from transport.core.presence.spare_epochs import Origin, Spare

__all__ = ["Mask", "Table", "Ticket"]

_STRAINED_SHARE = 2  # one part in so many of the unconfirmed presences is a burden already


class Mask(NamedTuple):
    """A relation in which this node keeps its name to itself; it goes by an alias on this side."""

    peer: bytes
    """Who is behind the alias."""
    handle: bytes
    """What the peer calls this node; b"" until a handshake is done."""


class Ticket(NamedTuple):
    """What lets this node in once, with one round trip."""

    invitation: Invitation
    known: KnownTransient | None
    """With a third party's: the transient it is for."""

    def initiate(self, initiator: Initiator, first_data: bytes, now: float) -> bytes:
        """P3 with it."""
        if self.known is None:
            return initiator.initiate_ticket(self.invitation, first_data, now)
        return initiator.initiate_invited(self.invitation, self.known, first_data, now)


class Table:
    """Owned by `Peers`; relations read and write it."""

    __slots__ = (
        "attempts",
        "by_cid",
        "by_echo",
        "by_probe",
        "config",
        "dirty",
        "events",
        "halves",
        "identity",
        "incarnation",
        "known",
        "lingering",
        "mail",
        "masks",
        "moved",
        "out",
        "random",
        "relations",
        "soon_s",
        "spares",
        "strained",
        "tickets",
        "timers",
        "unprepared",
        "unproven",
        "validated",
    )

    def __init__(
        self, identity: Identity, config: TransportConfig, random: RandomBytes, incarnation: int
    ) -> None:
        self.identity = identity
        self.random = random
        shown = replace(config.handshake, clock_origin_s=self.draw_clock_origin_s())
        self.config = replace(config, handshake=shown)
        self.incarnation = incarnation
        self.events: list[Event] = []
        self.out: list[Transmit] = []
        self.by_cid: dict[bytes, Presence] = {}
        """Where a sealed datagram belongs: one look-up."""
        self.by_echo: dict[bytes, Relation] = {}
        """Where a P2 or P4 belongs."""
        self.by_probe: dict[bytes, Relation] = {}
        """Where the probe of a meeting's other side belongs."""
        self.relations: dict[bytes, Relation] = {}
        self.dirty: list[Relation] = []
        """Those that may have something to send."""
        self.timers: Timers[Relation] = Timers()
        self.soon_s = min(config.ack_delay_s, config.quick_probe_s)
        """Nothing that passes on a lane makes anything due before so much time is over."""
        self.known: dict[bytes, KnownTransient] = {}
        """Transients learned from peers, by peer: what makes 0-RTT possible."""
        self.tickets: dict[bytes, Ticket] = {}
        """The newest ticket of each peer that this node holds; used once."""
        self.masks: dict[bytes, Mask] = {}
        """By alias, which is the name of a relation where there is one."""
        self.mail: dict[bytes, Mailbox] = {}
        """Of the peers with whom messages were exchanged in this life of the lane."""
        self.spares: dict[bytes, Spare] = {}
        """Ids under which peers that may move will be heard then; two for each such epoch."""
        self.moved: dict[Presence, Origin] = {}
        """Presences under a spare, until the peer is heard there."""
        self.lingering: dict[bytes, float] = {}
        """Until when the presence with a peer is to be kept, where a message says so."""
        self.unprepared: Initiator | None = None
        """The newest, while its P1 is under way."""
        self.attempts = 0
        """Attempts under way."""
        self.halves = Halves(config.halves_max)
        """Receiving halves of lanes whose presence was never confirmed, by peer."""
        self.validated: dict[Presence, None] = {}
        """Presences made from a P3 whose cookie was right, and under whose keys nothing has opened
        yet, the oldest first."""
        self.unproven: dict[Presence, None] = {}
        """The same from a P3 without a cookie: anybody can send them in anybody's name."""
        self.strained = False
        """There were many of `validated` when one more came."""

    def draw_cid(self) -> bytes:
        """A connection id that is not in use and not a handshake's beginning."""
        while True:
            cid = self.random(CID_SIZE)
            if not is_handshake(cid) and cid not in self.by_cid:
                return cid

    def draw_clock_origin_s(self) -> float:
        """Where a clock that is shown to others begins: anywhere in some nine years, so that how
        long this machine has been running links nothing."""
        return int.from_bytes(self.random(6), "big") / 1e6

    def draw_cids(self) -> tuple[bytes, bytes]:
        """Two different ones: for messages, and for bulk."""
        message_cid = self.draw_cid()
        while (bulk_cid := self.draw_cid()) == message_cid:
            pass
        return message_cid, bulk_cid

    @property
    def unconfirmed(self) -> int:
        """Presences made from P3s under whose keys nothing has opened yet. Those that came of a
        rekeying do not count: each takes the place of one that is up."""
        return len(self.validated) + len(self.unproven)

    @property
    def crowded(self) -> bool:
        """There is no room for another P3 without a cookie."""
        return len(self.unproven) >= self.config.unproven_max

    def has_room(self, validated: bool) -> bool:
        """Whether a presence may be made from one more P3. Beyond half of what may be, the
        responder is told to ask for more effort."""
        limit = self.config.unconfirmed_max
        if validated and len(self.validated) * _STRAINED_SHARE >= limit:
            self.strained = True
        return len(self.validated) < limit

    def count(self, presence: Presence, validated: bool) -> Presence | None:
        """One more unconfirmed one; returns the unproven one that must go for it, if one must."""
        (self.validated if validated else self.unproven)[presence] = None
        full = len(self.validated) + len(self.unproven) > self.config.unconfirmed_max
        if self.unproven and (full or len(self.unproven) > self.config.unproven_max):
            return next(iter(self.unproven))
        return None

    def settled(self, presence: Presence) -> None:
        """It is confirmed, or gone."""
        self.validated.pop(presence, None)
        self.unproven.pop(presence, None)

    def learn_transient(self, known: KnownTransient) -> None:
        """A handshake has shown a peer's transient: the next attempt costs one round trip."""
        self.known.pop(known.peer, None)
        self.known[known.peer] = known
        while len(self.known) > self.config.known_max:
            del self.known[next(iter(self.known))]

    def hold_ticket(self, peer: bytes, ticket: Ticket) -> None:
        """The next attempt may use it; at most `known_max` are held, the oldest go."""
        self.tickets.pop(peer, None)
        self.tickets[peer] = ticket
        while len(self.tickets) > self.config.known_max:
            del self.tickets[next(iter(self.tickets))]

    def take_ticket_untrusted(
        self, peer: bytes, handshake_hash: bytes, encoded: bytes, now: float
    ) -> None:
        """The peer has given this node a ticket in the presence of that handshake. Raises
        `WireError` for what is none.

        Where this node keeps its name to itself it would tell who comes back, so it is not held.
        """
        ticket = decode_invitation_untrusted(encoded, self.identity.key, handshake_hash, now)
        if ticket.variant is not TICKET:
            raise WireError("not a ticket")
        if peer not in self.masks:
            self.hold_ticket(peer, Ticket(ticket, None))

    def at_once(self, peer: bytes, now: float) -> AtOnce | None:
        """How the next attempt can do without a P2: each such way is good for one attempt.

        A ticket comes first: it costs the responder the least.
        """
        ticket = self.tickets.pop(peer, None)
        if ticket is not None and ticket.invitation.expires_at > now:
            return ticket.initiate
        known = self.known.pop(peer, None)
        if known is None or not known.is_usable(now):
            return None
        return lambda initiator, data, at: initiator.initiate_known(known, data, at)

    def names(self, peer: bytes) -> tuple[bytes, bytes]:
        """What this node and the peer of a relation are called between the two."""
        mask = self.masks.get(peer)
        return (self.identity.key, peer) if mask is None else (mask.handle, mask.peer)

    def mark(self, relation: Relation) -> None:
        """Let the next `poll_transmits` look at all of `relation`, and at all its deadlines."""
        relation.changed = True
        if not relation.dirty:
            relation.dirty = True
            self.dirty.append(relation)
