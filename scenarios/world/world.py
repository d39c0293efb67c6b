"""Nodes in a simulated network: start, crash, restart, pause, and time that passes.

A node is any object with the four verbs (`receive_datagrams`, `handle_timeout`, `poll_*`,
`next_timeout`): a table of peers alone, or a whole machine. The world drives it as the endpoint
does: after any change drain transmits, then events, then re-arm the timer.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from scenarios.world.clock import Clock, Handle
from scenarios.world.network import Address, Link, Network

__all__ = ["Host", "Node", "World"]

BATCH_MAX = 64
"""As many datagrams are handed to a node at once as the endpoint drains at once."""
SOCKET_BUFFER_MAX = 4096
"""Datagrams that wait for a paused or busy node; later ones are dropped, as by a full socket."""

Result = TypeVar("Result")


class Transmit(Protocol):
    """A datagram and where to send it."""

    @property
    def data(self) -> bytes: ...
    @property
    def address(self) -> Address: ...


class Node(Protocol):
    """The four verbs."""

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> object: ...
    def handle_timeout(self, now: float) -> None: ...
    def poll_transmits(self) -> Iterable[Transmit]: ...
    def poll_events(self) -> Iterable[Any]: ...
    def next_timeout(self) -> float | None: ...


Factory = Callable[["Host", float], Node]


class Host:
    """The place where one node lives: an address, a life, a seeded source of randomness."""

    def __init__(self, world: World, name: str, address: Address, factory: Factory):
        self.world = world
        self.name = name
        self.address = address
        self.node: Any = None
        """The node, or None while crashed."""
        self.incarnation = 0
        """64 bits drawn for each life."""
        self.lives = 0
        self.events: list[tuple[float, Any]] = []
        """Everything polled in all its lives, with the times."""
        self.on_event: Callable[[Host, Any], None] | None = None
        self.processing_s = 0.0
        """Time a node needs for one datagram; it is deaf and mute meanwhile."""
        self.slept_s = 0.0
        """How long its machine has slept: the clock that the node goes by has not counted that."""
        self.overflowed = 0
        """Datagrams dropped because SOCKET_BUFFER_MAX others waited."""
        self._factory = factory
        self._random = random.Random(f"{world.seed} {name}")
        self._inbox: deque[tuple[bytes, Address]] = deque()
        self._paused = False
        self._asleep_at: float | None = None
        self._scheduled = False
        self._busy_until = 0.0
        self._wake: Handle | None = None
        self._unread = 0

    @property
    def up(self) -> bool:
        """Whether the node lives (a paused one does)."""
        return self.node is not None

    @property
    def now(self) -> float:
        """What the node's clock says, which stands while its machine sleeps."""
        at = self.world.clock.now if self._asleep_at is None else self._asleep_at
        return at - self.slept_s

    @property
    def paused(self) -> bool:
        """Whether the node is stopped, as by SIGSTOP."""
        return self._paused

    def random_bytes(self, size: int) -> bytes:
        """The randomness to give the node: seeded by the world and the host's name."""
        return self._random.randbytes(size)

    def start(self) -> None:
        """Begins a life: the factory makes the node."""
        if self.node is not None:
            raise ValueError(f"{self.name} lives already")
        self.incarnation = int.from_bytes(self._random.randbytes(5), "big")
        self.lives += 1
        self._paused = False
        self._busy_until = self.world.clock.now
        self.node = self._factory(self, self.now)
        self.world.network.attach(self.address, self._receive)
        self._drain()

    def crash(self) -> None:
        """Ends the life at once: nothing more is sent, received or reported."""
        self.node = None
        self._inbox.clear()
        self.world.network.detach(self.address)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None

    def restart(self, factory: Factory | None = None) -> None:
        """Crashes if need be, and begins a new life (by another factory if given)."""
        if self.node is not None:
            self.crash()
        if factory is not None:
            self._factory = factory
        self.start()

    def pause(self) -> None:
        """Stops it as SIGSTOP does: datagrams queue in its socket, timers do not run."""
        self._paused = True

    def resume(self) -> None:
        """Continues it as SIGCONT does: it finds what queued, and that time has passed."""
        if self._paused:
            self._paused = False
            self._schedule()
            self._arm()

    def sleep(self) -> None:
        """Its machine sleeps: as `pause`, but what comes is lost, and the node's clock stands."""
        if self._asleep_at is None:
            self.pause()
            self.world.network.detach(self.address)
            self._asleep_at = self.world.clock.now

    def wake(self) -> None:
        """It goes on, and as far as the node's clock knows no time has passed."""
        if self._asleep_at is not None:
            self.slept_s += self.world.clock.now - self._asleep_at
            self._asleep_at = None
            if self.node is not None:
                self.world.network.attach(self.address, self._receive)
            if self._wake is not None:
                self._wake.cancel()
                self._wake = None
            self.resume()

    def move(self, address: Address) -> None:
        """From now on it sends from, and listens at, another address."""
        self.world.network.detach(self.address)
        self.address = address
        if self.node is not None:
            self.world.network.attach(address, self._receive)

    def call(self, action: Callable[[Any, float], Result]) -> Result:
        """`action(node, now)`, then drains: how a test does something with a node."""
        if self.node is None:
            raise ValueError(f"{self.name} is down")
        result = action(self.node, self.now)
        self._drain()
        return result

    def take_events(self) -> list[Any]:
        """The events since the last call, without their times."""
        new = [event for _, event in self.events[self._unread :]]
        self._unread = len(self.events)
        return new

    def _receive(self, data: bytes, source: Address) -> None:
        if len(self._inbox) >= SOCKET_BUFFER_MAX:
            self.overflowed += 1
            return
        self._inbox.append((data, source))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._paused and self.node is not None:
            self._scheduled = True
            self.world.clock.at(self._busy_until, self._process)

    def _process(self) -> None:
        self._scheduled = False
        if self.node is None or self._paused or not self._inbox:
            return
        now = self.world.clock.now
        inbox = self._inbox
        batch = [inbox.popleft() for _ in range(min(BATCH_MAX, len(inbox)))]
        self.node.receive_datagrams(batch, self.now)
        if self.processing_s:
            self._busy_until = now + len(batch) * self.processing_s
            self.world.clock.at(self._busy_until, self._drain, self.lives)
        else:
            self._drain()
        if inbox:
            self._schedule()

    def _timeout(self) -> None:
        self._wake = None
        node = self.node
        if node is None or self._paused:
            return
        due = node.next_timeout()
        now = self.world.clock.now
        if due is not None and due + self.slept_s <= now:
            if now < self._busy_until:
                self._wake = self.world.clock.at(self._busy_until, self._timeout)
                return
            node.handle_timeout(max(self.now, due))  # A sum and its difference may be rounded.
        self._drain()

    def _drain(self, life: int | None = None) -> None:
        node = self.node
        if node is None or (life is not None and life != self.lives):
            return
        now = self.world.clock.now
        send = self.world.network.send
        for transmit in node.poll_transmits():
            send(transmit.data, self.address, transmit.address)
        for event in node.poll_events():
            self.events.append((now, event))
            if self.on_event is not None:
                self.on_event(self, event)
        self._arm()

    def _arm(self) -> None:
        if self.node is None or self._paused:
            return
        due = self.node.next_timeout()
        wake = self._wake
        if due is None:
            if wake is not None:
                wake.cancel()
                self._wake = None
            return
        due = max(due + self.slept_s, self._busy_until)
        if wake is not None:
            if wake.time_s <= due:
                return  # It wakes early, finds nothing due and arms again.
            wake.cancel()
        self._wake = self.world.clock.at(due, self._timeout)


