"""Seeded schedules of durable groups: members fall asleep at any moment, alone or all at once, with
some of what they wanted written down, and wake from what is on their disks.
"""

from __future__ import annotations

from consensus.core.config import GroupConfig
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.outputs import Decided, Installed, Output, Persist, Send, SnapshotReceived
from consensus.core.types import Member, Vote
from consensus.core.view import View
from tests.support.scripts.reported import Violation
from tests.support.scripts.schedule import Life, Schedule


class Disk:
    """What of one member survives."""

    def __init__(self, view: View | None, sponsor: Member | None) -> None:
        self.view = view
        """The view the group began with, or None for a joiner."""
        self.sponsor = sponsor
        self.checkpoint: bytes | None = None
        self.records: list[tuple[int, bytes]] = []
        self.index: int | None = None
        """The index of the last decision on it."""

    def write(self, persist: Persist) -> None:
        self.records.append((persist.seq, persist.record))
        if persist.checkpoint is not None:
            self.checkpoint = persist.checkpoint
            self.records.clear()


class Watched(DurableGroup):
    """With disks that keep what they were given, no member is ever found to have lost anything."""

    def _give_up(self, member: Member) -> None:
        raise Violation("something was forgotten that another member lacks")

    def _forgotten(self, member: Member) -> None:
        raise Violation("another member has what this one never sent")


class DurableSchedule(Schedule):
    """As `Schedule`; `sleeps` is how often, of all steps, somebody falls asleep or wakes."""

    def __init__(
        self,
        seed: int,
        size: int = 3,
        config: GroupConfig | None = None,
        *,
        changes: bool = False,
        sleeps: float = 0.04,
        wire: bool = False,
    ) -> None:
        self.disks: dict[Member, Disk] = {}
        self.waiting: dict[Member, list[Persist]] = {}
        self.asleep: set[Member] = set()
        self.sleeps = sleeps
        self.slept = 0
        self.healing = False
        super().__init__(seed, size, config, changes=changes, wire=wire)

    # -- disks -------------------------------------------------------------------------------

    def add(self, member: Member, group: Group) -> None:
        joiner = group.phase == Phase.JOINING
        self.disks[member] = Disk(None if joiner else group.view, group._sponsor)
        self.waiting[member] = []
        super().add(member, Watched(group, None))  # type: ignore[arg-type]

    def do(self, member: Member, life: Life, output: Output) -> None:
        if isinstance(output, Persist):
            self.waiting[member].append(output)
            if self.healing:
                self.sync(member)
        elif isinstance(output, Send) and output.to in self.asleep:
            pass
        else:
            if isinstance(output, Decided) and output.decision.index:
                stored = self.disks[member].index
                if stored is None or output.decision.index > stored:
                    raise Violation("reported before it was on disk")
            super().do(member, life, output)

    def write(self, member: Member, count: int) -> int:
        """Put so many records on the disk; the last one's number."""
        disk = self.disks[member]
        written = self.waiting[member][:count]
        del self.waiting[member][:count]
        for persist in written:
            disk.write(persist)
            if persist.restored is not None:
                disk.index = persist.restored[0]
            for decision in persist.decisions:
                self.reported.outcome(decision)
                disk.index = decision.index
        return written[-1].seq

    def sync(self, member: Member) -> None:
        """Write what waits, and say so."""
        if not self.waiting[member]:
            return
        group = self.lives[member].group
        all_ = len(self.waiting[member])
        seq = self.write(member, all_ if self.healing else self.random.randint(1, all_))
        group.persisted(seq)  # type: ignore[attr-defined]
        self.drain(member)

    # -- what may happen ---------------------------------------------------------------------

    def live(self) -> list[Member]:
        return [m for m in super().live() if m not in self.asleep]

    def step(self) -> None:
        roll = self.random.random()
        if roll < self.sleeps:
            self.sleep_or_wake()
            return
        busy = [m for m in self.live() if self.waiting[m]]
        if busy and roll < 0.4:
            self.sync(self.random.choice(busy))
        else:
            super().step()

    def vote(self, accept: bool | None = None) -> None:
        at = self.random.randrange(len(self.wanted))
        member, proposal = self.wanted.pop(at)
        if member in self.dead or member in self.asleep:
            return
        group = self.lives[member].group
        ok = self.random.random() < 0.8 if accept is None else accept
        before = group.state() if not ok else None
        group.answer(proposal, Vote(ok, b"", "" if ok else "no"))
        counts = before is not None and group.state() != before
        self.drain(member)
        if counts and self.random.random() < 0.5:
            while self.waiting[member]:
                self.sync(member)
            self.reported.rejected(member, proposal)  # on disk: it is for good

    def deliver(self, pair: tuple[Member, Member]) -> None:
        if pair[1] in self.asleep:
            self.lanes[pair].clear()
        else:
            super().deliver(pair)

    def crash(self, member: Member) -> None:
        super().crash(member)
        self.asleep.discard(member)

    def sleep_or_wake(self) -> None:
        random = self.random
        roll = random.random()
        if roll < 0.15:
            for member in self.live():
                self.sleep(member)
        elif roll < 0.55 and self.live():
            self.sleep(random.choice(self.live()))
        elif self.asleep:
            for member in sorted(self.asleep)[: random.randint(1, len(self.asleep))]:
                self.wake(member)

    def sleep(self, member: Member) -> None:
        """Its process dies. Some of what it wanted written is, without its being told."""
        self.slept += 1
        if self.waiting[member]:
            count = self.random.randint(0, len(self.waiting[member]))
            if count:
                self.write(member, count)
        self.waiting[member].clear()
        self.asleep.add(member)
        self.wanted = [w for w in self.wanted if w[0] != member]
        self.lives[member].timers.clear()
        for pair, lane in self.lanes.items():
            if pair[0] == member:
                keep = self.random.randint(0, len(lane))
                while len(lane) > keep:
                    lane.pop()
            elif pair[1] == member:
                lane.clear()

    def wake(self, member: Member) -> None:
        """A new process with the disk of the old one. What it says first is on new lanes."""
        self.asleep.discard(member)
        disk, life = self.disks[member], self.lives[member]

        def begin() -> Group:
            if disk.view is not None:
                return self.kind.within(member, disk.view, self.config)
            assert disk.sponsor is not None
            return self.kind.joining(member, disk.sponsor, self.config)

        group = Watched.resume(
            member, self.config, begin, None, disk.checkpoint, disk.records, self.kind
        )
        life.group = group  # type: ignore[assignment]
        life.index = disk.index
        for other in self.lives:
            if other != member and other not in self.asleep:
                for pair in ((member, other), (other, member)):
                    self.lanes.pop(pair, None)
                    self.held.discard(pair)
                group.lane_began(other)
                self.lives[other].group.lane_began(member)  # type: ignore[attr-defined]
        for output in group.poll():
            if not isinstance(output, Installed | SnapshotReceived):
                self.do(member, life, output)
        for other in [member, *self.lives]:
            if other not in self.asleep and other not in self.dead:
                self.drain(other)

    def heal(self) -> None:
        self.healing = True
        for member in sorted(self.asleep):
            self.wake(member)
        for member in self.lives:
            if member not in self.dead:
                while self.waiting[member]:
                    self.sync(member)
        super().heal()
