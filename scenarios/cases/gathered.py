"""Several inputs between two polls, as a busy endpoint gives them."""

from __future__ import annotations

from scenarios.stage.case import ACCEPT, REJECT, Case, kick, leave, propose

EITHER = (ACCEPT, REJECT)
ABC = ("A", "B", "C")

GATHERED = (
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
        states_max=10_000_000,
    ),
)
