"""Whole tables of peers on the simulated network: 100 ms one way, and no processing time."""

from __future__ import annotations

from scenarios.world.nat import Nat, NatKind
from scenarios.world.network import Link
from scenarios.world.world import Host, World
from tests.support.pair.handshake import seeded
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.events import EntriesReceived, Event, PresenceUp
from transport.core.handshake.circle import CircleSecret
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.initiator.simultaneous_open import is_responder
from transport.core.peers import Peers
from transport.core.types import Address

ONE_WAY_S = 0.1
RTT_S = 2 * ONE_WAY_S
TOKEN = b"token of 16 byte"
REQUEST, ANSWER = b"request", b"answer to request"
GROUP = 1

OPEN = TransportConfig()
CIRCLE = TransportConfig(
    handshake=HandshakeConfig(circles=(CircleSecret(b"s" * 32),), unix_offset_s=1.7e9)
)
SERVES_ANYBODY = TransportConfig(handshake=HandshakeConfig(anonymous=True))


class Stack:
    """Nodes that answer each request at once, in a world."""

    def __init__(self, config: TransportConfig = OPEN, seed: int = 1) -> None:
        self.config = config
        self.world = World(seed, Link(delay_s=ONE_WAY_S))
        self.world.clock.advance(1000.0)
        self.identities: dict[str, Identity] = {}
        self._draw = seeded(seed)

    def add(self, name: str, config: TransportConfig | None = None) -> Host:
        """A node with an identity of its own."""
        identity = self.identities[name] = Identity.generate(self._draw)

        def peers(host: Host, now: float) -> Peers:
            settings = config or self.config
            return Peers(identity, settings, host.random_bytes, now, host.incarnation)

        host = self.world.add(name, peers)
        host.on_event = self._answer
        return host

    def _answer(self, host: Host, event: Event) -> None:
        if isinstance(event, EntriesReceived):
            for group, entry in event.entries:
                if entry == REQUEST:
                    host.node.send(event.peer, group, ANSWER, self.world.now)
                    host.call(lambda node, now: None)

    def key(self, host: Host) -> bytes:
        """The node's name."""
        return self.identities[host.name].key

    def run(self, seconds: float) -> None:
        self.world.run(for_s=seconds)

    def ask(self, here: Host, there: Host, filler: bytes = b"") -> None:
        """Connect, and send the request, behind `filler`, with the first datagram that takes it."""
        key = self.key(there)

        def connect_and_send(node: Peers, now: float) -> None:
            node.connect(key, [there.address], now)
            if filler:
                node.send(key, GROUP, filler, now)
            node.send(key, GROUP, REQUEST, now)

        here.call(connect_and_send)

    def leave(self, here: Host, there: Host) -> None:
        """End the presence, and let both sides forget its keys."""
        here.call(lambda node, now: node.close(self.key(there), 1, now))
        self.run(12.0)

    def answered_at(self, here: Host) -> list[float]:
        """When answers came."""
        return [
            at
            for at, event in here.events
            if isinstance(event, EntriesReceived) and (GROUP, ANSWER) in event.entries
        ]

    def up_at(self, host: Host) -> list[float]:
        """When presences came up."""
        return [at for at, event in host.events if isinstance(event, PresenceUp)]

    def parts(self, one: Host, other: Host) -> tuple[Host, Host]:
        """Who takes the initiator's part in a meeting, and who the responder's."""
        mine, theirs = self.identities[one.name], self.identities[other.name]
        return (other, one) if is_responder(mine.static, theirs.static) else (one, other)

    def behind(self, host: Host, nat: NatKind | None) -> Address:
        """Put a node behind a translator; the address under which an introducer sees it."""
        network, seen = self.world.network, list[Address]()
        introducer = ("198.51.100.1", 3478)
        network.attach(introducer, lambda _, source: seen.append(source))
        if nat is not None:
            outer_host = f"203.0.113.{host.address[0].rpartition('.')[2]}"
            network.put_behind(host.address, Nat(outer_host, nat), outer_host)
        network.send(b"here I am", host.address, introducer)
        self.run(1.0)
        return seen[0]

    def records(self, *hosts: Host) -> list[bytes]:
        """What each has given the introducer."""
        return [host.call(lambda n, now: n.introductions.published(now)) for host in hosts]

    def meet(
        self, here: Host, there: Host, records: tuple[bytes, bytes], where: Address,
        timeout_s: float = 5.0,
    ) -> None:
        """What an introducer's word leads to at `here`; `records` are its own and the other's."""

        def begin(node: Peers, now: float) -> None:
            node.introductions.meet_untrusted(
                self.key(there), TOKEN, *records, [where], RTT_S, now, timeout_s
            )

        here.call(begin)


def sniffed(stack: Stack) -> list[bytes]:
    """Every datagram that is sent from here on."""
    seen: list[bytes] = []
    send = stack.world.network.send

    def sniff(data: bytes, source: Address, destination: Address) -> None:
        seen.append(data)
        send(data, source, destination)

    stack.world.network.send = sniff  # type: ignore[method-assign]
    return seen
