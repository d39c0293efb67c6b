"""Each of the twenty-five broken engines is caught within a stated budget, where the shipped one is
not: by exploration of a case, or by seeded schedules. What is found is a script that shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consensus.core.engine.group import Group
from scenarios.cases import CASES
from scenarios.search.explore import explore
from scenarios.search.sweep import PROFILES, run_schedule, script_of, sweep
from tests.support.scripts.broken import BROKEN
from tests.support.scripts.rescripted import violation_of

SEEDS_MAX = 500
"""The budget of seeded schedules for each broken engine."""
STATES_MAX = 20_000
"""The budget of explored states for each broken engine and choice of faults."""

AGREEMENT, VETO, VIEWS, LIVENESS = "1 agreement", "2 veto", "4 views", "8 liveness"
HONESTY = "11 honesty"

BY_EXPLORATION = {
    "READY of the time before": ("join-again-alone", LIVENESS),
    "a clock taken before the accepts that wait": ("two-gathered", HONESTY),
    "a key twice among the members": ("removed-and-again", VIEWS),
    "a note before the accepts that wait": ("three-gathered", HONESTY),
    "a note that is kept to oneself": ("four-rejects", LIVENESS),
    "a join committed on a majority of accepts": ("join-late-crash", AGREEMENT),
    "abstaining": ("two-crash", AGREEMENT),
    "an accept that waits withdrawn": ("three-gathered", LIVENESS),
    "an accepted value ignored": ("leave-crash", VIEWS),
    "commit on a majority of accepts": ("three-one", VETO),
    "delivery that ignores clocks": ("two-proposals", AGREEMENT),
    "kicks that are not voided": ("two-kick-each-other", LIVENESS),
}
"""The case that shows it, and the invariant that is violated; the others are shown by schedules."""

BY_SCHEDULES = {
    "INSTALL on a single ACCEPTED": ("changes", LIVENESS),
    "a joiner counted before it is ready": ("any", LIVENESS),
    "a kick's target left out of the ballot": ("any", VETO),
    "a reject reported before enough members stored it": ("any", AGREEMENT),
    "a restart under the same incarnation": ("any", HONESTY),
    "a trim that ignores notes": ("any", HONESTY),
    "a view change by less than a quorum": ("any", VIEWS),
    "a view change without phase 2": ("any", AGREEMENT),
    "a vote after wedging": ("any", VIEWS),
    "a vote on a newer view's proposal": ("any", HONESTY),
    "clocks reset while marks are kept": ("any", LIVENESS),
    "lanes that reorder": ("any", LIVENESS),
    "notes after wedging": ("any", VIEWS),
}
"""The family of schedules that shows it, and the invariant."""


def test_there_are_twenty_five():
    assert len(BROKEN) == 25
    assert len(set(BROKEN.values())) == 25
    assert set(BY_EXPLORATION) | set(BY_SCHEDULES) == set(BROKEN)


@pytest.mark.parametrize("name", sorted(BY_SCHEDULES))
def test_schedules_catch(name: str):
    profile, invariant = BY_SCHEDULES[name]
    outcome = sweep(range(SEEDS_MAX), BROKEN[name], profile=profile)
    assert outcome.failures, f"not caught in {outcome.seeds} schedules"
    failure = outcome.failures[0]
    assert failure.violation.invariant == invariant
    schedule = PROFILES[profile](failure.seed)
    _, _, sound, _ = run_schedule(schedule, Group)
    assert sound is None, "the shipped engine fails on this schedule as well"
    check_script(script_of(schedule, failure, BROKEN[name]), name, invariant)


@pytest.mark.parametrize("name", sorted(BY_EXPLORATION))
@pytest.mark.parametrize("reduce", [True, False], ids=["reduced", "in full"])
def test_exploration_catches(name: str, reduce: bool):
    case, invariant = BY_EXPLORATION[name]
    done = explore(replace(CASES[case], states_max=STATES_MAX), BROKEN[name], reduce=reduce)
    assert done.found, f"not caught in {done.states} states"
    [found] = done.found
    assert found.moments
    assert found.violation.evidence
    if reduce:
        assert found.violation.invariant == invariant
    check_script(found.script, name, invariant, found.violation.invariant)


def check_script(script: str, name: str, *invariants: str) -> None:
    """The script shows the violation, and that it is the broken engine's alone."""
    shown = violation_of(script, BROKEN[name])
    assert shown is not None
    assert shown.invariant in invariants
    # The shipped engine says other things, which the script does not deliver: it need not rest.
    assert violation_of(script, rests=False) is None
