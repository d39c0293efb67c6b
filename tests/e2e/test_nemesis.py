"""Five processes under load, stopped, continued, killed and begun anew: all invariants hold.

One short run; `make soak` makes twenty long ones, and cuts links as well.
"""

from pathlib import Path

import anyio
import pytest

from scenarios.checkers import Violation
from tests.e2e.nemesis import Report, check_logs, haunt


def test_five_members_under_the_nemesis(tmp_path: Path) -> None:
    report = anyio.run(haunt, 5, 5.0, tmp_path)
    print(report)
    assert report.stops + report.kills >= 2
    assert report.joins >= 4
    assert report.views >= 5
    assert report.committed >= 50


def test_logs_that_contradict_each_other_are_found_out(tmp_path: Path) -> None:
    """The checkers do look at the logs: the same run with one outcome turned round fails."""
    anyio.run(haunt, 6, 0.2, tmp_path, None, 3)
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
