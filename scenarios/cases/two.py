"""Views of two."""

from __future__ import annotations

from consensus.core.config import GroupConfig
from scenarios.stage.case import ACCEPT, BY_ONE, REJECT, Case, kick, propose

STRICT = GroupConfig(casting_vote=False)
EITHER = (ACCEPT, REJECT)

TWO = (
    Case(
        "two-proposals",
        "n = 2: both propose, each may reject the other's, nobody fails",
        ("A", "B"),
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={("B", "x"): EITHER, ("A", "y"): EITHER},
        states_max=50_000,
    ),
    Case(
        "two-crash",
        "n = 2: both propose, each may reject the other's, either crashes at any moment",
        ("A", "B"),
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={("B", "x"): EITHER, ("A", "y"): EITHER},
        crashes=1,
        fires={"takeover": 1},
        states_max=50_000,
    ),
    Case(
        "two-strict-crash",
        "n = 2 without casting vote: both propose, may reject, either crashes",
        ("A", "B"),
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={("B", "x"): EITHER, ("A", "y"): EITHER},
        crashes=1,
        fires={"takeover": 1, "lost": 1},
        config=STRICT,
        states_max=50_000,
    ),
    Case(
        "two-kick-each-other",
        "n = 2: each kicks the other",
        ("A", "B"),
        plans={"A": (kick("B"),), "B": (kick("A"),)},
        fires={"kick": 1},
        config=BY_ONE,
        states_max=50_000,
    ),
)
