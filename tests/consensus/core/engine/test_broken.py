"""Each safety rule is a method of its own: break one, and random schedules show it.

Every variant has to be caught within its number of schedules, so a rule that protects nothing, or
a check that cannot fail, fails here.
"""

import pytest

from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.tables.trim import OWN_ACCEPTED
from consensus.core.types import Outcome
from tests.support.scripts.reported import Violation
from tests.support.scripts.schedule import Schedule
from tests.support.scripts.script import World


class ReportsRejectEarly(Group):
    def _may_report_reject(self, ballot):
        return True


class CommitsOnMajority(Group):
    def _commit_ready(self, ballot):
        return self._view.is_quorum(ballot.accepted) and ballot.content is not None


class NoSecondPhase(Group):
    def _needs_acceptors(self):
        return False


class VotesWhenWedged(Group):
    def _may_vote(self, ballot):
        return not (ballot.accepted | ballot.noted) & self._bit


class NotesWhenWedged(Group):
    def _may_note(self, ballot):
        return ballot.content is not None and not ballot.noted & self._bit


class IgnoresAcceptedValue(Group):
    def _accepted_value(self, promises):
        return None


class ChangesWithoutQuorum(Group):
    def _promises_suffice(self, promisers):
        return True

    def _chosen(self, supporters):
        return True


class InstallsOnOneAccepted(Group):
    def _chosen(self, supporters):
        return supporters != 0


class DeliversWithoutClocks(Group):
    def _next_deliverable(self):
        settled = [k for k in self._order.queue if self._ballots[k].outcome]
        return self._ballots[settled[-1]] if settled else None


class TrimIgnoresNotes(Group):
    def _trim_outcome(self, own, delivered):
        accepted = all(mine == OWN_ACCEPTED for mine in own)
        return Outcome.COMMITTED if accepted else Outcome.ABANDONED


class KicksAreNotVoided(Group):
    def _kick_counts(self, proposer, promisers, removed):
        return True


class CountsJoinerEarly(Group):
    def _joiner_ready(self, sponsor, joiner, kept):
        return True

    def _watch(self):
        """Or it would be removed again, for it makes no progress (S2)."""


class VotesOnNewerView(Group):
    def _lane_stops(self):
        return False


class ClocksStartAnew(Group):
    def _enter(self, view, rank, index):
        super()._enter(view, rank, index)
        self._clock = 0

    def _fresh_order(self, size, rank, index):
        order = super()._fresh_order(size, rank, index)
        if index:
            order.heard = [1 << 20] * size
        return order


# (variant, size, many changes, steps a schedule)
BROKEN = [
    (ReportsRejectEarly, 3, True, 60),
    (CommitsOnMajority, 3, False, 200),
    (NoSecondPhase, 3, True, 60),
    (VotesWhenWedged, 3, False, 200),
    (IgnoresAcceptedValue, 3, True, 120),
    (ChangesWithoutQuorum, 3, False, 200),
    (InstallsOnOneAccepted, 3, True, 60),
    (DeliversWithoutClocks, 3, False, 200),
    (TrimIgnoresNotes, 3, False, 200),
    (VotesOnNewerView, 3, False, 200),
    (ClocksStartAnew, 3, False, 200),
    (NotesWhenWedged, 5, True, 120),
    (CountsJoinerEarly, 3, False, 200),
]


@pytest.mark.parametrize(
    ("group", "size", "changes", "steps"), BROKEN, ids=[case[0].__name__ for case in BROKEN]
)
def test_broken_rule_is_caught(group, size, changes, steps):
    for seed in range(600):
        try:
            Schedule(seed, size, group=group, changes=changes).run(steps)
        except Violation:
            return
    pytest.fail(f"{group.__name__} was not caught")


def survivors_of_mutual_kicks(group):
    world = World(group)
    for line in ("group A B C kicks_need_two=False", "kick A B", "kick B A", "deliver"):
        world.run(line)
    return [name for name, g in world.groups.items() if g.phase == Phase.MEMBER]


def test_mutual_kicks_remove_one_of_the_two():
    """The second kick's proposer is removed by the first, so it is void (R11)."""
    assert survivors_of_mutual_kicks(Group) == ["A", "C"]
    assert survivors_of_mutual_kicks(KicksAreNotVoided) == ["C"]
