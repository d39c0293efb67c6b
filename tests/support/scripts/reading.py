"""Members that read and propose at random, in a world that stops them, cuts them off and lets
their clocks run at different rates."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.outputs import Decided, Expelled, Installed, SnapshotReceived
from consensus.core.types import Content, Outcome
from consensus.machine.hosted_group import GroupEvent
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


class Skewed:
    """A node whose clock runs at `rate` and has an offset of its own."""

    def __init__(self, node: SimulatedNode, rate: float, offset_s: float) -> None:
        self.inner = node
        self.rate = rate
        self.offset_s = offset_s
        self.key = node.key
        self.machine = node.machine

    def local(self, now: float) -> float:
        """What its clock says at an instant."""
        return self.offset_s + self.rate * now

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
        return None if at is None else (at - self.offset_s) / self.rate

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

        def factory(host: Host, now: float) -> Skewed:
            config = MachineConfig(transport=NIMBLE)
            rate = next(rates)
            offset_s = 1000 * host.world.random.random()
            local = offset_s + rate * now
            identity = Identity.generate(host.random_bytes)
            return Skewed(SimulatedNode(host, local, identity, agree, config), rate, offset_s)

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
            case ReadReady(handle, until):
                floor = self.open.pop((host.name, handle))
                self._end(host, floor, until)

    def _end(self, host: Host, floor: int, until: float | None) -> None:
        local = host.node.local(self.world.now)
        if until is None or local < until or not self.second_look:
            self.checker.ended(host.name, floor, self.index.get(host.name, 0))

    def read(self, host: Host, asked_at: float | None = None) -> None:
        """Begin a read; `asked_at`: when its process looked at the clock, and was then stopped."""
        floor = self.checker.began()
        at = host.node.local(self.world.now if asked_at is None else asked_at)
        with suppress(GroupError):
            begun = act(host, lambda m, _: m.read(NUMBER, at))
            if isinstance(begun, ReadReady):
                self._end(host, floor, begun.until)
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

    def _fault(self, host: Host) -> None:
        world, random = self.world, self.world.random
        others = [other.name for other in self.hosts if other is not host]
        length_s = random.choice((0.05, 0.3, 0.8, 1.5))
        if random.random() < 0.5:
            asked_at = world.now
            host.pause()

            def resume() -> None:
                self.read(host, asked_at)
                host.resume()

            world.at(world.now + length_s, resume)
        else:
            world.cut([host.name], others, heal_after_s=length_s)
