"""Views of three and four: concurrent proposals, rejects, crashes and cuts."""

from __future__ import annotations

from scenarios.stage.case import ACCEPT, REJECT, Case, propose

EITHER = (ACCEPT, REJECT)
ABC = ("A", "B", "C")
ABCD = ("A", "B", "C", "D")

THREE = (
    Case(
        "three-one",
        "n = 3: one proposal by the junior member, any vote, nobody fails",
        ABC,
        plans={"C": (propose("x"),)},
        votes={("A", "x"): EITHER, ("B", "x"): EITHER},
        states_max=50_000,
    ),
    Case(
        "three-one-crash",
        "n = 3: one proposal, any vote, one crash and the change it causes, one takeover each",
        ABC,
        plans={"C": (propose("x"),)},
        votes={("A", "x"): EITHER, ("B", "x"): EITHER},
        crashes=1,
        fires={"takeover": 1},
        states_max=300_000,
    ),
    Case(
        "three-two-crash",
        "n = 3: two concurrent proposals, one crash, one change",
        ABC,
        plans={"A": (propose("x"),), "C": (propose("y"),)},
        crashes=1,
        states_max=500_000,
    ),
    Case(
        "three-two-rejects",
        "n = 3: two concurrent proposals, any votes, nobody fails",
        ABC,
        plans={"A": (propose("x"),), "B": (propose("y"),)},
        votes={
            ("A", "y"): EITHER,
            ("B", "x"): EITHER,
            ("C", "x"): EITHER,
            ("C", "y"): EITHER,
        },
        states_max=1_000_000,
    ),
    Case(
        "three-cut",
        "n = 3: one proposal, the most senior stops to hear the most junior for a while",
        ABC,
        plans={"B": (propose("x"),)},
        cuts=((("A", "C"),),),
        heals=True,
        fires={"settle": 1},
        states_max=2_000_000,
    ),
    Case(
        "three-cut-takeover",
        "n = 3: the same, and one takeover each",
        ABC,
        plans={"B": (propose("x"),)},
        cuts=((("A", "C"),),),
        heals=True,
        fires={"takeover": 1, "settle": 1},
        states_max=40_000_000,
    ),
    Case(
        "four-rejects",
        "n = 4: one proposal, two reject it, which may overtake it, the third votes either way",
        ABCD,
        plans={"B": (propose("x"),)},
        votes={("A", "x"): (REJECT,), ("C", "x"): EITHER, ("D", "x"): (REJECT,)},
        states_max=50_000,
    ),
    Case(
        "four-cut",
        "n = 4: one proposal, and one link is cut for good",
        ABCD,
        plans={"B": (propose("x"),)},
        cuts=((("A", "D"), ("D", "A")),),
        states_max=50_000,
    ),
    Case(
        "four-cut-crash",
        "n = 4: one proposal, the most senior stops to hear the most junior for good, and crashes",
        ABCD,
        plans={"B": (propose("x"),)},
        cuts=((("A", "D"),),),
        crashes=1,
        may_crash=("A",),
        states_max=10_000_000,
    ),
    Case(
        "four-cut-crashes",
        "n = 4: the same, and one of the others crashes",
        ABCD,
        plans={"B": (propose("x"),)},
        cuts=((("A", "D"),),),
        crashes=1,
        may_crash=("B", "C", "D"),
        states_max=80_000_000,
    ),
    Case(
        "four-cut-heals-crash",
        "n = 4: one proposal, one link cut for a while, one crash, and whom to remove is settled",
        ABCD,
        plans={"B": (propose("x"),)},
        cuts=((("A", "D"), ("D", "A")),),
        heals=True,
        crashes=1,
        may_crash=("B", "C"),
        fires={"settle": 1},
        states_max=20_000_000,
    ),
)
