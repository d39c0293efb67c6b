"""A bank of three processes whose members are killed and stopped: no transfer is lost or doubled,
and no read is old. A durable one survives that all of them are killed at once."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Self

from tests.support.network.ports import kept_ports
from tests.support.waiting import until_true

ROOT = Path(__file__).resolve().parents[2]
TRANSFERS = 48
FAULT_EVERY = 12
ROUNDS = 2


class Refused(Exception):
    """The member says no, or there is none any more."""


class Process:
    """One member."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nodes.ledger_member", *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.key, self.port, self.resumed = "", 0, 0

    def ready(self) -> Self:
        """Wait until it listens."""
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline())
        self.key, self.port, self.resumed = said["key"], said["port"], said["resumed"]
        return self

    def ask(self, *request: Any) -> None:
        """Have it do something, and do not wait."""
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)

    def do(self, *request: Any) -> Any:
        """Ask it. Raises Refused."""
        try:
            self.ask(*request)
        except BrokenPipeError as error:
            raise Refused("it is dead") from error
        return self.answer()

    def answer(self) -> Any:
        """What it says to what it was asked first and has not answered. Raises Refused."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Refused("it is dead")
        ok, value = json.loads(line)
        if not ok:
            raise Refused(value)
        return value

    def end(self) -> None:
        """Kill it, whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # What it was asked last did not reach it.
                pipe.close()


class Bank:
    """Three members; whoever is gone is replaced by a new process."""

    def __init__(self) -> None:
        self.members: list[Process] = []
        self.replaced = 0

    def admit(self) -> None:
        """A new process joins by whichever member takes it in."""
        new = Process().ready()

        def joined(sponsor: Process) -> bool:
            with suppress(Refused):  # The dead one is not out yet.
                new.do("join", sponsor.do("invite", new.key))
                return True
            return False

        try:
            until_true(lambda: any(map(joined, self.members)), lambda: "nobody takes it in")
        except BaseException:
            new.end()
            raise
        self.members.append(new)

    def replace(self, member: Process) -> None:
        """It is dead or expelled: another takes its place."""
        member.end()
        self.members.remove(member)
        self.admit()
        self.replaced += 1

    def transfer(self, name: str, random: Random) -> None:
        """Ask members in turn, under one id, until one says that it is done."""

        def done(member: Process) -> bool:
            with suppress(Refused):
                return bool(member.do("transfer", name, "pot", "spent", 1) == "done")
            return False

        at = random.randrange(len(self.members))
        in_turn = self.members[at:] + self.members[:at]
        until_true(lambda: any(map(done, in_turn)), lambda: f"nobody makes the transfer {name}")


@contextmanager
def bank() -> Iterator[Bank]:
    """Three members, and a thousand in the pot."""
    here = Bank()
    try:
        here.members.append(Process().ready())
        here.members[0].do("found")
        here.admit()
        here.admit()
        here.members[1].do("transfer", "all", None, "pot", 1000)
        yield here
    finally:
        for member in here.members:
            member.end()


def test_a_ledger_survives_kills_and_stops() -> None:
    random = Random(4)
    with bank() as here:
        for count in range(1, TRANSFERS + 1):
            victim = None
            if count % FAULT_EVERY == 0:
                victim = random.choice(here.members)
                kills = count // FAULT_EVERY % 2 == 0
                victim.process.send_signal(signal.SIGKILL if kills else signal.SIGSTOP)
                # The others go on without it, or wait for it: nothing is asked of it meanwhile.
                here.members.remove(victim)
            here.transfer(f"t{count}", random)
            for member in here.members:
                # Members that were left out while stopped learn of it when they are asked.
                assert member.do("balance", "pot") == 1000 - count
            if victim is not None:
                here.members.append(victim)
                victim.process.send_signal(signal.SIGCONT)
                try:
                    assert victim.do("balance", "pot") == 1000 - count
                except Refused:
                    here.replace(victim)
        for member in here.members:
            member.do("balance", "pot")
        states = [member.do("state") for member in here.members]
        balances, results = states[0]
        assert balances == {"pot": 1000 - TRANSFERS, "spent": TRANSFERS}
        assert set(results) == {"all"} | {f"t{count}" for count in range(1, TRANSFERS + 1)}
        assert all(state == states[0] for state in states)
        assert here.replaced >= TRANSFERS // FAULT_EVERY // 2


def test_a_durable_ledger_survives_that_all_are_killed_at_once(tmp_path: Path) -> None:
    """With transfers under way at each of them: those said to be done are done, once, those under
    way done or not, at all three alike; asked for again under their ids they are done once."""
    random = Random(8)
    paths = [str(tmp_path / name) for name in ("alice", "bob", "carol")]
    ports = [str(port) for port in kept_ports(3)]
    members: list[Process] = []
    asked: set[str] = set()
    try:
        members = [Process(*each).ready() for each in zip(paths, ports, strict=True)]
        ports = [str(member.port) for member in members]
        members[0].do("found")
        for member in members[1:]:
            member.do("join", members[0].do("invite", member.key))
        members[1].do("transfer", "all", None, "pot", 1000)
        for round_ in range(ROUNDS):
            done = {f"{round_} {count}" for count in range(5)}
            for name in sorted(done):
                assert random.choice(members).do("transfer", name, "pot", "spent", 1) == "done"
            asked |= done
            open_ = [f"{round_} open {count}" for count in range(30)]
            asking = [random.choice(members) for _ in open_]
            for name, member in zip(open_, asking, strict=True):
                member.ask("transfer", name, "pot", "spent", 1)
            for member in asking[: random.randrange(len(asking))]:
                assert member.answer() == "done"
            for member in members:
                member.process.kill()
            for member in members:
                member.end()
            members = [Process(*each) for each in zip(paths, ports, strict=True)]
            assert [member.ready().resumed for member in members] == [1, 1, 1]
            for member in members:
                member.do("balance", "pot")
            (balances, results), *others = [member.do("state") for member in members]
            assert others == [[balances, results]] * 2
            assert asked <= results.keys() <= asked | set(open_) | {"all"}
            assert balances == {"pot": 1001 - len(results), "spent": len(results) - 1}
            for name in open_:
                assert random.choice(members).do("transfer", name, "pot", "spent", 1) == "done"
            asked |= set(open_)
        assert members[2].do("balance", "pot") == 1000 - len(asked)
    finally:
        for member in members:
            member.end()
