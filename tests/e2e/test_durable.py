"""Members killed with SIGKILL at any moment, one or all at once, go on where they were.

Nothing that was reported to any program is lost, changed or reordered: the logs of all lives of all
processes are checked against what is on the members' disks in the end.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.network.ports import kept_port
from tests.support.waiting import PATIENCE_S, until_true

ROUNDS = int(os.environ.get("QUORATE_KILL_ROUNDS", "6"))

Row = dict[str, Any]
"""A line of JSON that a member wrote."""


class Process:
    """One member's process, and the ones after it."""

    def __init__(self, directory: Path, name: str) -> None:
        self.file = directory / f"{name}.quorate"
        self.report = directory / f"{name}.report"
        self.errors = directory / f"{name}.errors"
        self.port = kept_port()
        self.key = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self, **environment: str) -> None:
        arguments = [str(self.file), str(self.port), str(self.report)]
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.nodes.durable_member", *arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                cwd=Path(__file__).parents[2], env={**os.environ, **environment},
            )  # fmt: skip

    def ready(self) -> int:
        """Wait until it runs; how many groups it resumed."""
        said = self.answer()
        self.port, self.key = said["port"], said["key"]
        return int(said["resumed"])

    def answer(self) -> Row:
        assert self.process is not None
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline() if readable else ""
        assert line, self.errors.read_text()
        said: Row = json.loads(line)
        return said

    def tell(self, command: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def ask(self, command: str) -> Row:
        self.tell(command)
        return self.answer()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def reported(self) -> list[Row]:
        return [json.loads(line) for line in self.report.read_text().splitlines()]


def grow(processes: list[Process], decisions: int) -> None:
    """Wait until so many decisions were reported to the members in all."""
    until_true(
        lambda: sum(len(p.reported()) for p in processes if p.report.exists()) >= decisions,
        lambda: [p.errors.read_text() for p in processes],
    )


def settled(processes: list[Process], target: int) -> list[list[Row]]:
    """What is on the disks once all are beyond that index."""
    states: list[list[dict[str, Any]]] = []

    def beyond() -> bool:
        states[:] = [p.ask("state")["decisions"] for p in processes]
        return all(state and state[-1]["index"] >= target for state in states)

    until_true(beyond, lambda: [state[-1:] for state in states])
    return states


def test_sigkill_at_any_moment_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    dice = random.Random(7)
    processes = [Process(tmp_path, name) for name in ("alice", "bob", "carol")]
    try:
        for process in processes:
            process.start()
        assert [process.ready() for process in processes] == [0, 0, 0]
        founder = processes[0]
        founder.ask("found")
        for process in processes[1:]:
            process.ask(f"join {founder.ask(f'invite {process.key}')['token']}")
        for process in processes:
            process.tell("start")
        total = 0
        for _ in range(ROUNDS):
            total = sum(len(p.reported()) for p in processes if p.report.exists())
            grow(processes, total + dice.randint(1, 40))
            victims = dice.sample(processes, dice.choice((1, 2, 3, 3, 3)))
            for victim in victims:
                victim.kill()
            for victim in victims:
                victim.start()
            assert [victim.ready() for victim in victims] == [1] * len(victims)
        total = sum(len(p.reported()) for p in processes)
        grow(processes, total + 20)
        reports = [process.reported() for process in processes]
        states = settled(processes, max(d["index"] for report in reports for d in report))
    finally:
        for process in processes:
            if process.process is not None:
                process.process.kill()
                process.process.communicate()
    order: dict[int, Row] = {}
    for state in states:
        indexes = [decision["index"] for decision in state]
        assert indexes == list(range(indexes[0], indexes[0] + len(indexes)))  # no gap, no repeat
        for decision in state:
            assert order.setdefault(decision["index"], decision) == decision
    bodies = [tuple(d["body"]) for d in order.values() if d["kind"] == "work"]
    assert len(bodies) == len(set(bodies))  # nothing decided twice
    for report in reports:
        for decision in report:
            assert order[decision["index"]] == decision
    assert {decision["outcome"] for decision in order.values()} == {"COMMITTED", "REJECTED"}
