"""Real processes under load while a nemesis stops, continues, kills and cuts, and has machines
sleep; then the checkers.

`python -m tests.e2e.nemesis [--runs N] [--seconds S] [--seed N] [--members N] [--cuts HOW]
[--durable HOW]` prints a JSON object for each run; the exit status is 1 when an invariant does not
hold, when a transfer is lost or doubled, a read is old, a process ends by itself or writes to
standard error, or when the members do not come to rest in one view. Links can be cut where network
namespaces can be made. Members of a durable group are also killed all at once. `alternate` takes
all four kinds of runs in turn.
"""

import argparse
import json
import random
import shutil
import signal
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
from tests.e2e.report import Report, check_logs
from tests.support.network.namespaces import Namespaces, available
from tests.support.waiting import PATIENCE_S, until

MEMBERS = 5
REST_S = PATIENCE_S
"""Far longer than it takes: members are begun anew one at a time, on a busy machine slowly."""
STOP_S = (0.05, 4.0)
FALLING_ASLEEP_S = 0.02
"""Until a process that was sent SIGSTOP has surely stopped."""
CUT_S = (0.2, 6.0)
PAUSE_S = (0.1, 0.8)
ALL_PAUSE_S = (5.0, 10.0)
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
        self._network = network
        self._harmed: set[int] = set()
        """Members that are stopped, killed or cut off at the moment."""
        self._healing = False
        self._began = time.monotonic()
        self.report = Report(seed, fleet.mode.durable, fleet.mode.suspicion_s)
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
                        for _ in range(2):
                            harm.start_soon(self._harm)
                        if self._fleet.mode.durable:
                            harm.start_soon(self._harm_all)
                        if enough is not None:
                            await until(lambda: enough(self.report, self._fleet))
                            harm.cancel_scope.cancel()
                await self._heal()
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
                if member in self._harmed or (child is not None and child.in_group):
                    continue
                try:
                    await self._bring_in(member, child, tasks)
                except Refused as error:
                    at = time.monotonic() - self._began
                    print(f"# {at:.1f} s: member {member}: {error}", file=sys.stderr)
            await anyio.sleep(0.1)

    async def _bring_in(self, member: int, child: Child | None, tasks: TaskGroup) -> None:
        if child is None or child.ended is not None or child.killed or child.died is not None:
            if child is not None:
                self._look_at(member, child)
                await child.close()
            child = await self._fleet.start(member, tasks)
            if child.resumed:
                self.report.resumed += 1
                return
        if child.resumed:
            return  # It tells of its view or of its end before long.
        sponsors = [c for c in self._fleet.standing() if not c.stopped and c is not child]
        if not sponsors:
            return
        sponsor = self._random.choice(sponsors[:2])
        token = await sponsor.do("invite", key=child.key)
        try:
            await child.do("join", token=token)
            self.report.joins += 1
        except Refused:
            # It may have been admitted all the same: only a new life can try again.
            await child.end()
            raise

    def _look_at(self, member: int, child: Child) -> None:
        if child.died is not None:
            raise Failure(f"member {member} ended by itself: {child.errors}")
        if "older than" in (child.ended or ""):
            raise Failure(f"member {member} has forgotten what it said: {child.ended}")

    # What is done to them.

    def _victim(self) -> int | None:
        """Somebody whose harm leaves more than half of the newest view unharmed."""
        standing = self._fleet.standing()
        if not standing or self._healing:
            return None
        view = standing[0].members
        sound = [
            member
            for member, child in enumerate(self._fleet.lives)
            if member not in self._harmed and child is not None
            and child.in_group and child.key in view
        ]  # fmt: skip
        if 2 * (len(sound) - 1) <= len(view):
            return None
        return self._random.choice(sound)

    async def _harm(self) -> None:
        deeds = [self._stop, self._stop, self._sleep, self._kill]
        if self._network is not None:
            deeds += [self._cut, self._cut, self._unplug]
        while True:
            await anyio.sleep(self._random.uniform(*PAUSE_S))
            victim = self._victim()
            if victim is None:
                continue
            self._harmed.add(victim)
            try:
                await self._random.choice(deeds)(victim)
            finally:
                self._harmed.discard(victim)

    async def _stop(self, victim: int) -> None:
        child = self._fleet.lives[victim]
        assert child is not None
        self.report.stops += 1
        child.signal(signal.SIGSTOP)
        try:
            await anyio.sleep(self._random.uniform(*STOP_S))
        finally:
            child.signal(signal.SIGCONT)

    async def _sleep(self, victim: int) -> None:
        """As `_stop`, but the clock that the member goes by has not counted it."""
        child = self._fleet.lives[victim]
        assert child is not None
        self.report.sleeps += 1
        child.signal(signal.SIGSTOP)
        try:
            await anyio.sleep(FALLING_ASLEEP_S)
            before = time.monotonic()
            await anyio.sleep(self._random.uniform(*STOP_S))
            child.clocks.sleep(time.monotonic() - before)
        finally:
            child.signal(signal.SIGCONT)

    async def _kill(self, victim: int) -> None:
        child = self._fleet.lives[victim]
        assert child is not None
        self.report.kills += 1
        child.signal(signal.SIGKILL)
        await anyio.sleep(self._random.uniform(0.0, 2.0))

    async def _harm_all(self) -> None:
        """All at once, whatever they are doing."""
        while True:
            await anyio.sleep(self._random.uniform(*ALL_PAUSE_S))
            self.report.kills_of_all += 1
            everybody = set(range(self._fleet.number))
            self._harmed |= everybody
            for child in self._fleet.lives:
                if child is not None:
                    child.signal(signal.SIGKILL)
            await anyio.sleep(self._random.uniform(0.0, 0.5))
            self._harmed -= everybody

    async def _cut(self, victim: int) -> None:
        assert self._network is not None
        others = [member for member in range(self._fleet.number) if member != victim]
        other, both = self._random.choice(others), self._random.random() < 0.5
        self.report.cuts += 1
        self._network.cut(victim, other)
        if both:
            self._network.cut(other, victim)
        try:
            await anyio.sleep(self._random.uniform(*CUT_S))
        finally:
            self._network.mend(victim, other)
            self._network.mend(other, victim)

    async def _unplug(self, victim: int) -> None:
        assert self._network is not None
        self.report.cuts += 1
        self._network.unplug(victim)
        try:
            await anyio.sleep(self._random.uniform(*CUT_S))
        finally:
            self._network.plug(victim)

    # And whether they get over it.

    async def _heal(self) -> None:
        self._healing = True
        self._harmed.clear()
        for child in self._fleet.lives:
            if child is not None and child.stopped:
                child.signal(signal.SIGCONT)

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
            if child.died is not None or child.errors:
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
    await nemesis.run(seconds, enough)
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
