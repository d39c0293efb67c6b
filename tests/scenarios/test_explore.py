"""The shipped engine, explored: small cases to the end, and the reduction against no reduction."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Hashable
from dataclasses import replace

import pytest

import scenarios.stage.shell
from consensus.core.engine.group import Group
from scenarios.__main__ import main
from scenarios.cases import CASES, FULL, SMALL
from scenarios.search.actor import Actor, Result
from scenarios.search.explore import explore, outside
from scenarios.search.picture import as_svg, as_text
from scenarios.search.space import Space, World
from scenarios.stage.case import ACCEPT, REJECT, Case, Faults, propose
from scenarios.stage.prepare import prepare
from tests.support.scripts.broken import CommitOnMajority


def test_what_is_explored_is_the_shipped_engine():
    assert scenarios.stage.shell.Group is Group
    assert inspect.signature(explore).parameters["group"].default is Group
    assert Group.__module__ == "consensus.core.engine.group"


@pytest.mark.parametrize("name", SMALL)
def test_a_small_case_is_explored_to_the_end(name: str):
    done = explore(CASES[name])
    assert [str(found.violation) for found in done.found] == []
    assert done.closed
    assert done.ends > 0


BOUNDED = ("leave-during-proposal", "join-crash", "two-kicks", "silent-full", "four-kick-veto")


@pytest.mark.parametrize("name", BOUNDED)
def test_a_change_is_explored_to_the_end(name: str):
    done = explore(replace(CASES[name], states_max=60_000))
    assert [str(found.violation) for found in done.found] == []
    assert done.closed


def ends_of(case: Case, reduce: bool) -> tuple[set[Hashable], Result]:
    """The histories that end a case without faults, and what was visited."""
    scene, shells = prepare(case, Faults())
    found: set[Hashable] = set()
    actors: list[Actor] = [*shells]
    if case.tells:
        actors.append(outside(scene))
    space = Space(
        actors,
        lambda logs: None,
        lambda members: found.add(tuple(member.log for member in members)),
        reduce=reduce,
    )
    return found, space.explore(10**6)


@pytest.mark.parametrize(
    "name",
    [
        "two-proposals", "two-gathered", "three-one", "join-alone", "join-during-proposal",
        "read-told",
    ],
)
def test_without_reduction_histories_end_the_same(name: str):
    reduced, few = ends_of(CASES[name], reduce=True)
    full, many = ends_of(CASES[name], reduce=False)
    assert reduced == full
    assert few.closed
    assert many.closed
    assert few.states <= many.states


def test_equal_keys_behave_equally():
    """What memory rests on: every step is computed anew at every world it is possible in."""
    _, shells = prepare(CASES["two-crash"], Faults(("A",)))
    world = World(shells, {})
    seen, todo = {world.key()}, [world]
    known: dict[Hashable, Hashable] = {}
    again = 0
    while todo:
        world = todo.pop()
        for step in world.possible():
            member, what, which = step
            actor = world.actors[member]
            if what == "deliver":
                given: Hashable = (which, world.lanes[(which, member)][0])
                after, sends = actor.deliver(*given)
            else:
                given = which
                after, sends = actor.take(given)
            outcome = after.key(), tuple(sends)
            before = known.setdefault((member, actor.key(), given), outcome)
            assert before == outcome
            again += before is not outcome
            following = world.after(step)
            if following.key() not in seen:
                seen.add(following.key())
                todo.append(following)
    assert again > 500


@pytest.mark.parametrize("name", ["two-strict-crash", "two-kick-each-other"])
def test_without_reduction_the_verdict_is_the_same(name: str):
    reduced, full = explore(CASES[name]), explore(CASES[name], reduce=False)
    assert reduced.ends == full.ends
    assert reduced.closed
    assert full.closed


class ReadsAtOnce(Group):
    """A read does not wait for what its member has accepted."""

    def _fence(self) -> int:
        return -1


class WaitsForNoLease(Group):
    """A coordinator does not wait for the leases that promisers granted."""

    def _leases_over(self, promisers: int) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "broken"), [("read-told", ReadsAtOnce), ("read-lease", WaitsForNoLease)]
)
def test_what_makes_reads_linearizable_is_needed(name: str, broken: type[Group]):
    [found] = explore(CASES[name], broken).found
    assert found.violation.invariant == "10 reads"
    assert "read C" in found.script
    assert any(moment.sender == "outside" for moment in found.moments)


def test_leases_are_explored_to_the_end():
    done = explore(CASES["read-lease"])
    assert [str(found.violation) for found in done.found] == []
    assert done.closed


def test_a_program_that_never_answers_is_told_and_scripted():
    silent = CASES["silent-rejects"]
    assert "C never answers x" in silent.bounds()
    [found] = explore(silent, CommitOnMajority).found
    assert "manual C" in found.script
    assert "always C x" not in found.script


def test_equal_explorations_visit_the_same():
    first, second = explore(CASES["two-crash"]), explore(CASES["two-crash"])
    assert first.summary() | {"seconds": 0} == second.summary() | {"seconds": 0}


def test_a_cap_is_reported():
    done = explore(CASES["three-one"], states_max=20)
    assert done.capped == done.runs == 1
    assert not done.closed


LONE_VETO = Case(
    "lone veto",
    "n = 3: one proposal that one member rejects",
    ("A", "B", "C"),
    plans={"A": (propose("x"),)},
    votes={("C", "x"): (ACCEPT, REJECT)},
)


def test_a_counterexample_is_short_readable_and_drawn():
    done = explore(LONE_VETO, CommitOnMajority)
    [found] = done.found
    assert found.violation.invariant in ("1 agreement", "2 veto")
    assert len(found.moments) <= 7
    text = as_text(LONE_VETO.everyone, found.moments)
    assert "* propose x" in text
    assert "committed" in text
    svg = as_svg(LONE_VETO.everyone, found.moments)
    assert svg.count("<circle") == len(found.moments)
    assert svg.count("marker-end") == sum(1 for m in found.moments if m.sender)


def test_the_full_set_covers_what_is_asked():
    cases = [CASES[name] for name in FULL]
    assert any(len(c.members) == 2 and c.crashes and len(c.plans) == 2 for c in cases)
    assert any(len(c.members) == 3 and c.crashes and len(c.plans) == 2 for c in cases)
    assert any(len(c.members) == 4 and c.crashes and c.cuts for c in cases)
    assert any(c.joiners and len(c.plans) == 2 for c in cases)


def test_what_is_asked_is_there():
    for name in (
        "two-crash", "three-two-crash", "three-two-rejects", "four-cut-crash", "two-changes",
        "join-during-proposal", "kick-during-join", "two-kicks", "read-lease", "silent-full",
        "silent-full-rejects", "four-kick-veto", "join-rejected", "two-joins",
    ):  # fmt: skip
        assert name in FULL


def test_the_command_prints_figures_and_a_summary(capsys: pytest.CaptureFixture[str]):
    assert main(["explore", "two-proposals", "join-alone", "--json", "--jobs", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("case") for row in rows] == ["two-proposals", "join-alone", None]
    summary = rows[-1]["summary"]
    assert summary["states"] == sum(row["states"] for row in rows[:-1])
    assert (summary["closed"], summary["capped"], summary["violations"]) == (2, 0, 0)
    assert "A: propose x" in rows[0]["bounds"]
    assert main(["explore", "no-such-case"]) == 2


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "scenarios", "explore", "join-alone"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "closed" in done.stdout
