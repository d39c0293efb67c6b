"""Members that read and propose at random, in a world that stops them, cuts them off, puts their
machines to sleep, and lets their clocks run at different rates."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.outputs import Decided, Expelled, Installed, SnapshotReceived
from consensus.core.types import Content, Outcome
from consensus.machine.hosted_group import GroupEvent
from consensus.machine.instant import Instant, Span
from consensus.machine.lease_clock import ReadReady
from consensus.machine.machine import Machine, MachineConfig
from scenarios.check.reads import ReadChecker
from scenarios.world.member import SimulatedNode
from scenarios.world.network import Address, Link
from scenarios.world.world import Host
from tests.support.nodes.gathered import NUMBER, act, agree, gathered
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.types import Transmit

NIMBLE = TransportConfig(
    suspicion_s=0.1, quick_probe_s=0.02, ack_delay_s=0.005, rto_min_s=0.02, slow_probe_s=0.1
)
"""Members are found silent long before the leases below are over: then it is the leases that
count."""
LEASE_S = 1.0
Result = TypeVar("Result")


SLEW = 0.083333
"""By how much a daemon that sets a clock right may let it run faster or slower."""


class SkewedClocks:
    """A machine's clocks: a quartz that runs at `rate`, and what is slewed by `slew` beyond that
    and has an offset of its own."""

    def __init__(self, host: Host, rate: float, slew: float, offset_s: float) -> None:
        self.host = host
        self.rate = rate
        self.slewed = rate * (1 + slew)
        self.offset_s = offset_s
        self.looked_at: Instant | None = None
        """What a process saw that was stopped before it went on, while it goes on."""

    def __call__(self) -> Instant:
        if self.looked_at is not None:
            return self.looked_at
        host = self.host
        boot_s, raw_s = self.slewed * host.world.now, self.rate * host.now
        return Instant(boot_s, self.local(host.now), raw_s)

    def local(self, now: float) -> float:
        """What the clock says that the node goes by."""
        return self.offset_s + self.slewed * now


class Skewed:
    """A node that goes by such clocks."""

    def __init__(self, node: SimulatedNode, clocks: SkewedClocks) -> None:
        self.inner = node
        self.clocks = clocks
        self.local = clocks.local
        self.key = node.key
        self.machine = node.machine

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> None:
        self.inner.receive_datagrams(batch, self.local(now))

    def handle_timeout(self, now: float) -> None:
        self.inner.handle_timeout(self.local(now) + 1e-9)

    def poll_transmits(self) -> list[Transmit]:
        return self.inner.poll_transmits()

    def poll_events(self) -> list[object]:
        return self.inner.poll_events()

    def next_timeout(self) -> float | None:
        at = self.inner.next_timeout()
        return None if at is None else (at - self.clocks.offset_s) / self.clocks.slewed

    def do(self, action: Callable[[Machine, float], Result], now: float) -> Result:
        result: Result = self.inner.do(action, self.local(now))
        return result


class Readers:
    """Three members of a group, and what they do at random."""

    def __init__(
        self, seed: int, skew: float, second_look: bool = True, asks: bool = False
    ) -> None:
        """`asks`: nobody grants leases, so that every read asks a quorum."""
        self.checker = ReadChecker()
        self.second_look = second_look
        self.open: dict[tuple[str, int], int] = {}
        self.index: dict[str, int] = {}
        self.out: set[str] = set()
        self.sizes: dict[str, int] = {}
        rates = iter((1 + skew, 1 - skew, 1 + skew / 2))
        slews = deque((SLEW, SLEW, -SLEW))  # Two that grant too short, one that holds too long.
        slews.rotate(seed)

        def factory(host: Host, now: float) -> Skewed:
            config = MachineConfig(transport=NIMBLE)
            offset_s = 1000 * host.world.random.random()
            clocks = SkewedClocks(host, next(rates), slews.pop(), offset_s)
            identity = Identity.generate(host.random_bytes)
            local = clocks.local(now)
            return Skewed(SimulatedNode(host, local, identity, agree, config, clocks), clocks)

        config = GroupConfig(lease_s=0.0 if asks else LEASE_S, takeover_s=0.1)
        self.world, self.hosts = gathered(
            3, Link(delay_s=0.005, jitter_s=0.002), seed=seed, config=config, factory=factory
        )
        for host in self.hosts:
            host.on_event = self._event
            for _, event in host.events:
                self._event(host, event)

    def _event(self, host: Host, event: object) -> None:
        if not isinstance(event, GroupEvent):
            return
        match event.output:
            case Decided(decision) if decision.index:
                self.index[host.name] = decision.index
                if decision.outcome is Outcome.COMMITTED:
                    self.checker.reported(decision.index)
            case SnapshotReceived(index):
                self.index[host.name] = index
            case Installed(view):
                self.sizes[host.name] = len(view.members)
            case Expelled():
                self.out.add(host.name)
            case ReadReady(handle, span):
                floor = self.open.pop((host.name, handle))
                self._end(host, floor, span)

    def _end(self, host: Host, floor: int, span: Span | None) -> None:
        if not self.second_look or host.node.machine.runs(span):
            self.checker.ended(host.name, floor, self.index.get(host.name, 0))

    def read(self, host: Host, looked_at: Instant | None = None) -> None:
        """Begin a read; `looked_at`: what its process saw on the clocks, and was then stopped."""
        floor = self.checker.began()
        clocks = host.node.clocks
        with suppress(GroupError):
            clocks.looked_at = looked_at
            try:
                begun = act(host, lambda m, now: m.read(NUMBER, now))
            finally:
                clocks.looked_at = None
            if isinstance(begun, ReadReady):
                self._end(host, floor, begun.span)
            else:
                self.open[host.name, begun] = floor

    def propose(self, host: Host) -> None:
        with suppress(GroupError):
            act(host, lambda m, now: m.propose(NUMBER, Content("work", b""), now))

    def live(self) -> list[Host]:
        return [h for h in self.hosts if not h.paused and h.name not in self.out]

    def go(self, for_s: float) -> None:
        """Everybody reads and proposes; now and then somebody is stopped or cut off."""
        world, random = self.world, self.world.random
        end = world.now + for_s
        fault_at = world.now + 1.0
        while world.now < end and len(self.live()) > 1:
            world.run(for_s=0.002 + 0.02 * random.random())
            host = random.choice(self.live())
            if random.random() < 0.8:
                self.read(host)
            else:
                self.propose(host)
            if world.now >= fault_at:
                fault_at = world.now + 0.5 + 2.0 * random.random()
                self._fault(random.choice(self.live()))

    def cut_off(self, host: Host) -> None:
        """One that has just been granted a lease is cut off, and goes on reading until that is
        over; the others remove it and propose all the time."""
        world = self.world
        others = [other for other in self.hosts if other is not host]
        self.read(host)
        world.run(for_s=0.1)
        world.cut([host.name], [other.name for other in others])
        end = world.now + 2 * LEASE_S
        while world.now < end:
            world.run(for_s=0.004)
            self.read(host)
            self.propose(others[0])

    def _fault(self, host: Host) -> None:
        world, random = self.world, self.world.random
        others = [other.name for other in self.hosts if other is not host]
        length_s = random.choice((0.05, 0.3, 0.8, 1.5))
        kind = random.choice(("stopped", "asleep", "cut off"))
        if kind == "cut off":
            world.cut([host.name], others, heal_after_s=length_s)
            return
        looked_at = host.node.clocks()

        def go_on() -> None:
            if kind == "stopped":
                self.read(host, looked_at)
                host.resume()
            else:
                host.wake()
                self.read(host)

        (host.pause if kind == "stopped" else host.sleep)()
        world.at(world.now + length_s, go_on)
