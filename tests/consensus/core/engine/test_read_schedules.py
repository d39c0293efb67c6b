"""Random schedules with reads that ask: each returns all that was committed when it began, and at
rest none is left waiting. Timers fire whenever they like here, so leases are never relied upon."""

from contextlib import suppress
from typing import Any

import pytest

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.errors import GroupError
from consensus.core.message_kinds import Message
from consensus.core.outputs import Output, Readable
from consensus.core.types import Decision, Member, Outcome
from tests.support.scripts.reported import Violation
from tests.support.scripts.schedule import Life, Schedule
from tests.support.scripts.script import World

# (size, many changes, leases are granted, schedules, steps)
BLOCKS = [
    (2, False, False, 60, 150),
    (3, True, False, 120, 150),
    (3, False, True, 80, 150),
    (4, False, True, 80, 150),
    (5, True, False, 80, 150),
]


class Reading(Schedule):
    """A schedule in which members read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.committed = 0
        self.reads: dict[tuple[Member, int], int] = {}
        self.read = 0
        super().__init__(*arguments, **options)

    def decided(self, member: Member, decision: Decision) -> None:
        super().decided(member, decision)
        if decision.outcome == Outcome.COMMITTED:
            self.committed = max(self.committed, decision.index)

    def step(self) -> None:
        if self.random.random() < 0.1 and (live := self.live()):
            member = self.random.choice(live)
            with suppress(GroupError):
                handle = self.lives[member].group.read(False)
                self.reads[member, handle] = self.committed
            self.drain(member)
        super().step()

    def do(self, member: Member, life: Life, output: Output) -> None:
        if isinstance(output, Readable):
            floor = self.reads.pop((member, output.handle))
            # By a lease it may be old: here no clock says until when that runs.
            if not output.lease:
                self.read += 1
                if (life.index or 0) < floor:
                    raise Violation(f"read up to {life.index}; {floor} had been committed")
        else:
            super().do(member, life, output)

    def check_rest(self) -> None:
        super().check_rest()
        for member, _ in self.reads:
            group = self.lives[member].group
            if member in self.live() and not group.suspended and group.awaited == frozenset():
                raise Violation("a read waits at rest")


def run(block: tuple[int, bool, bool, int, int], kind: type[Group] = Group) -> int:
    size, changes, leases, count, steps = block
    read = 0
    for seed in range(count):
        config = GroupConfig(
            casting_vote=seed % 3 != 0, kicks_liars=False, lease_s=0.25 if leases else 0.0
        )
        schedule = Reading(seed, size, config, kind, changes=changes)
        try:
            schedule.run(steps)
        except Violation as error:
            raise Violation(f"seed {seed} of {block}: {error}") from error
        read += schedule.read
    return read


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: "-".join(str(part) for part in b))
def test_reads_are_never_old_and_never_left(block: tuple[int, bool, bool, int, int]) -> None:
    assert run(block) > block[3]


class AnswersWhenWedged(Group):
    """A member that has promised says that it has not."""

    def _on_lease_ask(self, rank: int, message: Message) -> None:
        wedged, self._synod.wedged = self._synod.wedged, False
        super()._on_lease_ask(rank, message)
        self._synod.wedged = wedged


class TakesOldAnswers(Group):
    """A read takes the answer to a question that was asked before it began."""

    def read(self, leased: bool) -> int:
        handle = super().read(leased)
        if self._reads[-1].need and self._leases.granters:
            self._reads[-1].need = self._leases.asked
        return handle


class WaitsForNothing(Group):
    """A read does not wait for what was accepted."""

    def _fence(self) -> int:
        return -1


class AsksNobody(Group):
    """A read takes its own view for the newest."""

    def _needs_no_lease(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [WaitsForNothing, AsksNobody], ids=lambda kind: kind.__name__)
def test_random_schedules_notice_a_broken_rule(kind: type[Group]) -> None:
    with pytest.raises(Violation, match="had been committed"):
        run((3, True, False, 400, 150), kind)


WEDGED = """
group A B C D E lease_s=0.0
hold A C
propose A news
deliver
hold D B
hold D E
hold E B
down A C
down B C
down D C
deliver B A
deliver D A
deliver A B
deliver A D
deliver A E
deliver B A
deliver D A
deliver E A
hold A B
deliver A D
deliver A E
deliver D A
deliver E A
read C
deliver C B
deliver C E
deliver B C
deliver E C
"""
"""C has not got the proposal. A's value is chosen by A, D and E, and A reports the commit; B has
promised and E has accepted, and neither knows."""

OLD_ANSWER = """
group A B C lease_s=0.0
hold B C
hold A C
read C
deliver C B
down A C
down B C
deliver A B
deliver B A
deliver A B
deliver B A
propose A news
deliver
read C
deliver B C 1
"""
"""B answers C's first question and then goes on without C; the answer arrives after a second read
has begun."""


def told(commands: str, kind: type[Group]) -> list[str]:
    world = World(kind)
    world.quiet = True
    for line in commands.strip().splitlines():
        world.run(line)
    return world.lines


@pytest.mark.parametrize(
    ("commands", "kind", "reads"),
    [(WEDGED, AnswersWhenWedged, 1), (OLD_ANSWER, TakesOldAnswers, 2)],
    ids=["answers when wedged", "takes old answers"],
)
def test_an_answer_is_given_before_the_promise_and_after_the_question(
    commands: str, kind: type[Group], reads: int
) -> None:
    for group in (Group, kind):
        lines = told(commands, group)
        assert [line for line in lines if line.startswith("A: decided 1 news by A committed")]
        assert not [line for line in lines if line.startswith("C: decided")]
        done = [line for line in lines if line.startswith("C: readable")]
        assert len(done) == (reads if group is kind else reads - 1)
