"""Several `Peers` on one seeded in-memory network with virtual time.

The network loses, delays, reorders and duplicates, and can hold a datagram back to replay it. No
real time passes and nothing depends on it: a run is a function of its seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from transport.core.config import TransportConfig
from transport.core.constants import MAGIC
from transport.core.crypto.keys import Identity
from transport.core.events import EntriesReceived, Event, PresenceUp
from transport.core.peers import Peers
from transport.core.presence.presence import Presence
from transport.core.types import Address, Transmit

E = TypeVar("E")


@dataclass
class Net:
    """What the network does to datagrams; change it at any time."""

    delay_s: float = 0.01
    jitter_s: float = 0.0
    """Each datagram is late by up to this much more, so that some overtake others."""
    loss: float = 0.0
    duplicates: float = 0.0
    drop: Callable[[Address, Address, bytes], bool] | None = None
    """Drops exactly what it says, given where from, where to and what."""


@dataclass
class Side:
    """One node."""

    name: str
    peers: Peers
    identity: Identity
    address: Address
    events: list[Event] = field(default_factory=list)
    entries: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """Who sent it, group, entry."""
    sent: list[Transmit] = field(default_factory=list)
    received: list[tuple[bytes, Address]] = field(default_factory=list)
    on_event: Callable[[Event], None] | None = None

    @property
    def key(self) -> bytes:
        return self.identity.key

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]


class World:
    """Nodes named by letters at 10.0.0.1, 10.0.0.2 ..."""

    def __init__(self, seed: int = 1, net: Net | None = None) -> None:
        self.random = random.Random(seed)
        self.net = net or Net()
        self.now = 100.0
        self.sides: dict[Address, Side] = {}
        self.names: dict[str, Side] = {}
        self._flying: list[tuple[float, int, Address, Address, bytes]] = []
        self._serial = 0

    def add(
        self,
        name: str,
        config: TransportConfig | None = None,
        identity: Identity | None = None,
        life: int | None = None,
        **tuning: Any,
    ) -> Side:
        """A node of that name; a second one of the same name takes its place (a restart), in
        another life unless it is told in which."""
        config = config or TransportConfig(**tuning)
        draw = self.random.randbytes
        old = self.names.get(name)
        if identity is None:
            identity = old.identity if old else Identity.generate(draw)
        address = old.address if old else (f"10.0.0.{len(self.names) + 1}", 4000)
        incarnation = self.random.getrandbits(64) if life is None else life
        side = Side(name, Peers(identity, config, draw, self.now, incarnation), identity, address)
        self.sides[address] = self.names[name] = side
        return side

    def move(self, side: Side, address: Address) -> None:
        """Rebind: from now on `side` is reached at `address` only."""
        del self.sides[side.address]
        side.address = address
        self.sides[address] = side

    def connect(self, a: Side, b: Side, timeout_s: float = 5.0) -> None:
        a.peers.connect(b.key, [b.address], self.now, timeout_s)

    def up(self, a: Side, b: Side) -> None:
        """Connect and wait until both are confirmed and nothing moves."""
        self.connect(a, b)
        self.run(1.0)
        assert any(event.peer == b.key for event in a.of(PresenceUp))
        assert any(event.peer == a.key for event in b.of(PresenceUp))

    def inject(self, source: Address, target: Address, data: bytes) -> None:
        """Put a datagram onto the network as if it came from `source`."""
        self._serial += 1
        late = self.random.random() * self.net.jitter_s
        at = self.now + self.net.delay_s + late
        heapq.heappush(self._flying, (at, self._serial, source, target, data))

    def drain(self, side: Side) -> bool:
        """Transmits, then events, until there is nothing more. Whether anything came out."""
        anything = False
        while True:
            transmits = side.peers.poll_transmits()
            events = side.peers.poll_events()
            if not transmits and not events:
                return anything
            anything = True
            for transmit in transmits:
                side.sent.append(transmit)
                self._carry(side.address, transmit)
            for event in events:
                side.events.append(event)
                if isinstance(event, EntriesReceived):
                    side.entries.extend((event.peer, *entry) for entry in event.entries)
                if side.on_event is not None:
                    side.on_event(event)

    def _carry(self, source: Address, transmit: Transmit) -> None:
        net = self.net
        if net.drop is not None and net.drop(source, transmit.address, transmit.data):
            return
        if net.loss and self.random.random() < net.loss:
            return
        self.inject(source, transmit.address, transmit.data)
        if net.duplicates and self.random.random() < net.duplicates:
            self.inject(source, transmit.address, transmit.data)

    def step(self, until: float) -> bool:
        """The next thing that happens, not after `until`. False: nothing, and it is `until`."""
        for side in self.names.values():
            self.drain(side)
        times = [t for side in self.names.values() if (t := side.peers.next_timeout()) is not None]
        if self._flying:
            times.append(self._flying[0][0])
        due = min(times, default=until)
        if due > until:
            self.now = max(self.now, until)
            return False
        if not times:
            self.now = max(self.now, until)
            return False
        self.now = max(self.now, due)
        batches: dict[Address, list[tuple[bytes, Address]]] = {}
        while self._flying and self._flying[0][0] <= self.now:
            _, _, source, target, data = heapq.heappop(self._flying)
            batches.setdefault(target, []).append((data, source))
        for target, batch in batches.items():
            if target in self.sides:
                self.sides[target].received.extend(batch)
                self.sides[target].peers.receive_datagrams(batch, self.now)
        for side in self.names.values():
            timeout = side.peers.next_timeout()
            if timeout is not None and timeout <= self.now:
                side.peers.handle_timeout(self.now)
            self.drain(side)
        return True

    def run(self, seconds: float, steps_max: int = 1_000_000) -> None:
        """Let `seconds` pass."""
        until = self.now + seconds
        for _ in range(steps_max):
            if not self.step(until):
                return
        raise AssertionError("time stands still")

    def run_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let time pass until `condition` holds, at most `seconds`."""
        until = self.now + seconds
        while not condition():
            if not self.step(until):
                raise AssertionError(f"it did not happen within {seconds} s")


def kind_of(data: bytes) -> int | None:
    """The kind of a handshake's datagram; None for a sealed one."""
    return data[3] if data[:3] == MAGIC else None


def drop_first(world: World, kind: int, times: int) -> list[int]:
    """Lose the first `times` handshake datagrams of `kind`; the list counts them."""
    seen: list[int] = []

    def drop(source: Address, target: Address, data: bytes) -> bool:
        if kind_of(data) != kind:
            return False
        seen.append(1)
        return len(seen) <= times

    world.net.drop = drop
    return seen


def presence_of(side: Side, other: Side) -> Presence:
    """The presence `side` uses to reach `other`."""
    presence = side.peers._context.by_key[other.key].current
    assert presence is not None
    return presence


def answering(world: World, side: Side) -> None:
    """Answer every entry for group 0 at once."""

    def answer(event: Event) -> None:
        if isinstance(event, EntriesReceived):
            for group, entry in event.entries:
                if group == 0:
                    side.peers.send(event.peer, 0, b"re: " + entry, world.now)

    side.on_event = answer
