"""The shipped engine, explored: small cases to the end, and the reduction against no reduction."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import replace

import pytest

import scenarios.shell
from consensus.core.group import Group
from scenarios.__main__ import main
from scenarios.case import ACCEPT, REJECT, Case, propose
from scenarios.cases import CASES, FULL, SMALL
from scenarios.explore import explore
from scenarios.picture import as_svg, as_text
from tests.support.broken import CommitOnMajority


def test_what_is_explored_is_the_shipped_engine():
    assert scenarios.shell.Group is Group
    assert inspect.signature(explore).parameters["group"].default is Group
    assert Group.__module__ == "consensus.core.group"


@pytest.mark.parametrize("name", SMALL)
def test_a_small_case_is_explored_to_the_end(name: str):
    done = explore(CASES[name])
    assert [str(found.violation) for found in done.found] == []
    assert done.closed
    assert done.ends > 0


BOUNDED = ("leave-during-proposal", "join-during-proposal", "join-crash", "two-kicks")


@pytest.mark.parametrize("name", BOUNDED)
def test_a_change_is_explored_to_the_end(name: str):
    done = explore(replace(CASES[name], states_max=60_000))
    assert [str(found.violation) for found in done.found] == []
    assert done.closed


@pytest.mark.parametrize("name", ["two-proposals", "three-one", "two-strict-crash", "join-alone"])
def test_without_reduction_the_verdict_and_the_ends_are_the_same(name: str):
    reduced, full = explore(CASES[name]), explore(CASES[name], reduce=False)
    assert reduced.ends == full.ends
    assert reduced.states <= full.states
    assert not reduced.found
    assert not full.found


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
    assert found.violation.invariant == "2 veto"
    assert len(found.moments) <= 6
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


def test_the_command_prints_figures_and_a_summary(capsys: pytest.CaptureFixture[str]):
    assert main(["explore", "two-proposals", "join-alone", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("case") for row in rows] == ["two-proposals", "join-alone", None]
    summary = rows[-1]["summary"]
    assert summary["states"] == sum(row["states"] for row in rows[:-1])
    assert (summary["closed"], summary["capped"], summary["violations"]) == (True, 0, 0)
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
