"""Invariants 8 and 9 on standings and objects made by hand."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from consensus.core.config import GroupConfig
from consensus.core.group import Group
from consensus.core.types import Content, Member
from scenarios.checkers import Violation
from scenarios.liveness import Standing, check_bounds, check_liveness, footprint

AB = ("A", "B")
GOOD = [Standing("A", 2, AB), Standing("B", 2, AB), Standing("C", 1, ("A", "B", "C"), ended="left")]


def test_a_world_at_rest_passes():
    check_liveness(GOOD, casting_vote=True)
    check_liveness([], casting_vote=True)


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        ({"unsettled": ("p",)}, "no outcome"),
        ({"wedged": True}, "wedged"),
        ({"view": 1, "members": ("A", "B", "C")}, "still in view 1"),
    ],
)
def test_who_has_not_come_to_rest_is_named(change: dict[str, object], evidence: str):
    with pytest.raises(Violation, match=evidence) as caught:
        check_liveness([GOOD[0], replace(GOOD[1], **change), GOOD[2]], casting_vote=True)
    assert caught.value.members == ("B",)


def test_an_outcast_that_never_learned_and_a_dead_member_that_stayed_are_found():
    with pytest.raises(Violation, match="never learned"):
        check_liveness([*GOOD[:2], Standing("C", 1, ("A", "B", "C"))], casting_vote=True)
    with pytest.raises(Violation, match="gone, and still in"):
        check_liveness([GOOD[0], replace(GOOD[1], ended="crashed")], casting_vote=True)


def test_without_a_quorum_nothing_is_asked():
    stuck = Standing("B", 2, AB, wedged=True)
    check_liveness([stuck, Standing("A", 2, AB, ended="crashed")], casting_vote=True)
    check_liveness([replace(GOOD[0], wedged=True, ended="")], casting_vote=False)
    accepted = replace(GOOD[0], wedged=True, accepted=("C",))
    check_liveness([accepted, GOOD[1]], casting_vote=True)


def test_a_group_that_kicked_itself_away_is_found():
    gone = [Standing("A", 1, AB, ended="expelled"), Standing("B", 1, AB, ended="expelled")]
    with pytest.raises(Violation, match="nobody is left"):
        check_liveness(gone, casting_vote=True)
    check_liveness([gone[0], replace(gone[1], ended="left")], casting_vote=True)


def test_bounds_are_checked_by_name():
    check_bounds("A", {"window": (64, 64)})
    with pytest.raises(Violation, match="window holds 65, bound 64"):
        check_bounds("A", {"window": (65, 64)})


class Holder:
    __slots__ = ("lanes", "queue")

    def __init__(self) -> None:
        self.queue = deque(range(5))
        self.lanes = {"x": [1, 2], "y": [3]}


def test_a_footprint_counts_containers_by_their_paths():
    sizes = footprint(Holder())
    assert sizes[".queue"] == 5
    assert sizes[".lanes"] == 2
    assert sizes[".lanes{}"] == 3


def test_the_footprint_of_a_group_does_not_grow_with_what_it_decided():
    def grown(proposals: int) -> dict[str, int]:
        group = Group.found(Member(b"a" * 32, 1), GroupConfig())
        for _ in range(proposals):
            group.propose(Content("test", b"x"))
            group.poll()
        return footprint(group)

    assert grown(300) == grown(600)
