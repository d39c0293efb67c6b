"""Programs that never answer, and windows that are full meanwhile."""

from __future__ import annotations

from consensus.core.config import GroupConfig
from scenarios.stage.case import ACCEPT, REJECT, Case, propose

EITHER = (ACCEPT, REJECT)
AB = ("A", "B")
ABC = ("A", "B", "C")
ONE_EACH = GroupConfig(window_total=3)
"""In a view of three each has room for one proposal."""
KICKS = GroupConfig(on_silence_kick=True)
KICKS_ONE_EACH = GroupConfig(on_silence_kick=True, window_total=3)

SILENT = (
    Case(
        "silent-rejects",
        "n = 3: a program never answers, so that its member rejects; another may do so itself",
        ABC,
        plans={"A": (propose("x"),)},
        votes={("B", "x"): EITHER, ("C", "x"): ()},
        fires={"answer": 1},
        states_max=50_000,
    ),
    Case(
        "silent-late",
        "n = 3: programs answer at any moment, or their time is over",
        ABC,
        plans={"A": (propose("x"),)},
        votes={("B", "x"): EITHER, ("C", "x"): EITHER},
        prompt=False,
        fires={"answer": 1},
        states_max=50_000,
    ),
    Case(
        "silent-two",
        "n = 2: neither program ever answers the other's proposal",
        AB,
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={("B", "x"): (), ("A", "y"): ()},
        fires={"answer": 1},
        states_max=50_000,
    ),
    Case(
        "silent-goes",
        "n = 3: a program never answers, so that its member goes",
        ABC,
        plans={"A": (propose("x"),)},
        votes={("C", "x"): ()},
        fires={"answer": 1},
        config=KICKS,
        states_max=50_000,
    ),
    Case(
        "silent-two-go",
        "n = 2: neither program ever answers, so that both members want to go",
        AB,
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={("B", "x"): (), ("A", "y"): ()},
        fires={"answer": 1},
        config=KICKS,
        states_max=50_000,
    ),
    Case(
        "silent-full",
        "n = 3: a program never answers, and its member's window is full of its own proposal",
        ABC,
        plans={"A": (propose("x"),), "C": (propose("y"),)},
        votes={("C", "x"): ()},
        fires={"answer": 1},
        config=KICKS_ONE_EACH,
        states_max=100_000,
    ),
    Case(
        "silent-full-rejects",
        "n = 3: the same, but that the member rejects",
        ABC,
        plans={"A": (propose("x"),), "C": (propose("y"), propose("z"))},
        votes={("C", "x"): ()},
        fires={"answer": 1},
        config=ONE_EACH,
        states_max=500_000,
    ),
    Case(
        "two-full",
        "n = 2: more is proposed than a window of one holds, and something is rejected or not",
        AB,
        plans={
            "A": (propose("x"), propose("y"), propose("z")),
            "B": (propose("u"), propose("w")),
        },
        votes={("B", "x"): EITHER},
        config=GroupConfig(window_total=2),
        states_max=50_000,
    ),
)
