"""A seeded datagram network: delay, loss, duplication, reordering, rate, partitions.

Every pair of addresses has a `Link` in each direction (a default one unless set). All randomness
comes from one generator, so equal seeds and equal calls give equal histories.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from scenarios.world.clock import Clock

__all__ = ["Address", "Counters", "Cut", "Link", "Network", "Translator"]

Address = tuple[str, int]
Trace = Callable[[float, str, Address, Address, bytes], None]
Receive = Callable[[bytes, Address], Any]

HEADER_SIZE = 28
"""IPv4 and UDP headers, which a rate limit pays for too."""


@dataclass(frozen=True)
class Link:
    """How datagrams fare in one direction. Probabilities are 0 to 1, for each datagram."""

    delay_s: float = 0.02
    """The shortest one-way delay."""
    jitter_s: float = 0.0
    """Added to the delay: the width of a uniform, or the mean of an exponential distribution."""
    jitter: Literal["uniform", "exponential"] = "uniform"
    """The shape of what is added. With either, later datagrams may overtake earlier ones."""
    in_order: bool = False
    """True: nothing overtakes, whatever the jitter."""
    loss: float = 0.0
    """The share of datagrams that vanish, in the long run."""
    loss_burst: float = 1.0
    """The mean number of datagrams lost in a row (Gilbert's model); 1 is independent loss."""
    duplication: float = 0.0
    """The chance of a second copy, which takes its own time."""
    reordering: float = 0.0
    """The chance of being held back by `reordering_s` more."""
    reordering_s: float = 0.05
    """How long a reordered datagram is held back."""
    rate_bytes_per_s: float | None = None
    """The bottleneck's speed, headers included; None is without limit."""
    queue_bytes_max: int = 256 * 1024
    """What waits at the bottleneck before datagrams are dropped at its tail."""
    datagram_size_max: int = 1472
    """Larger payloads vanish, as on a path that drops fragments."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplication", "reordering"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a probability")
        if self.loss_burst < 1.0:
            raise ValueError("a burst is at least one datagram long")


@dataclass
class Counters:
    """What became of the datagrams sent."""

    sent: int = 0
    sent_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    lost: int = 0
    duplicated: int = 0
    overflowed: int = 0
    """Dropped at a bottleneck's full queue."""
    oversized: int = 0
    cut: int = 0
    """Stopped by a partition."""
    unroutable: int = 0
    """Sent to where nobody listens, or refused by a translator."""


class Translator(Protocol):
    """What stands between some inner addresses and the network (scenarios.world.nat)."""

    def outward(self, source: Address, destination: Address, now: float) -> Address | None:
        """The source address the network sees; None drops the datagram."""
        ...

    def inward(self, source: Address, outside: Address, now: float) -> Address | None:
        """The inner address that a datagram to `outside` reaches; None drops it."""
        ...


@dataclass(frozen=True)
class Cut:
    """One partition: what goes from `sources` to `destinations` is stopped.

    An element is an address, or a host's name, which stands for all its ports.
    """

    sources: frozenset[Address | str]
    destinations: frozenset[Address | str]

    def stops(self, source: Address, destination: Address) -> bool:
        """Whether a datagram between these two is stopped."""
        return (source in self.sources or source[0] in self.sources) and (
            destination in self.destinations or destination[0] in self.destinations
        )


@dataclass(slots=True)
class _Direction:
    """What one direction of one pair remembers."""

    link: Link
    free_at: float = 0.0
    last_at: float = 0.0
    losing: bool = False
    counters: Counters = field(default_factory=Counters)


class Network:
    """Carries datagrams between attached addresses on a `Clock`."""

    def __init__(self, clock: Clock, seed: int = 0, link: Link | None = None):
        self.clock = clock
        self.counters = Counters()
        self.trace: Trace | None = None
        """Called as `trace(now, what, source, destination, data)` for every datagram's fate."""
        self._random = random.Random(f"network {seed}")
        self._link = link if link is not None else Link()
        self._links: dict[tuple[Address, Address], Link] = {}
        self._directions: dict[tuple[Address, Address], _Direction] = {}
        self._receivers: dict[Address, Receive] = {}
        self._cuts: list[Cut] = []
        self._stopped: dict[tuple[Address, Address], bool] = {}
        self._inside: dict[Address, Translator] = {}
        self._outside: dict[str, Translator] = {}

    # Who listens where

    def attach(self, address: Address, receive: Receive) -> None:
        """Datagrams to `address` go to `receive(data, source)` from now on."""
        self._receivers[address] = receive

    def detach(self, address: Address) -> None:
        """Nobody listens there any more; what is under way is dropped on arrival."""
        self._receivers.pop(address, None)

    def put_behind(self, inner: Address, translator: Translator, outer_host: str) -> None:
        """`inner` reaches the network through `translator`, which owns `outer_host`."""
        self._inside[inner] = translator
        self._outside[outer_host] = translator

    # How links are

    def set_default(self, link: Link) -> None:
        """All directions that were not set apart are like `link` from now on."""
        self._link = link
        for pair, direction in self._directions.items():
            direction.link = self._links.get(pair, link)

    def set_link(self, a: Address, b: Address, link: Link, *, one_way: bool = False) -> None:
        """Between `a` and `b` datagrams fare as `link` says from now on."""
        for pair in ((a, b),) if one_way else ((a, b), (b, a)):
            self._links[pair] = link
            if pair in self._directions:
                self._directions[pair].link = link

    def cut(
        self,
        some: Iterable[Address | str],
        others: Iterable[Address | str],
        *,
        one_way: bool = False,
        heal_after_s: float | None = None,
    ) -> list[Cut]:
        """Stops what is sent from `some` to `others` (and back unless `one_way`) from now on.

        What is under way still arrives. `heal` ends it, or `heal_after_s` seconds do.
        """
        here, there = frozenset(some), frozenset(others)
        cuts = [Cut(here, there)] if one_way else [Cut(here, there), Cut(there, here)]
        self._cuts += cuts
        self._stopped.clear()
        if heal_after_s is not None:
            self.clock.after(heal_after_s, self.heal, cuts)
        return cuts

    def heal(self, cuts: Iterable[Cut] | None = None) -> None:
        """Ends the given partitions, or all of them."""
        ended = list(self._cuts) if cuts is None else list(cuts)
        for cut in ended:
            if cut in self._cuts:
                self._cuts.remove(cut)
        self._stopped.clear()

    def counters_between(self, source: Address, destination: Address) -> Counters:
        """What became of the datagrams sent in one direction (as the network sees them)."""
        return self._direction(source, destination).counters

    # Carrying

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        """Takes one datagram. Whether and when it arrives is drawn now."""
        now = self.clock.now
        if source in self._inside:
            seen = self._inside[source].outward(source, destination, now)
            if seen is None:
                self.counters.sent += 1
                self.counters.unroutable += 1
                return
            source = seen
        direction = self._direction(source, destination)
        link, size = direction.link, len(data)
        for counters in (self.counters, direction.counters):
            counters.sent += 1
            counters.sent_bytes += size
        if self._cuts and self._is_stopped(source, destination):
            self._drop(direction, "cut", source, destination, data)
            return
        if size > link.datagram_size_max:
            self._drop(direction, "oversized", source, destination, data)
            return
        leaves_at = now
        if link.rate_bytes_per_s is not None:
            waiting = max(0.0, direction.free_at - now) * link.rate_bytes_per_s
            if waiting + size + HEADER_SIZE > link.queue_bytes_max:
                self._drop(direction, "overflowed", source, destination, data)
                return
            leaves_at = max(now, direction.free_at) + (size + HEADER_SIZE) / link.rate_bytes_per_s
            direction.free_at = leaves_at
        if link.loss and self._is_lost(direction):
            self._drop(direction, "lost", source, destination, data)
            return
        self._carry(direction, leaves_at, data, source, destination)
        if link.duplication and self._random.random() < link.duplication:
            self.counters.duplicated += 1
            direction.counters.duplicated += 1
            self._carry(direction, leaves_at, data, source, destination)

    def _carry(
        self,
        direction: _Direction,
        leaves_at: float,
        data: bytes,
        source: Address,
        destination: Address,
    ) -> None:
        link = direction.link
        arrives_at = leaves_at + link.delay_s
        if link.jitter_s:
            if link.jitter == "uniform":
                arrives_at += self._random.random() * link.jitter_s
            else:
                arrives_at += self._random.expovariate(1.0 / link.jitter_s)
        if link.reordering and self._random.random() < link.reordering:
            arrives_at += link.reordering_s
        elif link.in_order:
            arrives_at = max(arrives_at, direction.last_at)
        direction.last_at = max(direction.last_at, arrives_at)
        self.clock.at(arrives_at, self._arrive, direction, data, source, destination)

    def _arrive(
        self, direction: _Direction, data: bytes, source: Address, destination: Address
    ) -> None:
        inner: Address | None = destination
        if destination[0] in self._outside:
            inner = self._outside[destination[0]].inward(source, destination, self.clock.now)
        receive = self._receivers.get(inner) if inner is not None else None
        if receive is None:
            self._drop(direction, "unroutable", source, destination, data)
            return
        for counters in (self.counters, direction.counters):
            counters.delivered += 1
            counters.delivered_bytes += len(data)
        if self.trace is not None:
            self.trace(self.clock.now, "delivered", source, destination, data)
        receive(data, source)

    def _drop(
        self, direction: _Direction, why: str, source: Address, destination: Address, data: bytes
    ) -> None:
        for counters in (self.counters, direction.counters):
            setattr(counters, why, getattr(counters, why) + 1)
        if self.trace is not None:
            self.trace(self.clock.now, why, source, destination, data)

    def _is_lost(self, direction: _Direction) -> bool:
        """Gilbert's two states: a loss ends with chance 1/burst, and begins so often that the
        share of lost datagrams is `loss` in the long run."""
        link = direction.link
        if link.loss_burst == 1.0 or link.loss >= 1.0:
            return self._random.random() < link.loss
        if direction.losing:
            direction.losing = self._random.random() >= 1.0 / link.loss_burst
        else:
            begins = link.loss / (link.loss_burst * (1.0 - link.loss))
            direction.losing = self._random.random() < begins
        return direction.losing

    def _is_stopped(self, source: Address, destination: Address) -> bool:
        pair = (source, destination)
        stopped = self._stopped.get(pair)
        if stopped is None:
            stopped = any(cut.stops(source, destination) for cut in self._cuts)
            self._stopped[pair] = stopped
        return stopped

    def _direction(self, source: Address, destination: Address) -> _Direction:
        pair = (source, destination)
        direction = self._directions.get(pair)
        if direction is None:
            direction = _Direction(self._links.get(pair, self._link))
            self._directions[pair] = direction
        return direction
