"""Random schedules: agreement, one order, vetoes, one successor of each view, and coming to rest.

A failure names its seed and block; everything follows from them.
"""

import pytest

from consensus.core.config import GroupConfig
from tests.support.scripts.reported import Violation
from tests.support.scripts.schedule import Schedule

# (size, casting vote, many changes, through the codec, schedules, steps)
BLOCKS = [
    (1, True, False, False, 200, 150),
    (2, True, False, False, 250, 150),
    (2, False, True, False, 200, 100),
    (3, True, False, False, 250, 150),
    (3, False, False, True, 100, 150),
    (3, True, True, False, 250, 120),
    (4, True, True, False, 150, 120),
    (5, False, True, False, 80, 150),
    (4, True, False, True, 60, 200),
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: "-".join(str(part) for part in b))
def test_schedules(block):
    size, casting_vote, changes, wire, count, steps = block
    installed = decided = 0
    for seed in range(count):
        config = GroupConfig(casting_vote=casting_vote, asks_for_snapshots=seed % 2 == 0)
        schedule = Schedule(seed, size, config, changes=changes, wire=wire)
        try:
            schedule.run(steps)
        except Violation as error:
            raise AssertionError(f"seed {seed} of {block}") from error
        installed += len(schedule.reported.views)
        decided += len(schedule.reported.sequence)
    assert installed > count  # the schedules do change views,
    assert decided > count  # and decide


def test_a_schedule_follows_from_its_seed():
    first, second = Schedule(7, 4), Schedule(7, 4)
    first.run(200)
    second.run(200)
    assert first.reported.sequence == second.reported.sequence
    assert first.reported.views == second.reported.views
    assert [life.group.state() for life in first.lives.values()] == [
        life.group.state() for life in second.lives.values()
    ]
