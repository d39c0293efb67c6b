"""One of three durable members has a disk that hangs; it is heard all the time.

It may not say anything that is not on its disk, so it cannot vote, and nothing would be decided for
ever. It says past its disk that the disk hangs, and is removed (S2).
"""

from pathlib import Path

import pytest

from consensus.core.tables.membership_rules import REASON_STALLED
from tests.e2e.test_durable import Process
from tests.support.disk.hang import environment
from tests.support.waiting import until_true

ENOUGH = 10
"""Decisions that show that a group goes on."""


def settled(process: Process) -> int:
    return len(process.reported())


@pytest.mark.parametrize("slow", [0, 2], ids=["the senior's", "the junior's"])
def test_a_member_whose_disk_hangs_is_removed_and_the_others_go_on(
    tmp_path: Path, slow: int
) -> None:
    processes = [Process(tmp_path, name) for name in "abc"]
    founder, victim = processes[0], processes[slow]
    rest = [process for process in processes if process is not victim]
    for process in processes:
        process.start(**(environment(tmp_path) if process is victim else {}))
        process.ready()
    try:
        founder.ask("found")
        for joiner in processes[1:]:
            joiner.ask(f"join {founder.ask(f'invite {joiner.key}')['token']}")
        for process in processes:
            process.tell("start")
        until_true(lambda: all(settled(process) > ENOUGH for process in processes))
        (tmp_path / "hangs").touch()
        until_true(lambda: all(process.ask("state")["members"] == 2 for process in rest))
        before = [settled(process) for process in rest]
        until_true(
            lambda: all(
                settled(process) > count + ENOUGH
                for process, count in zip(rest, before, strict=True)
            )
        )
        (tmp_path / "hangs").unlink()
        until_true(lambda: REASON_STALLED in victim.errors.read_text())
    finally:
        for process in processes:
            process.kill()
