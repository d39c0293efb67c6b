"""What membership leaves behind: nothing that grows with the life of a view."""

import pytest

from consensus.core.config import BACKLOG_MAX
from consensus.core.errors import GroupBusy
from tests.support.scripts.printed import member
from tests.support.scripts.script import World

ROUNDS = 5


def lived(*lines: str) -> World:
    world = World()
    for line in lines:
        world.run(line)
    return world


def test_kicks_that_took_too_long_and_were_vetoed() -> None:
    world = lived("group A B C asks_application_about_kicks=True", "manual B")
    for _ in range(ROUNDS):
        for line in (
            "kick A C", "deliver A B", "deliver B A", "fire A kick", "fire B kick", "reject B",
            "deliver",
        ):  # fmt: skip
            world.run(line)
    assert [len(group._overdue) for group in world.groups.values()] == [0, 0, 0]


def test_joiners_that_ended_before_they_were_rejected() -> None:
    world = lived("group A B C asks_application_about_joins=True", "manual B")
    for joiner in "JKLMN"[:ROUNDS]:
        for line in (
            f"join {joiner} via A", "deliver A B", "deliver A C", f"crash {joiner}",
            f"gone A {joiner}", f"gone B {joiner}", "reject B", "deliver", f"gone C {joiner}",
        ):  # fmt: skip
            world.run(line)
    assert [len(world.groups[name]._gone) for name in "ABC"] == [0, 0, 0]


def test_kicks_and_leaves_that_wait() -> None:
    world = lived("group A B C window_total=3", "manual B")
    group = world.groups["A"]
    while len(group._backlog) < BACKLOG_MAX:
        group.kick(member("C"))
    with pytest.raises(GroupBusy):
        group.kick(member("C"))
    with pytest.raises(GroupBusy):
        group.leave()
    assert len(group._backlog) == BACKLOG_MAX
