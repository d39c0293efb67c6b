"""What a run under the nemesis was like, and whether the logs of its processes agree."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from scenarios.check.bounds import check_bounds
from scenarios.check.history import Decided, Installed
from scenarios.check.invariants import Checkers
from tests.support.nodes.recorded import history_of, sizes_of


@dataclass
class Report:
    """What a run was like."""

    seed: int
    durable: bool = False
    suspicion_s: float = 0.0
    stops: int = 0
    sleeps: int = 0
    """Stops that the clock did not count."""
    kills: int = 0
    cuts: int = 0
    kills_of_all: int = 0
    hangs: int = 0
    """Of disks."""
    fills: int = 0
    """The same."""
    files_put_back: int = 0
    joins: int = 0
    joins_given_up: int = 0
    """Or just in time for that."""
    resumed: int = 0
    """Processes that went on with the group."""
    views: int = 0
    decisions: int = 0
    committed: int = 0
    transfers: int = 0
    reads: dict[str, int] = field(default_factory=dict)
    """By what they began with: a lease, a question to the others, or being a quorum alone."""
    events: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    """The largest size of each table of a group that was not always empty."""
    rest_s: float = 0.0


def check_logs(paths: Iterable[Path], report: Report) -> None:
    """All invariants over the logs of one group. Raises Violation, ValueError."""
    logs = sorted(paths)
    for member, tables in sizes_of(logs):
        check_bounds(member, tables)
        for name, (size, _) in tables.items():
            report.tables[name] = max(size, report.tables.get(name, 0))
    checkers = Checkers()
    decided, views = set(), set()
    for member, events in history_of(logs).items():
        for event in events:
            checkers.observe(member, event)
            report.events += 1
            if isinstance(event, Decided) and event.outcome != "unknown":
                decided.add((event.index, event.outcome))
            elif isinstance(event, Installed):
                views.add(event.view)
    checkers.settle()
    report.decisions = len(decided)
    report.committed = sum(outcome == "committed" for _, outcome in decided)
    report.views = len(views)
