"""Responders and attempts on a simulated network: 100 ms one way, and no processing time."""

from __future__ import annotations

from dataclasses import dataclass, field

from scenarios.world.clock import Clock, Handle
from scenarios.world.network import Link, Network
from tests.support.pair.handshake import seeded
from transport.core.crypto.keys import Identity
from transport.core.handshake.negotiation import Established, HandshakeConfig
from transport.core.initiator.initiator import Initiator
from transport.core.initiator.simultaneous_open import SimultaneousOpen
from transport.core.responder.responder import Reply, Responder
from transport.core.types import Address

ONE_WAY_S = 0.1


@dataclass
class Host:
    """One node: a responder that answers at once, and what it has under way."""

    wire: Wire
    identity: Identity
    address: Address
    responder: Responder
    initiator: Initiator | None = None
    meeting: SimultaneousOpen | None = None
    up: dict[bytes, tuple[float, Established]] = field(default_factory=dict)
    """By peer: when its handshake ended here, and with what."""
    requests: list[tuple[float, bytes]] = field(default_factory=list)
    received: list[tuple[float, bytes]] = field(default_factory=list)
    timer: Handle | None = None

    def send(self, data: bytes, to: Address) -> None:
        self.wire.network.send(data, self.address, to)

    def receive(self, data: bytes, source: Address) -> None:
        now = self.wire.clock.now
        self.received.append((now, data))
        established = None
        if self.meeting is not None:
            established = self.meeting.receive_untrusted(data, source, now)
        if self.initiator is not None and established is None:
            if self.initiator.receive_challenge_untrusted(data, now):
                self.send(self.initiator.initiate(b"request", now), source)
            else:
                established = self.initiator.receive_accept_untrusted(data, now)
        if established is not None:
            self.up.setdefault(established.peer, (now, established))
        answer = self.responder.receive_untrusted(data, source, now)
        if isinstance(answer, Reply):
            self.send(answer.data, source)
        elif answer is not None:
            self.requests.append((now, answer.first_data))
            made = answer.accept(b"answer to " + answer.first_data, b"M" * 8, b"B" * 8, 22, now)
            self.up.setdefault(made.peer, (now, made))
            if self.meeting is not None:
                self.meeting.admitted()
            self.send(made.datagram, source)
        self.flush()

    def flush(self) -> None:
        """Send what the meeting has to send, and arm its timer."""
        if self.meeting is None:
            return
        for data, address in self.meeting.poll_transmits():
            self.send(data, address)
        due = self.meeting.next_timeout()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if due is not None:
            self.timer = self.wire.clock.at(due, self._timeout)

    def _timeout(self) -> None:
        assert self.meeting is not None
        self.timer = None
        self.meeting.handle_timeout(self.wire.clock.now)
        self.flush()

    def attempt(self, peer: Host, **more: bool) -> Initiator:
        self.initiator = Initiator(
            self.identity,
            peer.identity.key,
            self.wire.config,
            self.wire.random,
            message_cid=b"m" * 8,
            bulk_cid=b"b" * 8,
            incarnation=11,
            **more,
        )
        return self.initiator

    def meet(
        self, peer: Host, token: bytes, addresses: list[Address], rtt_s: float = 2 * ONE_WAY_S
    ) -> None:
        """What the introducer's message leads to."""
        now = self.wire.clock.now
        self.meeting = SimultaneousOpen(
            self.identity,
            self.responder,
            peer.identity.key,
            self.wire.config,
            self.wire.random,
            token=token,
            own_record=self.responder.published(now),
            peer_record=peer.responder.published(now),
            addresses=addresses,
            rtt_s=rtt_s,
            message_cid=b"m" * 8,
            bulk_cid=b"b" * 8,
            incarnation=11,
            first_data=b"request",
            now=now,
        )
        self.meeting.handle_timeout(now)
        self.flush()


class Wire:
    """A clock, a network, and hosts on it."""

    def __init__(
        self, seed: int = 1, config: HandshakeConfig | None = None, one_way_s: float = ONE_WAY_S
    ) -> None:
        self.clock = Clock(1000.0)
        self.network = Network(self.clock, seed, Link(delay_s=one_way_s))
        self.random = seeded(seed)
        self.config = config or HandshakeConfig()
        self.hosts: list[Host] = []

    def add(self) -> Host:
        identity = Identity.generate(self.random)
        address = (f"192.0.2.{len(self.hosts) + 1}", 4000)
        responder = Responder(identity, self.config, self.random, self.clock.now)
        host = Host(self, identity, address, responder)
        self.network.attach(address, host.receive)
        self.hosts.append(host)
        return host

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.step(end):
            pass
        self.clock.advance(end)
