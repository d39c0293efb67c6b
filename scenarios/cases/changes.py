"""Joins, leaves and kicks, alone and against each other."""

from __future__ import annotations

from scenarios.case import Case, kick, leave, propose, sponsor

ABC = ("A", "B", "C")

CHANGES = (
    Case(
        "join-alone",
        "n = 1 to 2: the founder takes somebody in",
        ("A",),
        plans={"A": (sponsor("J"),)},
        joiners={"J": "A"},
        states_max=50_000,
    ),
    Case(
        "join-during-proposal",
        "n = 2: a join while the other member proposes",
        ("A", "B"),
        plans={"A": (sponsor("J"),), "B": (propose("x"),)},
        joiners={"J": "A"},
        states_max=10_000,
    ),
    Case(
        "join-crash",
        "n = 2: a join, and the joiner crashes at any moment",
        ("A", "B"),
        plans={"A": (sponsor("J"),)},
        joiners={"J": "A"},
        crashes=1,
        may_crash=("J",),
        fires={"join": 1},
        states_max=100_000,
    ),
    Case(
        "sponsor-kicked",
        "n = 2: a member is kicked while it takes somebody in",
        ("A", "B"),
        plans={"A": (sponsor("J"),), "B": (kick("A"),)},
        joiners={"J": "A"},
        states_max=10_000,
    ),
    Case(
        "kick-during-join",
        "n = 3: the junior member is kicked while somebody joins",
        ABC,
        plans={"A": (sponsor("J"),), "B": (kick("C"),)},
        joiners={"J": "A"},
        states_max=80_000_000,
    ),
    Case(
        "mutual-kicks",
        "n = 3: two members kick each other",
        ABC,
        plans={"A": (kick("B"),), "B": (kick("A"),)},
        fires={"kick": 1},
        states_max=20_000_000,
    ),
    Case(
        "two-kicks",
        "n = 3: one member kicks both others",
        ABC,
        plans={"B": (kick("A"), kick("C"))},
        states_max=100_000,
    ),
    Case(
        "leave-during-proposal",
        "n = 3: a member leaves while another proposes",
        ABC,
        plans={"A": (leave(),), "B": (propose("x"),)},
        states_max=100_000,
    ),
    Case(
        "two-changes",
        "n = 3: a member leaves, then another; the last proposes",
        ABC,
        plans={"C": (leave(),), "B": (leave(),), "A": (propose("x"),)},
        states_max=3_000_000,
    ),
    Case(
        "leave-crash",
        "n = 3: a member leaves, the coordinator crashes at any step, one takeover each",
        ABC,
        plans={"C": (leave(),)},
        crashes=1,
        may_crash=("A",),
        fires={"takeover": 1},
        states_max=5_000_000,
    ),
    Case(
        "founded-leave",
        "n = 3, made by joins: a member leaves while another proposes",
        ABC,
        plans={"C": (leave(),), "A": (propose("x"),)},
        founded=True,
        states_max=50_000,
    ),
)
