"""I9: what exceeds its bound is caught wherever groups run, and nothing is left out."""

from __future__ import annotations

import io
from collections import deque
from pathlib import Path

import pytest

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.tables.ballot import Ballot
from consensus.core.types import Member
from consensus.core.view import VIEW_SIZE_MAX, View
from scenarios.cases import CASES
from scenarios.check.bounds import TABLES, check_bounds, check_group, sizes
from scenarios.check.facts import Violation
from scenarios.search.explore import explore
from scenarios.search.sweep import PROFILES, run_schedule, script_of, sweep
from tests.e2e.report import Report, check_logs
from tests.support.nodes.recorded import Writer, sizes_of
from tests.support.scripts.rescripted import violation_of

BOUNDED = "9 bounded memory"
ME = Member(b"a" * 32, 1)
RECORDS = {"_record", "_record_before"}
"""The last two changes of view: values of one size each."""


class Hoards(Group):
    """Whatever it reports leaves something behind."""

    def _finish(self, ballot):
        super()._finish(ballot)
        self._overdue += (-1,) * 100_000


class HoardsUntilTheEnd(Group):
    """It holds too much for a while, and nothing of it in the end."""

    def _may_vote(self, ballot):
        self._overdue = (-1,) * 100_000
        return super()._may_vote(ballot)

    def _finish(self, ballot):
        self._overdue = ()
        super()._finish(ballot)


def group_of(size: int) -> Group:
    members = tuple(Member(bytes([rank + 1]) * 32, 1) for rank in range(size))
    group = Group.within(members[0], View(1, members, True), GroupConfig())
    group.poll()
    return group


def test_bounds_are_checked_by_name():
    check_bounds("A", {"window": (64, 64)})
    with pytest.raises(Violation, match="window holds 65, bound 64"):
        check_bounds("A", {"window": (65, 64)})


@pytest.mark.parametrize("size", [1, 2, 3, VIEW_SIZE_MAX])
def test_every_table_of_a_group_is_measured(size: int):
    group = group_of(size)
    holders = {
        name
        for name, value in vars(group).items()
        if isinstance(value, list | dict | set | deque)
        or (type(value) is tuple and name not in RECORDS)
    }
    assert holders == set(TABLES)
    parts = {
        f"{name}.{slot}"
        for name in Group._PARTS
        for slot in getattr(group, name).__slots__
        if isinstance(getattr(getattr(group, name), slot), list | dict | set | deque)
    }
    assert parts == {
        "_order.heard", "_order.log", "_order.marks", "_order.queue", "_matrix.agreed",
        "_matrix.disputed", "_matrix.down", "_matrix.stalled", "_stall.said", "_synod.acceptors",
        "_synod.promises", "_leases.grants", "_leases.running",
    }  # fmt: skip
    check_group(ME, group)


@pytest.mark.parametrize("table", TABLES)
def test_each_table_that_holds_too_much_is_found(table: str):
    group = group_of(3)
    before = sizes(group)
    value = getattr(group, table)
    many = range(10**6)
    if table in ("_open", "_open_bytes"):
        setattr(group, table, [2**40] * 3)
    elif table == "_ballots":
        setattr(group, table, dict.fromkeys(many, Ballot(1, None, 0)))
    elif isinstance(value, dict):
        setattr(group, table, {key: [] for key in many})
    else:
        setattr(group, table, type(value)(many))
    assert sizes(group) != before
    with pytest.raises(Violation, match="bound"):
        check_group(ME, group)


@pytest.mark.parametrize("broken", [Hoards, HoardsUntilTheEnd])
def test_schedules_and_scripts_catch(broken: type[Group]):
    [failure] = sweep(range(20), broken).failures
    assert failure.violation.invariant == BOUNDED
    schedule = PROFILES["any"](failure.seed)
    script = script_of(schedule, failure, broken)
    shown = violation_of(script, broken)
    assert shown is not None
    assert shown.invariant == BOUNDED
    assert violation_of(script, rests=False) is None
    _, _, sound, _ = run_schedule(schedule, Group)
    assert sound is None


@pytest.mark.parametrize("broken", [Hoards, HoardsUntilTheEnd])
@pytest.mark.parametrize("case", ["two-proposals", "three-one"])
def test_exploration_catches(broken: type[Group], case: str):
    [found] = explore(CASES[case], broken).found
    assert found.violation.invariant == BOUNDED
    assert found.moments
    shown = violation_of(found.script, broken)
    assert shown is not None
    assert shown.invariant == BOUNDED


def test_the_check_of_real_members_logs_catches(tmp_path: Path):
    path = tmp_path / "log"
    group = group_of(3)
    log = io.StringIO()
    writer = Writer(log, ME)
    writer.take([], None)
    writer.measure(group)
    fine = log.getvalue()
    writer.measure(group)
    assert log.getvalue() == fine, "the same sizes are not written again"
    path.write_text(fine)
    [(member, tables)] = sizes_of([path])
    assert member == (ME.key.hex(), ME.incarnation)
    assert all(0 < size <= bound for size, bound in tables.values())
    report = Report(0)
    check_logs([path], report)
    assert report.tables == {name: size for name, (size, _) in tables.items()}
    group._down = tuple(range(1000))  # type: ignore[arg-type]
    writer.measure(group)
    path.write_text(log.getvalue())
    with pytest.raises(Violation, match="links down holds 1000"):
        check_logs([path], Report(0))
