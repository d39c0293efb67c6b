"""Five processes under load, stopped, continued, killed and begun anew: all invariants hold.

Two short runs, which end when enough has happened; `make soak` makes twenty long ones, and cuts
links as well.
"""

import json
from pathlib import Path

import anyio
import pytest

from scenarios.check.facts import Violation
from tests.e2e.accounts import CAPITAL, check_accounts, check_reads, tally, unfinished
from tests.e2e.fleet import Fleet, Mode
from tests.e2e.nemesis import PATIENT, haunt
from tests.e2e.report import Report, check_logs
from tests.support.waiting import PATIENCE_S

STEADY = Mode(suspicion_s=3.0)
"""Nobody is taken for gone because a busy machine does not run it for a while. A group in memory
that shrinks for that can lose its last members to a nemesis that was not told yet."""


def test_five_members_under_the_nemesis(tmp_path: Path) -> None:
    def enough(report: Report, fleet: Fleet) -> bool:
        acts = fleet.acts()
        return (
            report.stops >= 3
            and report.kills >= 1
            and report.joins > 4
            and max(child.view for child in fleet.past) > 5
            and tally(acts, "reported") >= 50
            and tally(acts, "done") >= 10
            and tally(acts, "read") >= 10
        )

    report = anyio.run(haunt, 5, PATIENCE_S, tmp_path, None, 5, STEADY, enough)
    print(report)
    assert report.stops >= 3
    assert report.kills >= 1
    assert report.joins > 4
    assert report.views > 5
    assert report.committed >= 50
    assert report.transfers >= 10
    assert sum(report.reads.values()) >= 10


def test_three_durable_members_are_killed_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.e2e.harms.ALL_PAUSE_S", (1.0, 3.0))

    def enough(report: Report, fleet: Fleet) -> bool:
        return report.kills_of_all >= 2 and report.resumed >= 3

    report = anyio.run(haunt, 5, PATIENCE_S, tmp_path, None, 3, PATIENT, enough)
    print(report)
    assert report.kills_of_all >= 1
    assert report.resumed >= 1
    assert report.transfers >= 1


ROWS = [
    ["tried", 1.0, "capital", "capital"],
    ["tried", 2.0, "t1", "a1"],
    ["tried", 3.0, "t1", "a2"],
    ["done", 4.0, "t1"],
    ["tried", 5.0, "t2", "a3"],
]
RESULTS = {"capital": "done", "t1": "done"}
STATE = {
    "balances": {"pot": CAPITAL - 1, "me": 1},
    "results": RESULTS,
    "attempts": ["a1", "a2", "capital"],
    "doubled": 0,
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"results": {"capital": "done"}}, "lost"),
        ({"results": {**RESULTS, "t3": "done"}}, "never asked for"),
        ({"attempts": ["a4"]}, "attempted by nobody"),
        ({"doubled": 1}, "applied twice"),
        ({"balances": {"pot": CAPITAL, "me": 1}}, "after 2 transfers"),
        ({"balances": {"pot": CAPITAL - 2, "me": 2}}, "after 2 transfers"),
    ],
)
def test_a_lost_or_doubled_transfer_is_found_out(
    tmp_path: Path, change: dict[str, object], why: str | None
) -> None:
    acts = tmp_path / "acts"
    acts.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '["done", 6.0, "t2')
    assert unfinished(acts) == ["capital", "t2"]
    state = {**STATE, **change}
    if why is None:
        assert check_accounts([acts], [state, state]) == 2
        with pytest.raises(Violation, match="is not"):
            check_accounts([acts], [state, {**state, "doubled": 1}])
    else:
        with pytest.raises(Violation, match=why):
            check_accounts([acts], [state])


def test_an_old_read_is_found_out(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    paths[0].write_text('["reported", 1.0, 4]\n["reported", 2.0, 5]\n')
    paths[1].write_text('["read", 9.0, 1.5, 4, "lease"]\n["read", 9.1, 2.5, 5, "question"]\n')
    assert check_reads(paths) == {"lease": 1, "question": 1}
    with paths[1].open("a") as file:
        file.write('["read", 9.2, 2.5, 4, "lease"]\n')
    with pytest.raises(Violation, match="read up to 4; 5 had been committed"):
        check_reads(paths)


def test_logs_that_contradict_each_other_are_found_out(tmp_path: Path) -> None:
    """The checkers do look at the logs: the same run with one outcome turned round fails."""
    anyio.run(haunt, 6, 0.2, tmp_path, None, 3, STEADY)
    logs = sorted((tmp_path / "logs").iterdir())
    check_logs(logs, Report(0))
    lines = logs[1].read_text().splitlines(keepends=True)
    at = next(
        number for number in reversed(range(len(lines)))
        if '"event":"decided"' in lines[number] and '"outcome":"committed"' in lines[number]
    )  # fmt: skip
    lines[at] = lines[at].replace('"outcome":"committed"', '"outcome":"rejected"')
    logs[1].write_text("".join(lines))
    with pytest.raises(Violation, match="agreement"):
        check_logs(logs, Report(0))
