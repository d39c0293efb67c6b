"""One presence: the keys of one handshake, where they are used, and what waits to be said.

What both ends of a lane share is not here: a lane outlives its presences.
"""

from __future__ import annotations

from math import inf, isnan
from typing import NamedTuple

from transport.core import frames
from transport.core.config import TransportConfig
from transport.core.crypto.aead import Opener, Sealer
from transport.core.events import PlaneKeys
from transport.core.handshake.negotiation import EpochKeys, Established
from transport.core.lane.lane import Lane
from transport.core.presence.epoch import (
    AnsweredKeyUpdate,
    KeyUpdate,
    Root,
    pack_secrets,
    unpack_secrets,
)
from transport.core.presence.path import Path
from transport.core.types import Address, RandomBytes, Transmit

__all__ = ["CONTROL_MAX", "Presence", "Side"]

CONTROL_MAX = 8
"""Control frames waiting at once; a peer's flood of probes gets no more answers than that."""
_MOVABLE = bytes((frames.MOVABLE,))
_PINGS_MAX = 16  # probes whose time is remembered


_Awake = tuple[Path, Sealer, Opener]


class Side(NamedTuple):
    """This node, as all its presences know it."""

    key: bytes
    config: TransportConfig
    """Nothing that a presence reads in it changes."""
    random: RandomBytes


