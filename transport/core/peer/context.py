"""What all peers of one node share: look-ups, output, bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

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
from transport.core.initiator.initiator import Initiator
from transport.core.lane.tombstones import Tombstones
from transport.core.peer.mailbox_state import Mailbox
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence, Side
from transport.core.presence.spare_epochs import Origin, Spare
from transport.core.timers import Timers
from transport.core.types import RandomBytes, Transmit

__all__ = ["Context", "Mask", "Ticket"]

_STRAINED_SHARE = 2  # one part in so many of the unconfirmed presences is a burden already


class Mask(NamedTuple):
    """A peer to which this node does not tell its name; it goes by an alias on this side."""

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


class Context:
    """Owned by `Peers`; what happens to a peer reads and writes it."""

    __slots__ = (
        "attempts",
        "by_cid",
        "by_echo",
        "by_key",
        "by_probe",
        "config",
        "consulted",
        "dirty",
        "events",
        "identity",
        "incarnation",
        "known",
        "lingering",
        "mail",
        "masks",
        "moved",
        "out",
        "random",
        "responder_at",
        "side",
        "soon_s",
        "spares",
        "strained",
        "tickets",
        "timers",
        "tombstones",
        "unprepared",
        "unproven",
        "validated",
    )

    identity: Identity
    random: RandomBytes
    config: TransportConfig
    side: Side
    incarnation: int
    events: list[Event]
    out: list[Transmit]
    by_cid: dict[bytes, Presence]
    """Where a sealed datagram belongs: one look-up."""
    by_echo: dict[bytes, Peer]
    """Where a P2 or P4 belongs."""
    by_probe: dict[bytes, Peer]
    """Where the probe of the other side of a simultaneous open belongs."""
    by_key: dict[bytes, Peer]
    """All of them, by the peer's key or its alias."""
    dirty: list[Peer]
    """Those that may have something to send."""
    timers: Timers[Peer]
    soon_s: float
    """Nothing that passes on a lane makes anything due before so much time is over."""
    known: dict[bytes, KnownTransient]
    """Transients learned from peers, by peer: what makes 0-RTT possible."""
    tickets: dict[bytes, Ticket]
    """The newest ticket of each peer that this node holds; used once."""
    masks: dict[bytes, Mask]
    """By alias, which is the key of a peer where there is one."""
    mail: dict[bytes, Mailbox]
    """Of the peers with whom messages were exchanged in this life of the lane."""
    spares: dict[bytes, Spare]
    """Ids under which peers that may move will be heard then; two for each such epoch."""
    moved: dict[Presence, Origin]
    """Presences under a spare, until the peer is heard there."""
    lingering: dict[bytes, float]
    """Until when the presence with a peer is to be kept, where a message says so."""
    unprepared: Initiator | None
    """The newest, while its P1 is under way."""
    attempts: int
    """Attempts under way."""
    tombstones: Tombstones
    """What had arrived on lanes whose presence was never confirmed, by peer."""
    validated: dict[Presence, None]
    """Presences made from a P3 whose cookie was right, and under whose keys nothing has opened
    yet, the oldest first."""
    unproven: dict[Presence, None]
    """The same from a P3 without a cookie: anybody can send them in anybody's name."""
    strained: bool
    """There were many of `validated` when one more came."""
    consulted: bool
    """The responder was given something and is to be polled."""
    responder_at: float | None
    """When the responder wants to be looked at."""

    def __init__(
        self, identity: Identity, config: TransportConfig, random: RandomBytes, incarnation: int
    ) -> None:
        self.identity = identity
        self.random = random
        shown = replace(config.handshake, clock_origin_s=self.draw_clock_origin_s())
        self.config = replace(config, handshake=shown)
        self.side = Side(identity.key, self.config, random)
        self.incarnation = incarnation
        self.events = []
        self.out = []
        self.by_cid = {}
        self.by_echo = {}
        self.by_probe = {}
        self.by_key = {}
        self.dirty = []
        self.timers = Timers()
        self.soon_s = min(config.ack_delay_s, config.quick_probe_s)
        self.known = {}
        self.tickets = {}
        self.masks = {}
        self.mail = {}
        self.spares = {}
        self.moved = {}
        self.lingering = {}
        self.unprepared = None
        self.attempts = 0
        self.tombstones = Tombstones(config.tombstones_max)
        self.validated = {}
        self.unproven = {}
        self.strained = False
        self.consulted = False
        self.responder_at = None

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

    def hold_ticket(self, key: bytes, ticket: Ticket) -> None:
        """The next attempt may use it; at most `known_max` are held, the oldest go."""
        self.tickets.pop(key, None)
        self.tickets[key] = ticket
        while len(self.tickets) > self.config.known_max:
            del self.tickets[next(iter(self.tickets))]

    def take_ticket_untrusted(
        self, key: bytes, handshake_hash: bytes, encoded: bytes, now: float
    ) -> None:
        """The peer has given this node a ticket in the presence of that handshake. Raises
        `WireError` for what is none.

        Where this node keeps its name to itself it would tell who comes back, so it is not held.
        """
        ticket = decode_invitation_untrusted(encoded, self.identity.key, handshake_hash, now)
        if ticket.variant is not TICKET:
            raise WireError("not a ticket")
        if key not in self.masks:
            self.hold_ticket(key, Ticket(ticket, None))

    def at_once(self, key: bytes, now: float) -> AtOnce | None:
        """How the next attempt can do without a P2: each such way is good for one attempt.

        A ticket comes first: it costs the responder the least.
        """
        ticket = self.tickets.pop(key, None)
        if ticket is not None and ticket.invitation.expires_at > now:
            return ticket.initiate
        known = self.known.pop(key, None)
        if known is None or not known.is_usable(now):
            return None
        return lambda initiator, data, at: initiator.initiate_known(known, data, at)

    def names(self, key: bytes) -> tuple[bytes, bytes]:
        """What this node and the peer of that key are called between the two."""
        mask = self.masks.get(key)
        return (self.identity.key, key) if mask is None else (mask.handle, mask.peer)

    def mark(self, peer: Peer) -> None:
        """Let the next `poll_transmits` look at all of `peer`, and at all its deadlines."""
        peer.changed = True
        if not peer.dirty:
            peer.dirty = True
            self.dirty.append(peer)
