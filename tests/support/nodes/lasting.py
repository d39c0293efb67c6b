"""Machines whose groups outlive them, in a simulated world: what is on their disks comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

from consensus.core.config import GroupConfig
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.outputs import Persist
from consensus.core.types import Member
from consensus.machine.hosted_group import GroupEvent
from consensus.machine.machine import Machine, MachineConfig
from scenarios.world.member import clocks_of
from scenarios.world.network import Link
from scenarios.world.world import Host, World
from tests.support.nodes.cast import NUMBER, Cast, Player, accept
from transport.core.crypto.keys import Identity
from transport.core.events import PresenceUp
from transport.core.types import Address

WRITE_S = 0.004
"""How long a disk takes."""
DURABLE = GroupConfig(durable=True)


@dataclass
class Disk:
    """What of a node survives: its life, its group's log, and where it met the others."""

    incarnation: int | None = None
    in_group: bool = False
    sponsor: Member | None = None
    checkpoint: bytes | None = None
    records: list[tuple[int, bytes]] = field(default_factory=list)
    where: dict[bytes, Address] = field(default_factory=dict)

    def write(self, persist: Persist) -> None:
        """Put one turn's record on it."""
        self.records.append((persist.seq, persist.record))
        if persist.checkpoint is not None:
            self.checkpoint = persist.checkpoint
            self.records.clear()


class LastingPlayer(Player):
    """A player that goes on where its disk says that it was."""

    def __init__(
        self, host: Host, now: float, identity: Identity, config: MachineConfig, disk: Disk
    ) -> None:
        super().__init__(host, now, identity, accept, config)
        if disk.incarnation is None:
            disk.incarnation = host.incarnation
        self.machine = Machine(
            identity, config, host.random_bytes, now, disk.incarnation, clocks_of(host)
        )
        self._disk = disk
        self._writing: list[tuple[float, Persist]] = []
        for peer, address in disk.where.items():
            self.machine.contacts.know(peer, [address])
        if disk.in_group:
            self.machine.resume(NUMBER, self._rebuilt(), now)

    def _rebuilt(self) -> DurableGroup:
        me, disk = self.machine.me, self._disk

        def begin() -> Group:
            if disk.sponsor is None:
                return Group.found(me, DURABLE)
            return Group.joining(me, disk.sponsor, DURABLE)

        return DurableGroup.resume(me, DURABLE, begin, None, disk.checkpoint, list(disk.records))

    def handle_timeout(self, now: float) -> None:
        self._now = now
        while self._writing and self._writing[0][0] <= now:
            _, persist = self._writing.pop(0)
            self._disk.write(persist)
            self.machine.persisted(NUMBER, persist.seq, now)
        self.machine.handle_timeout(now)

    def poll_events(self) -> list[object]:
        events = super().poll_events()
        for event in events:
            match event:
                case GroupEvent(_, Persist() as persist):
                    self._writing.append((self._now + WRITE_S, persist))
                case PresenceUp():
                    self._disk.where[event.peer] = event.address
        return events

    def next_timeout(self) -> float | None:
        due = [at for at, _ in self._writing[:1]]
        at = self.machine.next_timeout()
        return min([*due, *([] if at is None else [at])], default=None)


class LastingCast(Cast):
    """A world of such players, with a durable group."""

    def __init__(self, names: str, seed: int, link: Link, config: MachineConfig) -> None:
        self.world = World(seed, link)
        self._own = {}
        self.disks = {name: Disk() for name in names}
        identities: dict[str, Identity] = {}

        def factory(host: Host, now: float) -> LastingPlayer:
            identity = identities.setdefault(host.name, Identity.generate(host.random_bytes))
            return LastingPlayer(host, now, identity, config, self.disks[host.name])

        self.hosts = {name: self.world.add(name, factory) for name in names}
        for name in names:
            self.introduce(name)

    def found(self, name: str) -> None:
        self.disks[name].in_group = True
        self.do(name, lambda m, now: m.found(NUMBER, DURABLE, now))

    def admit(self, sponsor: str, joiner: str, number: int = NUMBER) -> int:
        """Begin an admission; returns the sponsor's handle."""
        self.connect(joiner, sponsor)
        disk = self.disks[joiner]
        disk.in_group, disk.sponsor = True, self.member(sponsor)
        self.do(joiner, lambda m, now: m.join(number, self.key(sponsor), DURABLE, now))
        where = [self.hosts[joiner].address]
        handle: int = self.do(
            sponsor, lambda m, now: m.sponsor(number, self.key(joiner), where, now)
        )
        return handle

    def forget(self, name: str) -> None:
        """The next life of a dead one knows nothing."""
        self.disks[name] = Disk()

    def standing(self) -> str:
        """The members of the one view that all of its members are in, or nothing."""
        names = "".join(self.hosts)
        sets = ("".join(n for i, n in enumerate(names) if bits >> i & 1) for bits in range(1, 8))
        return max((each for each in sets if self._agree(each)), key=len, default="")

    def _agree(self, names: str) -> bool:
        return all(self.hosts[name].up for name in names) and self.in_view(names)

    def run_for(self, seconds: float) -> None:
        self.world.run(_never, limit_s=seconds)


def _never(*_: object) -> bool:
    return False
