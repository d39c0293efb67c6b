"""Each of the eighteen broken engines is caught within a stated budget, where the shipped one is
not: by exploration of a case, or by seeded schedules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.core.group import Group
from scenarios.cases import CASES
from scenarios.explore import explore
from scenarios.sweep import PROFILES, run_schedule, sweep
from tests.support.broken import BROKEN

SEEDS_MAX = 500
"""The budget of seeded schedules for each broken engine."""
STATES_MAX = 20_000
"""The budget of explored states for each broken engine and choice of faults."""

BY_EXPLORATION = {
    "commit on a majority of accepts": "three-one",
    "an accepted value ignored": "leave-crash",
    "kicks that are not voided": "two-kick-each-other",
    "abstaining": "two-crash",
    "delivery that ignores clocks": "two-proposals",
}
"""The case that shows it; the others are shown by schedules."""

PROFILE = {"INSTALL on a single ACCEPTED": "changes"}
"""The family of schedules that shows it, if not the first."""


def test_there_are_eighteen():
    assert len(BROKEN) == 18
    assert len(set(BROKEN.values())) == 18
    assert set(BY_EXPLORATION) | set(PROFILE) <= set(BROKEN)


@pytest.mark.parametrize("name", sorted(set(BROKEN) - set(BY_EXPLORATION)))
def test_schedules_catch(name: str):
    profile = PROFILE.get(name, "any")
    outcome = sweep(range(SEEDS_MAX), BROKEN[name], profile=profile)
    assert outcome.failures, f"not caught in {outcome.seeds} schedules"
    failure = outcome.failures[0]
    _, _, sound, _ = run_schedule(PROFILES[profile](failure.seed), Group)
    assert sound is None, "the shipped engine fails on this schedule as well"


@pytest.mark.parametrize("name", sorted(BY_EXPLORATION))
def test_exploration_catches(name: str):
    case = replace(CASES[BY_EXPLORATION[name]], states_max=STATES_MAX)
    done = explore(case, BROKEN[name])
    assert done.found, f"not caught in {done.states} states"
    assert done.found[0].moments
    assert done.found[0].violation.evidence
