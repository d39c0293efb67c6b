"""Random schedules with reads that ask: each returns all that was committed when it began, and at
rest none is left waiting. Timers fire whenever they like here, so leases are never relied upon."""

from contextlib import suppress
from typing import Any

import pytest

from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.group import Group
from consensus.core.outputs import Output, Readable
from consensus.core.types import Decision, Member, Message, Outcome
from tests.support.schedule import Life, Schedule, Violation

# (size, many changes, leases are granted, schedules, steps)
BLOCKS = [
    (2, False, False, 100, 150),
    (3, True, False, 200, 150),
    (3, False, True, 150, 150),
    (4, True, True, 120, 150),
    (5, True, False, 80, 150),
]


class Reading(Schedule):
    """A schedule in which members read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.committed = 0
        self.reads: dict[tuple[Member, int], int] = {}
        self.read = 0
        super().__init__(*arguments, **options)

    def check_decision(self, member: Member, decision: Decision) -> None:
        super().check_decision(member, decision)
        if decision.outcome == Outcome.COMMITTED:
            self.committed = max(self.committed, decision.index)

    def step(self) -> None:
        if self.random.random() < 0.1 and (live := self.live()):
            member = self.random.choice(live)
            with suppress(GroupError):
                ticket = self.lives[member].group.read(False)
                self.reads[member, ticket] = self.committed
            self.drain(member)
        super().step()

    def do(self, member: Member, life: Life, output: Output) -> None:
        if isinstance(output, Readable):
            floor = self.reads.pop((member, output.ticket))
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
    assert run(block) > 3 * block[3]


class AnswersWhenWedged(Group):
    """A member that has promised says that it has not."""

    def _on_lease_ask(self, rank: int, message: Message) -> None:
        wedged, self._synod.wedged = self._synod.wedged, False
        super()._on_lease_ask(rank, message)
        self._synod.wedged = wedged


class TakesOldAnswers(Group):
    """A read takes the answer to a question that was asked before it began."""

    def read(self, leased: bool) -> int:
        ticket = super().read(leased)
        if self._reads[-1].need and self._leases.granters:
            self._reads[-1].need = self._leases.asked
        return ticket


class WaitsForNothing(Group):
    """A read does not wait for what was accepted."""

    def _fence(self) -> int:
        return -1


class AsksNobody(Group):
    """A read takes its own view for the newest."""

    def _needs_no_lease(self) -> bool:
        return True


@pytest.mark.parametrize(
    "kind",
    [AnswersWhenWedged, TakesOldAnswers, WaitsForNothing, AsksNobody],
    ids=lambda kind: kind.__name__,
)
def test_each_rule_is_needed(kind: type[Group]) -> None:
    with pytest.raises(Violation, match="had been committed"):
        for size in (3, 4, 5):
            run((size, True, False, 400, 150), kind)
