"""Random schedules of one group over ideal lanes, and what must hold whatever happens.

Everything follows from the seed. Faults: crashes (what a dead member had sent may arrive in part),
lanes that stand still, links reported silent rightly or wrongly and one-sidedly, timers that fire
at any time. With `changes` there are fewer proposals and more faults, members cut off in turn
among them. After the faults everything heals, and the group must come to rest in one view.
"""

from __future__ import annotations

from collections import deque
from random import Random

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.errors import GroupError
from consensus.core.message_kinds import Message
from consensus.core.messages import ENTRY_SIZE_MAX, Assembler, encode
from consensus.core.numbers import ViewNumber
from consensus.core.outputs import (
    Abandoned,
    Accused,
    Arm,
    Decided,
    Disarm,
    Ended,
    Expelled,
    Installed,
    Lost,
    Output,
    ReachWanted,
    Send,
    SnapshotReceived,
    SnapshotWanted,
    VoteWanted,
)
from consensus.core.types import Content, Decision, Member, ProposalId, Timer, Vote
from consensus.core.view import View
from scenarios.check.bounds import sizes
from scenarios.check.liveness import left_open
from tests.support.scripts.reported import Reported, Violation

HEALING_STEPS_MAX = 500
"""Times the square of the number of members ever."""


class Life:
    """One member and everything it reported."""

    def __init__(self, group: Group, now: float) -> None:
        self.group = group
        self.timers: dict[Timer, float] = {}
        self.index: int | None = None
        self.out = False
        self.handles: set[int] = set()


def through_the_wire(message: Message) -> Message:
    """What arrives of a message: the same, whatever an honest member sends."""
    assembler = Assembler()
    arrived: list[Message] = []
    for entry in encode(message):
        assert not arrived
        assert len(entry) <= ENTRY_SIZE_MAX
        arrived += assembler.receive_untrusted(entry)
    assert arrived == [message], f"{arrived} for {message}"
    return arrived[0]


