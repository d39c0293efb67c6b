"""Real processes under load while a nemesis harms them (`harms`); then the checkers.

`python -m tests.e2e.nemesis [--runs N] [--seconds S] [--seed N] [--members N] [--cuts HOW]
[--durable HOW]` prints a JSON object for each run; the exit status is 1 when an invariant does not
hold, when a transfer is lost or doubled, a read is old, a process ends by itself or writes to
standard error, or when the members do not come to rest in one view. Links can be cut where network
namespaces can be made. Members of a durable group are also killed all at once, and their disks and
files harmed. `alternate` takes all four kinds of runs in turn.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from scenarios.check.facts import Violation
from tests.e2e.accounts import check_accounts, check_reads
from tests.e2e.fleet import Child, Fleet, Mode, Refused
from tests.e2e.harms import Harms
from tests.e2e.report import Report, check_logs
from tests.support.network.namespaces import Namespaces, available
from tests.support.waiting import PATIENCE_S, until

MEMBERS = 5
REST_S = PATIENCE_S
"""Far longer than it takes: members are begun anew one at a time, on a busy machine slowly."""
GIVEN_UP_S = (0.0, 0.3)
"""After how long a join is given up, of one in three."""
MEMORY = Mode()
PATIENT, IMPATIENT = Mode(durable=True, suspicion_s=3.0), Mode(durable=True)
HOW = ("no", "yes", "alternate")


class Failure(Exception):
    """A run did not come out as it has to."""


Enough = Callable[[Report, Fleet], bool]
"""Whether a run has seen what it is there for."""


class Nemesis:
    """One run."""

    def __init__(self, seed: int, fleet: Fleet, network: Namespaces | None) -> None:
        self._random = random.Random(seed)
        self._fleet = fleet
        self._began = time.monotonic()
        self.report = Report(seed, fleet.mode.durable, fleet.mode.suspicion_s)
        self._harms = Harms(self._random, fleet, network, self.report)
        self.states: list[dict[str, Any]] = []
        """What each member says of the accounts in the end."""

    async def run(self, seconds: float, enough: Enough | None) -> None:
        """Found the group, harm it for so long, or until it is `enough`, let it heal and look at
        it. Raises Failure."""
        async with anyio.create_task_group() as tasks:
            try:
                await self._found(tasks)
                tasks.start_soon(self._keep, tasks)
                await self._all_in(REST_S)
                with anyio.move_on_after(seconds):
                    async with anyio.create_task_group() as harm:
                        for job in self._harms.jobs():
                            harm.start_soon(job)
                        if enough is not None:
                            await until(lambda: enough(self.report, self._fleet))
                            harm.cancel_scope.cancel()
                self._harms.heal()
                before = time.monotonic()
                await self._all_in(REST_S)
                while not await self._rest():
                    # Somebody was on its way out when all of them stood: once more, with all in.
                    left_s = REST_S - (time.monotonic() - before)
                    await self._all_in(left_s)
                self.report.rest_s = round(time.monotonic() - before, 2)
            finally:
                for child in self._fleet.past:
                    await child.end()
                tasks.cancel_scope.cancel()

    async def _found(self, tasks: TaskGroup) -> None:
        for member in range(self._fleet.number):
            await self._fleet.start(member, tasks)
        first = self._fleet.lives[0]
        assert first is not None
        await first.do("found")

    # Who is out comes in again: always, also while others are harmed.

    async def _keep(self, tasks: TaskGroup) -> None:
        while True:
            for member in range(self._fleet.number):
                child = self._fleet.lives[member]
                if member in self._harms.harmed or (child is not None and child.in_group):
                    continue
                try:
                    await self._bring_in(member, child, tasks)
                except Refused as error:
                    at = time.monotonic() - self._began
                    print(f"# {at:.1f} s: member {member}: {error}", file=sys.stderr)
            await anyio.sleep(0.1)

    async def _bring_in(self, member: int, child: Child | None, tasks: TaskGroup) -> None:
        if child is None or child.is_over or (child.ended is not None and self._anew(child)):
            if child is not None:
                self._look_at(member, child)
                await child.close()
            child = await self._fleet.start(member, tasks)
            if child.resumed:
                self.report.resumed += 1
                return
        if child.resumed and child.ended is None:
            return  # It tells of its view or of its end before long.
        sponsors = [c for c in self._fleet.standing() if not c.stopped and c is not child]
        if not sponsors:
            return
        self._look_at(member, child)
        sponsor = self._random.choice(sponsors[:2])
        token = await sponsor.do("invite", key=child.key)
        given_up = self._random.random() < 1 / 3
        within_s = self._random.uniform(*GIVEN_UP_S) if given_up else REST_S
        self.report.joins_given_up += given_up
        child.begin_anew()
        await child.do("join", token=token, within_s=within_s)
        self._fleet.came_in(member)
        self.report.joins += 1

    def _anew(self, child: Child) -> bool:
        """Whether who was removed comes in as another process; else it does so as it is. One that
        is an old copy of itself knows of no reason to try."""
        return child.is_old or self._random.random() < 0.5

    def _look_at(self, member: int, child: Child) -> None:
        if child.died is not None and not child.is_full:
            raise Failure(f"member {member} ended by itself: {child.errors}")
        if "older than" in (child.ended or "") and not child.is_old:
            raise Failure(f"member {member} has forgotten what it said: {child.ended}")

    # And whether they get over it.

    def _stand(self) -> bool:
        children = [child for child in self._fleet.lives if child is not None]
        keys = sorted(child.key for child in children)
        return (
            len(children) == self._fleet.number
            and all(child.in_group for child in children)
            and len({(child.view, tuple(child.members)) for child in children}) == 1
            and sorted(children[0].members) == keys
        )

    async def _all_in(self, within_s: float) -> None:
        with anyio.move_on_after(within_s):
            while True:
                if self._stand():
                    return
                await anyio.sleep(0.1)
        rows = [
            (member, child and (child.view, len(child.members), child.ended, child.died))
            for member, child in enumerate(self._fleet.lives)
        ]
        raise Failure(f"not everybody is in one view after {within_s:.0f} s: {rows}")

    async def _rest(self) -> bool:
        """Nothing stays open, and the group still decides. False if a member was replaced."""
        children = [child for child in self._fleet.lives if child is not None]
        try:
            for child in children:
                status = await child.do("rest")
                if status["open"]:
                    raise Failure(f"proposals without an outcome: {status}")
            for child in children:
                outcome = await child.do("propose")
                if outcome != "COMMITTED":
                    raise Failure(f"the last proposal was {outcome}")
            self.states = [await child.do("state") for child in children]
        except Refused as error:
            if any(child.ended is not None or child.killed for child in children):
                return False
            raise Failure(f"a member does not come to rest: {error}") from error
        for member, child in enumerate(children):
            self._look_at(member, child)
        for child in self._fleet.past:
            if (child.died is not None or child.errors) and not child.is_full:
                raise Failure(f"a process died ({child.died}) or complained: {child.errors}")
        return True


async def haunt(
    seed: int,
    seconds: float,
    directory: Path,
    network: Namespaces | None = None,
    members: int = MEMBERS,
    mode: Mode = MEMORY,
    enough: Enough | None = None,
) -> Report:
    """One run in an empty directory. Raises Failure, Violation."""
    fleet = Fleet(members, directory, network, mode)
    nemesis = Nemesis(seed, fleet, network)
    report = nemesis.report
    try:
        await nemesis.run(seconds, enough)
    finally:
        fleet.close()
    check_logs(fleet.logs.iterdir(), report)
    report.transfers = check_accounts(fleet.acts(), nemesis.states)
    report.reads = check_reads(fleet.acts())
    return report


def _one(seed: int, parsed: argparse.Namespace, cuts: bool, mode: Mode) -> bool:
    directory = tempfile.mkdtemp(prefix="quorate-nemesis-")
    run = partial(
        haunt, seed, parsed.seconds, Path(directory), members=parsed.members, mode=mode
    )
    why = None
    row: dict[str, object] = {"seed": seed}
    try:
        if cuts:
            with Namespaces(parsed.members) as network:
                row = asdict(anyio.run(partial(run, network=network)))
        else:
            row = asdict(anyio.run(run))
    except* (Failure, Refused, Violation, ValueError) as group:
        why = "; ".join(f"{type(error).__name__}: {error}" for error in group.exceptions)
    if why is None:
        shutil.rmtree(directory)
    else:
        row |= {"why": why, "logs": f"{directory}/logs"}
    print(json.dumps({**row, "ok": why is None}), flush=True)
    return why is None


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.nemesis")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--cuts", choices=HOW, default="no")
    parser.add_argument("--durable", choices=HOW, default="no")
    parsed = parser.parse_args()
    can_cut = parsed.cuts != "no" and available()
    if parsed.cuts == "yes" and not can_cut:
        parser.error("cutting links needs root and network namespaces")
    if parsed.cuts == "alternate" and not can_cut:
        print("# no links are cut: that needs root and network namespaces", file=sys.stderr)
    fine = True
    for run in range(parsed.runs):
        cuts = can_cut and (parsed.cuts == "yes" or run % 2 == 1)
        durable = parsed.durable == "yes" or (parsed.durable == "alternate" and run // 2 % 2 == 1)
        # Every other pair of durable runs is too impatient to wait for a process to start.
        mode = (IMPATIENT if run // 4 % 2 else PATIENT) if durable else MEMORY
        fine = _one(parsed.seed + run, parsed, cuts, mode) and fine
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
