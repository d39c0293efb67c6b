"""A responder under a flood, in simulated time: hostile addresses, honest ones, one clock.

The responder serves `CAPACITY_PER_S` P3s a second. Hostile hellos come at a multiple of that; each
is followed by a P3 with a body of noise, for which it spends at most `hashes_max` on the puzzle.
Honest ones run the product's own attempt, retransmissions included, and pay a microsecond a hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from scenarios.world.clock import Clock
from scenarios.world.network import Link, Network
from tests.support.pair.handshake import seeded
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.puzzle import NO_SOLUTION, Solver, rest_hash
from transport.core.handshake.variants import FIRST_CONTACT
from transport.core.handshake.wire import (
    HEADER_SIZE,
    INITIATE_SIZE_MIN,
    KX_AT,
    TRANSIENT_PART,
    Challenge,
    TransientPart,
    decode_challenge_untrusted,
    encode_header,
    encode_hello,
)
from transport.core.initiator.attempt import Attempt
from transport.core.initiator.initiator import Initiator
from transport.core.responder.responder import Reply, Responder
from transport.core.types import Address, Transmit

CAPACITY_PER_S = 100.0
HASH_S = 1e-6
HOME: Address = ("192.0.2.1", 4000)
GIVE_UP_S = 30.0


def everywhere(number: int) -> Address:
    """Hostile addresses all over the network: no two in one /24."""
    return (f"{11 + number % 89}.{number // 89 % 251}.{number // 22339 % 251}.9", 5000)


def one_range(number: int) -> Address:
    """Hostile addresses of one /24."""
    return (f"203.0.113.{number % 254 + 1}", 1024 + number // 254)


def one_range_6(number: int) -> Address:
    """Hostile addresses of one /56, each in a /64 of its own."""
    return (f"2001:db8:0:{number % 256:x}::9", 1024 + number // 256)


@dataclass
class Flood:
    """One run."""

    seed: int = 1
    times_capacity: float = 10.0
    honest_per_s: float = 5.0
    hashes_max: int = 0
    """What a hostile address spends on a puzzle; 0: it does not solve."""
    addresses: Callable[[int], Address] = everywhere
    latencies: list[float] = field(default_factory=list)
    """Of honest initiators, seconds from asking to being up; infinite for those that gave up."""
    efforts: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = Clock(1000.0)
        self.network = Network(self.clock, self.seed, Link(delay_s=0.02))
        self.random = seeded(self.seed)
        self.config = HandshakeConfig(
            handshakes_per_s_max=CAPACITY_PER_S, handshakes_burst=8, waiting_max=16
        )
        self.identity = Identity.generate(self.random)
        self.responder = Responder(self.identity, self.config, self.random, self.clock.now)
        self.where: dict[bytes, Address] = {}
        self.hostile = 0
        self.network.attach(HOME, self._at_responder)

    # --- the responder ------------------------------------------------------------------------

    def _at_responder(self, data: bytes, source: Address) -> None:
        answer = self.responder.receive_untrusted(data, source, self.clock.now)
        if isinstance(answer, Reply):
            self.network.send(answer.data, HOME, source)
        elif answer is not None:
            made = answer.accept(b"", b"M" * 8, b"B" * 8, 2, self.clock.now)
            self.network.send(made.datagram, HOME, answer.address)

    def _tick(self) -> None:
        now = self.clock.now
        self.responder.handle_timeout(now)
        while (admitted := self.responder.poll(now)) is not None:
            made = admitted.accept(b"", b"M" * 8, b"B" * 8, 2, now)
            self.network.send(made.datagram, HOME, admitted.address)
        if not self.efforts or now - self.efforts[-1][0] >= 1.0:
            self.efforts.append((now, self.responder.effort))
        self.clock.after(0.005, self._tick)

    # --- hostile ------------------------------------------------------------------------------

    def _hostile(self, until: float) -> None:
        if self.clock.now >= until:
            return
        address = self.addresses(self.hostile)
        self.hostile += 1
        hello = encode_hello(self.random(8), 0, (2,))
        self.network.attach(address, lambda data, _: self._hostile_answer(address, hello, data))
        self.network.send(hello, address, HOME)
        self.clock.after(1 / (CAPACITY_PER_S * self.times_capacity), self._hostile, until)

    def _hostile_answer(self, address: Address, hello: bytes, data: bytes) -> None:
        self.network.detach(address)
        if len(data) != 185:
            return
        challenge: Challenge = decode_challenge_untrusted(data)
        part = TransientPart(*TRANSIENT_PART.unpack(challenge.transient_part))
        effort = challenge.effort
        header = encode_header(
            FIRST_CONTACT.prefix,
            2,
            part.tid,
            blake2b(hello, digest_size=32).digest(),
            challenge.time,
            effort,
            challenge.sequence,
            challenge.cookie,
        )
        p3 = header + NO_SOLUTION + self.random(INITIATE_SIZE_MIN - KX_AT)
        if 0 < effort <= self.hashes_max:
            solver = Solver(challenge.cookie, rest_hash(p3, HEADER_SIZE), effort)
            solver.work(solver.hashes_max)
            p3 = header + solver.solution + p3[KX_AT:]
        self.network.send(p3, address, HOME)

    # --- honest -------------------------------------------------------------------------------

    def _honest(self, until: float, number: int) -> None:
        if self.clock.now >= until:
            return
        address = (f"{101 + number % 80}.77.{number // 80 % 250}.5", 6000)
        now = self.clock.now
        identity = Identity.generate(self.random)

        def begin() -> Initiator:
            return Initiator(
                identity,
                self.identity.key,
                self.config,
                self.random,
                message_cid=b"m" * 8,
                bulk_cid=b"b" * 8,
                incarnation=1,
            )

        attempt = Attempt(
            begin,
            [HOME],
            TransportConfig(handshake=self.config),
            self.random,
            message_cid=b"m" * 8,
            bulk_cid=b"b" * 8,
            now=now,
            deadline=now + GIVE_UP_S,
        )
        _Honest(self, attempt, address).drive()
        self.clock.after(1 / self.honest_per_s, self._honest, until, number + 1)

    # --- the run ------------------------------------------------------------------------------

    def run(self, flood_s: float, after_s: float) -> None:
        """A flood of so many seconds, and the time after it."""
        end = self.clock.now + flood_s
        self._tick()
        self._hostile(end)
        self.clock.after(1.0, self._honest, end, 0)
        stop = end + after_s
        while self.clock.step(stop):
            pass

    def effort_after(self, seconds: float) -> list[int]:
        """The efforts asked for from so long after the run's beginning on."""
        start = self.efforts[0][0]
        return [effort for at, effort in self.efforts if at - start >= seconds]


