"""The cases that are explored, as data with stated bounds.

`SMALL` is explored in the tests, `FULL` by `quorate scenario explore`.
"""

from __future__ import annotations

from scenarios.cases.changes import CHANGES
from scenarios.cases.gathered import GATHERED
from scenarios.cases.reads import READS
from scenarios.cases.silent import SILENT
from scenarios.cases.three import THREE
from scenarios.cases.two import TWO
from scenarios.stage.case import Case

__all__ = ["CASES", "FULL", "SMALL"]

CASES: dict[str, Case] = {
    case.name: case for case in (*TWO, *THREE, *SILENT, *CHANGES, *READS, *GATHERED)
}
FULL: tuple[str, ...] = tuple(CASES)
SMALL: tuple[str, ...] = tuple(name for name, case in CASES.items() if case.states_max <= 50_000)