class World:
    """A clock, a network and the hosts in it. Equal seeds give equal histories."""

    def __init__(self, seed: int = 0, link: Link | None = None):
        self.seed = seed
        self.clock = Clock()
        self.network = Network(self.clock, seed, link)
        self.random = random.Random(f"world {seed}")
        """For what a scenario itself decides."""
        self.hosts: dict[str, Host] = {}

    @property
    def now(self) -> float:
        """The simulated time in seconds."""
        return self.clock.now

    def add(
        self, name: str, factory: Factory, address: Address | None = None, *, start: bool = True
    ) -> Host:
        """Adds a host (at `10.0.0.x:4000` if not said otherwise) and begins its node's life."""
        if name in self.hosts:
            raise ValueError(f"there is a host {name} already")
        number = len(self.hosts) + 1
        where = address or (f"10.0.{number >> 8}.{number & 255}", 4000)
        host = self.hosts[name] = Host(self, name, where, factory)
        if start:
            host.start()
        return host

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def at(self, time_s: float, action: Callable[[], Any]) -> Handle:
        """Runs `action` at the given simulated time."""
        return self.clock.at(time_s, action)

    def cut(
        self,
        some: Iterable[str],
        others: Iterable[str],
        *,
        one_way: bool = False,
        heal_after_s: float | None = None,
    ) -> Callable[[], None]:
        """Cuts the network between hosts by name; call what is returned to heal it."""
        cuts = self.network.cut(
            [self.hosts[name].address for name in some],
            [self.hosts[name].address for name in others],
            one_way=one_way,
            heal_after_s=heal_after_s,
        )
        return lambda: self.network.heal(cuts)

    def run(
        self,
        until: float | Callable[[], bool] | None = None,
        *,
        for_s: float | None = None,
        limit_s: float = 600.0,
    ) -> bool:
        """Lets time pass to an instant, for a while, or until something is true.

        A predicate is asked after every event, for at most `limit_s` simulated seconds more;
        returns whether it came true (always True for instants).
        """
        clock = self.clock
        if callable(until):
            end = clock.now + (for_s if for_s is not None else limit_s)
            while not until():
                if not clock.step(end):
                    clock.advance(end)
                    return until()
            return True
        end = until if until is not None else clock.now + (for_s if for_s is not None else 0.0)
        while clock.step(end):
            pass
        clock.advance(end)
        return True