class Presence:
    """Made from a finished handshake; `confirmed` once a datagram opened under its keys.

    At rest it has no path, sealer nor opener: asking for one makes them again.
    """

    __slots__ = (
        "_acknowledged",
        "_address",
        "_awake",
        "_opened",
        "_pinged",
        "_pings",
        "_said",
        "_sealed",
        "_secrets",
        "_side",
        "_window",
        "answered_key_update",
        "bulk_at",
        "bulk_datagrams",
        "bulk_told",
        "closed_reason",
        "confirmed",
        "control",
        "directed",
        "erased",
        "expires_at",
        "held_first_data",
        "incarnation",
        "initiator",
        "key",
        "key_update",
        "key_update_at",
        "key_update_tries",
        "key_update_wanted",
        "key_update_wanted_at",
        "lane",
        "made_at",
        "message_cid",
        "probe_at",
        "probe_tries",
        "responder_key",
        "suite",
        "told_at",
        "watched",
    )

    def __init__(
        self,
        established: Established,
        address: Address,
        key: bytes,
        lane: Lane,
        side: Side,
        *,
        message_cid: bytes,
        bulk_cid: bytes,
        initiator: bool,
        now: float,
        root: Root | None = None,
    ) -> None:
        """`key`: by which the peer is looked up. `root`: the handshake that this epoch goes back
        to, if that is not this one."""
        self._secrets = pack_secrets(established, bulk_cid, root or Root(now, 0))
        self.suite = established.suite
        self.key = key
        self._side = side
        self.incarnation = established.incarnation
        self.initiator = initiator
        self.responder_key = established.peer if initiator else side.key
        self.message_cid = message_cid
        self.made_at = now
        self.lane = lane
        self._begin_at_rest(address)
        self._begin_unconfirmed(now)
        self._begin_with_fresh_keys(now)
        self._begin_with_nothing_to_say()

    def _begin_at_rest(self, address: Address) -> None:
        self._awake: _Awake | None = None
        # What path, sealer and opener are made of again, while they are not there.
        self._address = address
        self._sealed, self._acknowledged = 0, -1
        self._opened, self._window = -1, 0

    def _begin_unconfirmed(self, now: float) -> None:
        self.confirmed = False
        self.held_first_data = b""
        """First data that may only count once the presence is confirmed."""
        self.erased = False
        """It is discarded: nothing seals or opens under it any more."""
        self.closed_reason: int | None = None
        self.told_at = -inf
        """When the peer was told last that this side has closed it."""
        self.expires_at = now + self._side.config.unconfirmed_s
        """Until confirmed, or while it drains: when it is dropped."""
        self.probe_at: float | None = now if self.initiator else None
        """Initiator, until confirmed: when to probe, so that the responder sees its keys used."""
        self.probe_tries = 0

    def _begin_with_fresh_keys(self, now: float) -> None:
        self.bulk_datagrams = 0
        """Sealed by the bulk path; counts toward the limit of the keys."""
        self.bulk_at = now
        """When it did so last, as far as this side was told."""
        self.bulk_told = False
        """Its keys for bulk were handed out, which is done once."""
        self.key_update: KeyUpdate | None = None
        """Initiator: the rekeying under way."""
        self.answered_key_update: AnsweredKeyUpdate | None = None
        """Responder: the rekeying answered last."""
        self.key_update_at: float | None = now + self._side.config.rekey_s
        """When its age is looked at, or message 1 is sent again."""
        self.key_update_tries = 0
        self.key_update_wanted = False
        """New keys are wanted whether or not these were used."""
        self.key_update_wanted_at: float | None = None
        """When new keys were wanted first."""

    def _begin_with_nothing_to_say(self) -> None:
        self.control = b""
        """Frames for the next datagram."""
        self.directed: tuple[tuple[Address, bytes], ...] = ()
        """Frames that must go to one address, each in a datagram of its own."""
        self.watched: tuple[int, int] | None = None
        """A lane packet under way, and the packet number of its datagram."""
        self._pings: dict[int, tuple[float, int, bool]] | None = None
        self._pinged = 0
        self._said = 0

    def __repr__(self) -> str:
        return f"Presence({self.key.hex()[:16]}, confirmed={self.confirmed})"

    def _wake(self) -> _Awake:
        side = self._side
        parts = unpack_secrets(self._secrets)
        path = Path(self._address, side.random, side.config.path_hold_s)
        sealer = Sealer(parts[10], self.suite, parts[0], parts[1])
        sealer.resume(self._sealed, self._acknowledged)
        opener = Opener(self.message_cid, self.suite, parts[2], parts[3])
        opener.resume(self._opened, self._window)
        self._awake = awake = path, sealer, opener
        return awake

    @property
    def path(self) -> Path:
        """The way to the peer. Asking for it, as for the next two, ends the rest."""
        return (self._awake or self._wake())[0]

    @property
    def sealer(self) -> Sealer:
        """What seals datagrams of messages."""
        return (self._awake or self._wake())[1]

    @property
    def opener(self) -> Opener:
        """What opens them."""
        return (self._awake or self._wake())[2]

    def rest(self, now: float) -> None:
        """Nothing passes for a while: keep what cannot be made again."""
        if self._awake is None or self.control:
            return
        path, sealer, opener = self._awake
        if path.idle(now):
            self._address = path.address
            self._sealed, self._acknowledged = sealer.state
            self._opened, self._window = opener.state
            self._awake = None
            sealer.erase()
            opener.erase()

    @property
    def resting(self) -> bool:
        """It waits to be used again, in a few hundred bytes."""
        return self._awake is None

    @property
    def address(self) -> Address:
        """Where the peer is reached."""
        return self._address if self._awake is None else self._awake[0].address

    @property
    def sealed(self) -> int:
        """Datagrams sealed, of messages and of bulk."""
        here = self._sealed if self._awake is None else self._awake[1].next_packet_number
        return here + self.bulk_datagrams

    @property
    def epoch_keys(self) -> EpochKeys:
        """What the next epoch's keys are derived from; nothing else of this one's."""
        secret = unpack_secrets(self._secrets)[8]
        return EpochKeys(b"", b"", b"", b"", b"", b"", b"", b"", secret)

    @property
    def handshake_hash(self) -> bytes:
        """Of the handshake or rekeying that made this."""
        found: bytes = unpack_secrets(self._secrets)[9]
        return found

    @property
    def clock_offset_s(self) -> float | None:
        """The peer's clock minus ours; None where nothing measured it."""
        offset: float = unpack_secrets(self._secrets)[13]
        return None if isnan(offset) else offset

    @property
    def root(self) -> Root:
        """The handshake in which both sides last showed their static keys."""
        return Root(*unpack_secrets(self._secrets)[14:])

    @property
    def plane(self) -> PlaneKeys:
        """The keys of the bulk plane, for the address where the peer is reached now."""
        parts = unpack_secrets(self._secrets)
        return PlaneKeys(
            receive_cid=parts[12],
            send_cid=parts[11],
            suite=self.suite,
            send_key=parts[4],
            send_header_key=parts[5],
            receive_key=parts[6],
            receive_header_key=parts[7],
            address=self.address,
            initiator=self.initiator,
        )

    def ping(self, now: float) -> None:
        """Probe with the next datagram."""
        self.say(self._ping(now, False))

    def direct_ping(self, now: float) -> bytes:
        """A probe whose answer shows that the direct path is open both ways."""
        return self._ping(now, True)

    def _ping(self, now: float, direct: bool) -> bytes:
        self._pinged = number = (self._pinged + 1) & 0xFFFFFFFF
        movable = _MOVABLE if self._side.config.roams else b""
        pings = self._pings
        if pings is None:
            pings = self._pings = {}
        while len(pings) >= _PINGS_MAX:
            del pings[next(iter(pings))]
        pings[number] = (now, self.sealer.next_packet_number, direct)
        return movable + frames.ping(number)

    def probe(self, now: float) -> None:
        """Probe so that the responder sees its keys used, and plan to do it again."""
        self.probe_at = now + self.lane.rtt.timeout_s(self.probe_tries)
        self.probe_tries += 1
        self.ping(now)

    def ponged_untrusted(self, number: int, now: float) -> bool:
        """An answer to a probe: a sample of the round trip, and proof of what was opened.

        Whether it answers one that went directly and nowhere else.
        """
        sent = self._pings.pop(number, None) if self._pings else None
        if sent is not None:
            self.lane.rtt.sample(now - sent[0])
            self.sealer.acknowledge(sent[1])
            if not self._pings:
                self._pings = None
            return sent[2]
        return False

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
            if path.takes(address, len(datagram)):
                out.append(Transmit(datagram, address))
        self.directed = ()

    def lane_acknowledged(self, unacknowledged: int) -> None:
        """The lane's packets below `unacknowledged` have arrived: one of them, `watched`, shows
        that its datagram was opened. One at a time is enough to keep packet numbers short.
        """
        watched = self.watched
        if watched is not None and watched[0] < unacknowledged:
            self.watched = None
            self.sealer.acknowledge(watched[1])

    def erase(self) -> None:
        """Overwrite what keys this side holds for messages; to seal raises `LocalError` then."""
        self.erased = True
        # Made again if they are at rest: what is made later would have keys that all can guess.
        self.sealer.erase()
        self.opener.erase()
        self._secrets[:] = bytes(len(self._secrets))
