"""The bank of docs/examples/ledger.py as the members under the nemesis keep it, and the check that
nothing in it was lost, doubled or old.

A transfer has an id of its own and is tried until it is known to be done, also by later processes
of the same member; each attempt has an id too, and `apply` counts those that come twice.
"""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from quorate import Replica
from scenarios.check.facts import Violation
from scenarios.check.reads import ReadChecker
from tests.support.clocks.stood import shared_s

EXAMPLE = Path(__file__).parents[2] / "docs/examples/ledger.py"
CAPITAL = 1_000_000


class Accounts:
    """The state, with a count of what came twice."""

    def __init__(self) -> None:
        self.ledger: Any = runpy.run_path(str(EXAMPLE))["Ledger"]()
        self.attempts: set[str] = set()
        self.doubled = 0
        self.replica = Replica(apply=self.apply, snapshot=self.snapshot, restore=self.restore)

    def apply(self, command: Any) -> str:
        """One attempt to make a transfer."""
        attempt, *transfer = command
        self.doubled += attempt in self.attempts
        self.attempts.add(attempt)
        result: str = self.ledger.apply(transfer)
        return result

    def snapshot(self) -> bytes:
        ledger = self.ledger.snapshot().decode()
        return json.dumps([ledger, sorted(self.attempts), self.doubled]).encode()

    def restore(self, data: bytes) -> None:
        ledger, attempts, self.doubled = json.loads(data)
        self.ledger.restore(ledger.encode())
        self.attempts = set(attempts)

    def told(self) -> dict[str, Any]:
        """The state for the check at the end."""
        return {
            "balances": self.ledger.balances,
            "results": self.ledger.results,
            "attempts": sorted(self.attempts),
            "doubled": self.doubled,
        }


class Acts:
    """What one member's processes did at the bank, by a clock they all share; each line is with the
    kernel before the next step."""

    def __init__(self, path: Path) -> None:
        self.unfinished = unfinished(path)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, *more: Any) -> None:
        """One line."""
        os.write(self._file, json.dumps([what, shared_s(), *more]).encode() + b"\n")


def rows_of(path: Path) -> list[Any]:
    """The whole lines."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def unfinished(path: Path) -> list[str]:
    """Transfers that were tried and are not known to be done."""
    tried: dict[str, None] = {}
    for what, _, *more in rows_of(path):
        if what == "tried":
            tried[more[0]] = None
        elif what == "done":
            tried.pop(more[0], None)
    return list(tried)


def tally(paths: Iterable[Path], what: str) -> int:
    """How much of a kind there is, each counted once."""
    return len({str(more) for path in paths for kind, _, *more in rows_of(path) if kind == what})


def check_accounts(paths: Iterable[Path], states: Sequence[dict[str, Any]]) -> int:
    """Raise Violation unless all members have the same state, in which every transfer that was
    said to be done is, once, and no other. How many there were."""
    first = states[0]
    for state in states:
        if state != first:
            raise Violation("11 accounts", (), f"{state} is not {first}")
    tried, attempts, done = set(), set(), set()
    for path in paths:
        for what, _, *more in rows_of(path):
            if what == "tried":
                tried.add(more[0])
                attempts.add(more[1])
            elif what == "done":
                done.add(more[0])
    made = set(first["results"])
    balances = first["balances"]
    for wrong, why in (
        (done - made, "said to be done and lost"),
        (made - tried, "made and never asked for"),
        (set(first["attempts"]) - attempts, "attempted by nobody"),
        (["attempts"] * first["doubled"], "applied twice"),
    ):
        if wrong:
            raise Violation("11 accounts", (), f"{why}: {sorted(wrong)[:5]}")
    if sum(balances.values()) != CAPITAL or CAPITAL - balances["pot"] != len(made) - 1:
        raise Violation("11 accounts", (), f"{balances} after {len(made)} transfers")
    return len(made)


def check_reads(paths: Iterable[Path]) -> dict[str, int]:
    """Raise Violation if a read returned less than anybody had reported when it began. How many
    reads there were of each kind."""
    moments: list[tuple[float, int, Any]] = []
    counts: dict[str, int] = {}
    for path in paths:
        for what, at, *more in rows_of(path):
            if what == "reported":
                moments.append((at, 0, more[0]))
            elif what == "read":
                began, index, kind = more
                moments.append((began, 1, (path.name, index)))
                counts[kind] = counts.get(kind, 0) + 1
    checker = ReadChecker()
    for _, order, said in sorted(moments):
        if order == 0:
            checker.reported(said)
        else:
            member, index = said
            checker.ended(member, checker.began(), index)
    return counts
