"""One presence: the keys of one handshake, where they are used, and what waits to be said.

What both ends of a lane share is not here: a lane outlives its presences.
"""

from __future__ import annotations

from typing import NamedTuple

from transport.core import frames
from transport.core.agreement import EpochKeys, Established
from transport.core.config import TransportConfig
from transport.core.events import PlaneKeys
from transport.core.lane import Lane
from transport.core.path import Path
from transport.core.rekey import Rekeying
from transport.core.rtt import RoundTrip
from transport.core.seal import Opener, Sealer
from transport.core.types import Address, RandomBytes, Transmit

__all__ = ["CONTROL_MAX", "Presence", "Renewal", "Renewed"]

CONTROL_MAX = 8
"""Control frames waiting at once; a peer's flood of probes gets no more answers than that."""
_PINGS_MAX = 16  # probes whose time is remembered


def _only_rekey(secret: bytes) -> EpochKeys:
    return EpochKeys(b"", b"", b"", b"", b"", b"", b"", b"", secret)


class Epoch:
    """What the next epoch's keys will be derived from; nothing else of this one's."""

    __slots__ = ("handshake_hash", "keys", "suite")

    def __init__(self, established: Established) -> None:
        self.keys = _only_rekey(established.keys.rekey)
        self.handshake_hash = established.handshake_hash
        self.suite = established.suite


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
        "_acknowledging",
        "_counter_pinged",
        "_pings",
        "bulk_cid",
        "closed_reason",
        "confirmed",
        "control",
        "directed",
        "epoch",
        "expires_at",
        "held_first_data",
        "incarnation",
        "initiator",
        "lane",
        "made_at",
        "message_cid",
        "opener",
        "path",
        "peer",
        "plane",
        "probe_at",
        "probe_tries",
        "renew_at",
        "renew_tries",
        "renewal",
        "renewed",
        "responder_key",
        "rtt",
        "sealer",
    )

    def __init__(
        self,
        established: Established,
        address: Address,
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
        self.peer = established.peer
        self.incarnation = established.incarnation
        self.initiator = initiator
        self.responder_key = established.peer if initiator else own_key
        self.message_cid = message_cid
        self.bulk_cid = bulk_cid
        self.made_at = now
        self.lane = lane
        self.rtt: RoundTrip = lane.rtt
        self.path = Path(address, random, config.path_hold_s)
        self.sealer = Sealer(
            established.message_cid, suite, keys.message_send, keys.message_send_header
        )
        self.opener = Opener(message_cid, suite, keys.message_receive, keys.message_receive_header)
        self.plane = PlaneKeys(
            receive_cid=bulk_cid,
            send_cid=established.bulk_cid,
            suite=suite,
            send_key=keys.bulk_send,
            send_header_key=keys.bulk_send_header,
            receive_key=keys.bulk_receive,
            receive_header_key=keys.bulk_receive_header,
            address=address,
            initiator=initiator,
        )
        self.epoch = Epoch(established)
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
        self.control: list[bytes] = []
        """Frames for the next datagram."""
        self.directed: list[tuple[Address, bytes]] = []
        """Frames that must go to one address, each in a datagram of its own."""
        self._pings: dict[int, tuple[float, int]] = {}
        self._acknowledging: tuple[int, int] | None = None
        self._counter_pinged = 0

    def __repr__(self) -> str:
        return f"Presence({self.peer.hex()[:16]}, confirmed={self.confirmed})"

    def ping(self, now: float) -> None:
        """Probe with the next datagram."""
        self._counter_pinged = (self._counter_pinged + 1) & 0xFFFFFFFF
        while len(self._pings) >= _PINGS_MAX:
            del self._pings[next(iter(self._pings))]
        self._pings[self._counter_pinged] = (now, self.sealer.next_counter)
        self.say(frames.ping(self._counter_pinged))

    def ponged_untrusted(self, number: int, now: float) -> None:
        """An answer to a probe: a sample of the round trip, and proof of what was opened."""
        sent = self._pings.pop(number, None)
        if sent is not None:
            self.rtt.sample(now - sent[0])
            self.sealer.acknowledge(sent[1])

    def say(self, frame: bytes) -> None:
        """Put a control frame into the next datagram, unless too many wait."""
        if len(self.control) < CONTROL_MAX:
            self.control.append(frame)

    def direct(self, address: Address, frame: bytes) -> None:
        """Send a frame to `address` and nowhere else, unless too many wait."""
        if len(self.directed) < CONTROL_MAX:
            self.directed.append((address, frame))

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
        self.directed.clear()

    def lane_packet_sent(self, number: int) -> None:
        """Lane packet `number` leaves in the next datagram: its acknowledgement shows the counter.

        One at a time is watched: enough to keep counters short, and constant memory.
        """
        if self._acknowledging is None:
            self._acknowledging = (number, self.sealer.next_counter)

    def lane_acknowledged(self, unacknowledged: int) -> None:
        """The lane's packets below `unacknowledged` have arrived."""
        watched = self._acknowledging
        if watched is not None and watched[0] < unacknowledged:
            self._acknowledging = None
            self.sealer.acknowledge(watched[1])

    def erase(self) -> None:
        """Overwrite what keys this side holds for messages."""
        self.sealer.erase()
        self.opener.erase()
        self.epoch.keys = _only_rekey(b"")
