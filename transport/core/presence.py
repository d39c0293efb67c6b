"""One presence: the keys of one handshake, where they are used, and what waits to be said.

What both ends of a lane share is not here: a lane outlives its presences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from transport.core import frames
from transport.core.agreement import EpochKeys, Established
from transport.core.config import TransportConfig
from transport.core.events import PlaneKeys
from transport.core.lane import Lane
from transport.core.path import Path
from transport.core.rekey import Rekeying
from transport.core.seal import Opener, Sealer
from transport.core.types import Address, RandomBytes, Transmit

if TYPE_CHECKING:
    from transport.core.relation import Relation

__all__ = ["CONTROL_MAX", "Presence", "Renewal", "Renewed"]

CONTROL_MAX = 8
"""Control frames waiting at once; a peer's flood of probes gets no more answers than that."""
_PINGS_MAX = 16  # probes whose time is remembered


class Renewal(NamedTuple):
    """A rekeying that waits for message 2."""

    rekeying: Rekeying
    message_cid: bytes
    bulk_cid: bytes


class Renewed(NamedTuple):
    """A rekeying that was answered."""

    first: bytes
    second: bytes
    message_cid: bytes
    """Of the presence that came of it."""


class Presence:
    """Made from a finished handshake; `confirmed` once a datagram opened under its keys."""

    __slots__ = (
        "_bulk_keys",
        "_bulk_send_cid",
        "_pinged",
        "_pings",
        "_rekey_secret",
        "_said",
        "bulk_at",
        "bulk_cid",
        "bulk_datagrams",
        "closed_reason",
        "confirmed",
        "control",
        "directed",
        "expires_at",
        "handshake_hash",
        "held_first_data",
        "incarnation",
        "initiator",
        "lane",
        "made_at",
        "message_cid",
        "opener",
        "path",
        "probe_at",
        "probe_tries",
        "relation",
        "renew_at",
        "renew_tries",
        "renewal",
        "renewed",
        "responder_key",
        "sealer",
        "suite",
        "watched",
    )

    def __init__(
        self,
        established: Established,
        address: Address,
        relation: Relation,
        lane: Lane,
        config: TransportConfig,
        random: RandomBytes,
        *,
        message_cid: bytes,
        bulk_cid: bytes,
        own_key: bytes,
        initiator: bool,
        now: float,
    ) -> None:
        keys = established.keys
        suite = established.suite
        self.relation = relation
        self.incarnation = established.incarnation
        self.initiator = initiator
        self.responder_key = established.peer if initiator else own_key
        self.message_cid = message_cid
        self.bulk_cid = bulk_cid
        self.made_at = now
        self.lane = lane
        self.path = Path(address, random, config.path_hold_s)
        self.sealer = Sealer(
            established.message_cid, suite, keys.message_send, keys.message_send_header
        )
        self.opener = Opener(message_cid, suite, keys.message_receive, keys.message_receive_header)
        self.suite = suite
        self._bulk_send_cid = established.bulk_cid
        # As one string: only what the bulk path is told of needs them apart.
        self._bulk_keys = b"".join(
            (keys.bulk_send, keys.bulk_send_header, keys.bulk_receive, keys.bulk_receive_header)
        )
        self.bulk_datagrams = 0
        """Sealed by the bulk path; counts toward the limit of the keys."""
        self.bulk_at = now
        """When it did so last, as far as this side was told."""
        self.handshake_hash = established.handshake_hash
        self._rekey_secret = keys.rekey
        self.renewal: Renewal | None = None
        """Initiator: the rekeying under way."""
        self.renewed: Renewed | None = None
        """Responder: the rekeying answered last."""
        self.confirmed = False
        self.held_first_data = b""
        """First data that may only count once the presence is confirmed."""
        self.closed_reason: int | None = None
        self.expires_at = now + config.unconfirmed_s
        """Until confirmed, or while it drains: when it is dropped."""
        self.probe_at: float | None = now if initiator else None
        """Initiator, until confirmed: when to probe, so that the responder sees its keys used."""
        self.probe_tries = 0
        self.renew_at: float | None = now + config.rekey_s
        """When its age is looked at, or message 1 is sent again."""
        self.renew_tries = 0
        self.control = b""
        """Frames for the next datagram."""
        self.directed: tuple[tuple[Address, bytes], ...] = ()
        """Frames that must go to one address, each in a datagram of its own."""
        self.watched: tuple[int, int] | None = None
        """A lane packet under way, and the counter of its datagram."""
        self._pings: dict[int, tuple[float, int]] | None = None
        self._pinged = 0
        self._said = 0

    def __repr__(self) -> str:
        return f"Presence({self.relation.peer.hex()[:16]}, confirmed={self.confirmed})"

    @property
    def epoch_keys(self) -> EpochKeys:
        """What the next epoch's keys are derived from; nothing else of this one's."""
        return EpochKeys(b"", b"", b"", b"", b"", b"", b"", b"", self._rekey_secret)

    @property
    def plane(self) -> PlaneKeys:
        """The keys of the bulk plane, for the address where the peer is reached now."""
        keys = self._bulk_keys
        return PlaneKeys(
            receive_cid=self.bulk_cid,
            send_cid=self._bulk_send_cid,
            suite=self.suite,
            send_key=keys[:32],
            send_header_key=keys[32:64],
            receive_key=keys[64:96],
            receive_header_key=keys[96:],
            address=self.path.address,
            initiator=self.initiator,
        )

    def ping(self, now: float) -> None:
        """Probe with the next datagram."""
        self._pinged = number = (self._pinged + 1) & 0xFFFFFFFF
        pings = self._pings
        if pings is None:
            pings = self._pings = {}
        while len(pings) >= _PINGS_MAX:
            del pings[next(iter(pings))]
        pings[number] = (now, self.sealer.next_counter)
        self.say(frames.ping(number))

    def probe(self, now: float) -> None:
        """Probe so that the responder sees its keys used, and plan to do it again."""
        self.probe_at = now + self.lane.rtt.timeout_s(self.probe_tries)
        self.probe_tries += 1
        self.ping(now)

    def ponged_untrusted(self, number: int, now: float) -> None:
        """An answer to a probe: a sample of the round trip, and proof of what was opened."""
        sent = self._pings.pop(number, None) if self._pings else None
        if sent is not None:
            self.lane.rtt.sample(now - sent[0])
            self.sealer.acknowledge(sent[1])
            if not self._pings:
                self._pings = None

    def say(self, frame: bytes) -> None:
        """Put a control frame into the next datagram, unless too many wait."""
        if self._said < CONTROL_MAX:
            self._said += 1
            self.control += frame

    def take_control(self) -> bytes:
        """The control frames for a datagram that leaves now."""
        control, self.control = self.control, b""
        self._said = 0
        return control

    def direct(self, address: Address, frame: bytes) -> None:
        """Send a frame to `address` and nowhere else, unless too many wait."""
        if len(self.directed) < CONTROL_MAX:
            self.directed = (*self.directed, (address, frame))

    def seal(self, payload: bytes) -> Transmit:
        """One datagram to where the peer is reached."""
        datagram = self.sealer.seal(payload)
        path = self.path
        if path.use_candidate:
            return Transmit(datagram, path.target(len(datagram)))
        return Transmit(datagram, path.address)

    def seal_directed(self, out: list[Transmit]) -> None:
        """The datagrams that go to one address each, within what an unvalidated one may get."""
        path = self.path
        for address, frame in self.directed:
            datagram = self.sealer.seal(frame)
            if address == path.candidate:
                if not path.may_send(len(datagram)):
                    continue
                path.sent += len(datagram)
            out.append(Transmit(datagram, address))
        self.directed = ()

    def lane_acknowledged(self, unacknowledged: int) -> None:
        """The lane's packets below `unacknowledged` have arrived: one of them, `watched`, shows
        that its datagram was opened. One at a time is enough to keep counters short.
        """
        watched = self.watched
        if watched is not None and watched[0] < unacknowledged:
            self.watched = None
            self.sealer.acknowledge(watched[1])

    def rest(self) -> None:
        """Nothing passes for a while: drop what the next datagram makes again."""
        self.sealer.rest()
        self.opener.rest()

    def erase(self) -> None:
        """Overwrite what keys this side holds for messages."""
        self.sealer.erase()
        self.opener.erase()
        self._rekey_secret = self._bulk_keys = b""
