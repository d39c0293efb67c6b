"""Local reads: by asking, and by leases."""

from __future__ import annotations

from scenarios.stage.case import Case, propose, read

ABC = ("A", "B", "C")

READS = (
    Case(
        "read-told",
        "n = 3: a member reads as soon as it hears from outside that something is committed",
        ABC,
        plans={"A": (propose("x"),)},
        tells=(("A", "C"),),
        states_max=50_000,
    ),
    Case(
        "read-lease",
        "n = 3: a member reads by its lease while the others, who do not hear it, remove it and"
        " commit something; leases do not run out",
        ABC,
        plans={"A": (propose("x"),), "C": (read(),)},
        tells=(("A", "C"),),
        cuts=((("A", "C"), ("B", "C")),),
        states_max=5_000_000,
    ),
)
