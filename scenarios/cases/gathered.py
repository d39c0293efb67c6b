"""Several inputs between two polls, as a busy endpoint gives them."""

from __future__ import annotations

from dataclasses import replace

from scenarios.cases.changes import CHANGES
from scenarios.cases.reads import READS
from scenarios.cases.silent import SILENT
from scenarios.cases.two import TWO
from scenarios.stage.case import ACCEPT, BY_ONE, REJECT, Case, kick, leave, propose

EITHER = (ACCEPT, REJECT)
ABC = ("A", "B", "C")

_OWN = (
    Case(
        "two-gathered",
        "n = 2: both propose, each may reject the other's, in any grouping of inputs",
        ("A", "B"),
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={("B", "x"): EITHER, ("A", "y"): EITHER},
        prompt=False,
        gathers=True,
        states_max=50_000,
    ),
    Case(
        "three-gathered",
        "n = 3: one proposal, any votes, in any grouping of inputs",
        ABC,
        plans={"A": (propose("x"),)},
        votes={("B", "x"): EITHER, ("C", "x"): EITHER},
        prompt=False,
        gathers=True,
        states_max=50_000,
    ),
    Case(
        "three-gathered-crash",
        "n = 3: the same, and one of them crashes",
        ABC,
        plans={"A": (propose("x"),)},
        votes={("B", "x"): EITHER, ("C", "x"): EITHER},
        prompt=False,
        gathers=True,
        crashes=1,
        states_max=10_000_000,
    ),
    Case(
        "three-two-gathered",
        "n = 3: two concurrent proposals of which one may be rejected, in any grouping of inputs",
        ABC,
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={("B", "x"): EITHER},
        gathers=True,
        states_max=10_000_000,
    ),
    Case(
        "leave-gathered",
        "n = 3: one proposes, one leaves, in any grouping of inputs",
        ABC,
        plans={"A": (propose("x"),), "C": (leave(),)},
        gathers=True,
        states_max=10_000_000,
    ),
    Case(
        "kick-gathered",
        "n = 3: one proposes, which one may reject, and kicks another, in any grouping of inputs",
        ABC,
        plans={"A": (propose("x"), kick("C"))},
        votes={("B", "x"): EITHER},
        gathers=True,
        config=BY_ONE,
        states_max=10_000_000,
    ),
)

_ALSO = {
    "two-crash": 50_000,
    "two-kick-each-other": 50_000,
    "two-full": 50_000,
    "silent-late": 50_000,
    "silent-goes": 50_000,
    "join-during-proposal": 50_000,
    "sponsor-kicked": 50_000,
    "join-leave": 50_000,
    "one-joiner-twice": 50_000,
    "kick-unanswered": 50_000,
    "read-told": 50_000,
    "two-kicks": 1_000_000,
    "leave-kick": 1_000_000,
    "three-kick-veto": 20_000_000,
    "read-lease": 10_000_000,
}
"""Other cases that are explored in every grouping as well, and where that is capped."""

GATHERED = _OWN + tuple(
    replace(
        case,
        name=f"{case.name}-gathered",
        about=f"{case.about}, in any grouping of inputs",
        gathers=True,
        states_max=_ALSO[case.name],
    )
    for case in (*TWO, *SILENT, *CHANGES, *READS)
    if case.name in _ALSO
)