class _Honest:
    """One honest initiator."""

    def __init__(self, flood: Flood, attempt: Attempt, address: Address) -> None:
        self.flood, self.attempt, self.address = flood, attempt, address
        self.done = False
        flood.network.attach(address, self._receive)

    def _receive(self, data: bytes, source: Address) -> None:
        flood = self.flood
        established = self.attempt.receive_untrusted(data, source, lambda: b"", flood.clock.now)
        if established is not None:
            self.done = True
            flood.latencies.append(flood.clock.now - self.attempt.started_at)
            flood.network.detach(self.address)
            return
        self.drive(armed=True)

    def drive(self, armed: bool = False) -> None:
        """Send what is due; solving takes its time before a P3 leaves."""
        flood, now = self.flood, self.flood.clock.now
        if self.done:
            return
        if now >= self.attempt.deadline:
            self.done = True
            flood.latencies.append(float("inf"))
            return
        out: list[Transmit] = []
        while self.attempt.next_at <= now:
            unsolved = self.attempt.initiator._unsolved
            self.attempt.handle_timeout(lambda: b"", now, out)
            hashes = unsolved.solver.hashes if unsolved is not None else 0
            for data, address in out:
                flood.clock.after(hashes * HASH_S, flood.network.send, data, self.address, address)
            out.clear()
        if not armed:
            flood.clock.after(0.05, self.drive)