class Schedule:
    def __init__(
        self,
        seed: int,
        size: int = 3,
        config: GroupConfig | None = None,
        group: type[Group] = Group,
        changes: bool = False,
        wire: bool = False,
    ) -> None:
        self.random = Random(seed)
        self.kind = group
        self.config = config or GroupConfig(asks_for_snapshots=seed % 2 == 0)
        self.changes = changes
        self.wire = wire
        self.now = 0.0
        self.names = 0
        self.lives: dict[Member, Life] = {}
        self.dead: set[Member] = set()
        self.lanes: dict[tuple[Member, Member], deque[Message]] = {}
        self.held: set[tuple[Member, Member]] = set()
        self.wanted: list[tuple[Member, ProposalId]] = []
        self.down: set[tuple[Member, Member]] = set()
        self.reported = Reported()
        members = tuple(self.name() for _ in range(size))
        self.founders = members
        view = View(ViewNumber(1), members, self.config.casting_vote)
        for member in members:
            self.add(member, group.within(member, view, self.config))

    def name(self) -> Member:
        self.names += 1
        return Member(bytes([self.names]) * 32, self.names)

    def add(self, member: Member, group: Group) -> None:
        self.lives[member] = Life(group, self.now)
        self.drain(member)

    # -- outputs -----------------------------------------------------------------------------

    def drain(self, member: Member) -> None:
        life = self.lives[member]
        while outputs := life.group.poll():
            for output in outputs:
                self.do(member, life, output)
        for name, (size, bound) in sizes(life.group).items():
            if size > bound:
                raise Violation(f"{name} holds {size}, bound {bound}")

    def do(self, member: Member, life: Life, output: Output) -> None:
        if isinstance(output, Send):
            message = through_the_wire(output.message) if self.wire else output.message
            if output.to not in self.dead:
                self.lanes.setdefault((member, output.to), deque()).append(message)
        elif isinstance(output, Arm):
            self.timers_of(life)[output.timer] = self.now + output.delay_s
        elif isinstance(output, Disarm):
            self.timers_of(life).pop(output.timer, None)
        elif isinstance(output, VoteWanted):
            self.wanted.append((member, output.proposal.id))
        elif isinstance(output, ReachWanted):
            ok = output.candidate.member not in self.dead and self.random.random() < 0.95
            life.group.reached(output.candidate.member, ok)
        elif isinstance(output, SnapshotWanted):
            life.group.snapshot(output.joiner, output.index, b"state")
        elif isinstance(output, SnapshotReceived):
            life.index = output.index
        elif isinstance(output, Decided):
            self.decided(member, output.decision)
            if output.handle is not None:
                if output.handle in life.handles:
                    raise Violation("a handle with two ends")
                life.handles.add(output.handle)
        elif isinstance(output, Abandoned):
            if output.resubmitted_as is None:
                if output.handle in life.handles:
                    raise Violation("a handle with two ends")
                life.handles.add(output.handle)
        elif isinstance(output, Installed):
            self.reported.installed(output.view, life.index)
        elif isinstance(output, Expelled | Lost):
            life.out = True
        elif isinstance(output, Ended):
            life.timers.clear()
        elif isinstance(output, Accused):
            raise Violation(f"an honest member accused: {output}")

    def decided(self, member: Member, decision: Decision) -> None:
        life = self.lives[member]
        life.index = self.reported.decided(decision, life.index or 0)

    @staticmethod
    def timers_of(life: Life) -> dict[Timer, float]:
        return life.timers

    # -- what may happen ---------------------------------------------------------------------

    def live(self) -> list[Member]:
        return [m for m in self.lives if m not in self.dead and not self.lives[m].out]

    def step(self) -> None:
        roll = self.random.random()
        lanes = [p for p, lane in self.lanes.items() if lane and p not in self.held]
        deliver, propose, vote = (0.70, 0.72, 0.80) if self.changes else (0.72, 0.80, 0.94)
        if roll < deliver and lanes:
            self.deliver(self.random.choice(lanes))
        elif roll < propose:
            self.propose()
        elif roll < vote and self.wanted:
            self.vote()
        else:
            self.fault()

    def deliver(self, pair: tuple[Member, Member]) -> None:
        lane = self.lanes[pair]
        message = lane.popleft()
        sender, receiver = pair
        if receiver not in self.dead:
            self.lives[receiver].group.receive(sender, message)
            self.drain(receiver)

    def propose(self) -> None:
        if not (live := self.live()):
            return
        member = self.random.choice(live)
        body = bytes(self.random.randrange(256) for _ in range(4))
        self.reported.proposed(member, body)
        try:
            self.lives[member].group.propose(Content("app", body))
        except GroupError:
            return
        self.drain(member)

    def vote(self, accept: bool | None = None) -> None:
        at = self.random.randrange(len(self.wanted))
        member, proposal = self.wanted.pop(at)
        if member in self.dead:
            return
        group = self.lives[member].group
        ok = self.random.random() < 0.8 if accept is None else accept
        before = group.state() if not ok else None
        answer = b"why not" if self.random.random() < 0.3 else b""
        group.answer(proposal, Vote(ok, answer if ok else b"", "" if ok else "no"))
        if before is not None and group.state() != before:
            self.reported.rejected(member, proposal)
        self.drain(member)

    def fault(self) -> None:
        random = self.random
        live = self.live()
        if not live:
            return
        member = random.choice(live)
        group = self.lives[member].group
        other = random.choice(list(self.lives))
        what = random.random()
        if self.changes and what > 0.4:
            if what > 0.8:
                self.isolate(member)
                return
            what = random.choice((0.05, 0.2, 0.32, 0.5, 0.5))
        try:
            if what < 0.06 and len(self.dead) < len(self.lives) - 1:
                self.crash(member)
                return
            if what < 0.12:
                pair = (member, other)
                self.held ^= {pair}
                if random.random() < 0.5:
                    self.held ^= {(other, member)}
            elif what < 0.30:
                self.toggle(member, other)
            elif what < 0.34:
                group.kick(other, "why")
            elif what < 0.36:
                group.leave()
            elif what < 0.42 and self.names < 8:
                joiner = self.name()
                self.add(joiner, self.kind.joining(joiner, member, self.config))
                group.sponsor(joiner, b"")
                for m in live:
                    self.lives[joiner].group.link(m, True)
                self.drain(joiner)
            elif what < 0.45 and other in self.dead:
                group.lost(other)
            elif self.lives[member].timers:
                timer = random.choice(sorted(self.lives[member].timers))
                if timer.name != "lost":
                    del self.lives[member].timers[timer]
                    group.fire(timer)
        except GroupError:
            pass
        self.drain(member)

    def crash(self, member: Member) -> None:
        """What it sent may arrive, but of each lane only a beginning."""
        self.dead.add(member)
        for (sender, _), lane in self.lanes.items():
            if sender == member:
                keep = self.random.randint(0, len(lane))
                while len(lane) > keep:
                    lane.pop()

    def toggle(self, member: Member, other: Member) -> None:
        if member == other:
            return
        pair = (member, other)
        up = pair in self.down
        self.down ^= {pair}
        self.lives[member].group.link(other, up)

    def isolate(self, member: Member) -> None:
        """Nobody hears this member, nor it them, but everybody else everybody again."""
        live = self.live()
        self.held = {(a, b) for a in live for b in live if (a == member) != (b == member)}
        for a in live:
            for b in live:
                if a != b:
                    self.lives[a].group.link(b, (a, b) not in self.held)
        self.down = set(self.held)
        for a in live:
            self.drain(a)

    # -- healing -----------------------------------------------------------------------------

    def heal(self) -> None:
        """No more faults: the dead are known to be silent, everything else is heard."""
        self.held.clear()
        for member in list(self.lives):
            if member in self.dead:
                continue
            group = self.lives[member].group
            for other in self.lives:
                if other != member:
                    group.link(other, other not in self.dead)
            self.drain(member)
        for _ in range(HEALING_STEPS_MAX * len(self.lives) ** 2):
            lanes = [p for p, lane in self.lanes.items() if lane]
            if lanes:
                self.deliver(self.random.choice(lanes))
            elif self.wanted:
                self.vote(accept=True)
            else:
                armed = [
                    (at, member, timer)
                    for member in self.live()
                    for timer, at in self.lives[member].timers.items()
                ]
                if not armed:
                    break
                at, member, timer = min(armed)
                self.now = max(self.now, at)
                del self.lives[member].timers[timer]
                self.lives[member].group.fire(timer)
                self.drain(member)
        else:
            raise Violation("never comes to rest")

    def check_rest(self) -> None:
        """Everybody who can hear a quorum holds the same view and has nothing open."""
        live = self.live()
        if any(self.lives[m].group.phase == Phase.JOINING for m in live):
            raise Violation("still joining at rest")
        members = [m for m in live if self.lives[m].group.phase == Phase.MEMBER]
        active = [m for m in members if not self.lives[m].group.suspended]
        newest = {self.lives[m].group.view for m in active}
        if len(newest) > 1:
            raise Violation(f"different views at rest: {newest}")
        for member in active:
            group = self.lives[member].group
            if group.wedged or left_open(group):
                raise Violation(f"{member.incarnation} has something open: {left_open(group)}")
        if active:
            index = {self.lives[m].group.index for m in active}
            if len(index) > 1:
                raise Violation("different decisions at rest")

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
        self.heal()
        self.check_rest()
