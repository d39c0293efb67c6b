"""I8 on standings made by hand, and on engines that leave something undone for ever."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.types import Content, Member
from scenarios.cases import CASES
from scenarios.check.facts import Violation
from scenarios.check.liveness import Standing, check_liveness, footprint, left_open
from scenarios.search.explore import explore

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
        ({"left": ("read 1",)}, "left undone: read 1"),
        ({"ended": "left", "lingering": True}, "out, and still lingering"),
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


def test_a_joiner_and_an_outcast_come_to_an_end_whatever_becomes_of_the_group():
    dead = [Standing(member, 2, AB, ended="crashed") for member in AB]
    joiner = Standing("J", 0, (), joining=True)
    with pytest.raises(Violation, match="still joining") as caught:
        check_liveness([*dead, joiner], casting_vote=True)
    assert caught.value.members == ("J",)
    with pytest.raises(Violation, match="still lingering"):
        check_liveness([*dead, replace(GOOD[2], lingering=True)], casting_vote=True)
    for ended in ("crashed", "lost"):
        check_liveness([*GOOD, replace(joiner, ended=ended)], casting_vote=True)


class LeavesWait(Group):
    """A leave waits for room in the window like everything else."""

    def _may_propose(self, content):
        return not self._synod.wedged and self._open[self._rank] < self._window


class WaitsForEver(Group):
    """What found no room at once is never proposed."""

    def _drain_backlog(self):
        pass


class SponsorsForEver(Group):
    """A join that was rejected is sponsored on, and its joiner not told."""

    def _join_settled(self, key, content, outcome, why):
        pass


class ReadsNothing(Group):
    """Reads are not answered."""

    def _serve_reads(self):
        pass


class DeliversNothing(Group):
    """A member delivers nothing of what others proposed."""

    def _next_deliverable(self):
        found = super()._next_deliverable()
        return found if found is None or found.proposer == self._rank else None


class WaitsToBeTakenIn(SponsorsForEver):
    """And the joiner waits as long as it is not told."""

    def _join_overdue(self, handle):
        if self._sponsor is None:
            super()._join_overdue(handle)


class Lingers(Group):
    """Who is out stays for stragglers, whether or not there can be any."""

    def fire(self, timer):
        if timer.name != "linger":
            super().fire(timer)

    def _receive_out(self, sender, message):
        self._answer_older(sender, message)


class ChangesNothing(Group):
    """What is committed about members has no consequences."""

    def _change_wanted(self):
        return False


@pytest.mark.parametrize(
    ("broken", "case", "evidence"),
    [
        (LeavesWait, "silent-full", "makes no progress"),
        (WaitsForEver, "two-full", "test that waits"),
        (SponsorsForEver, "join-rejected", "sponsorship of J"),
        (ReadsNothing, "read-told", "left undone: read"),
        (DeliversNothing, "three-one", "left undone: open ballot"),
        (WaitsToBeTakenIn, "join-rejected", "still joining"),
        (Lingers, "two-leave", "still lingering"),
        (ChangesNothing, "two-leave", "leave of A that was committed"),
    ],
)
def test_what_is_left_undone_for_ever_is_found(broken: type[Group], case: str, evidence: str):
    [found] = explore(CASES[case], broken).found
    assert found.violation.invariant == "8 liveness"
    assert evidence in found.violation.evidence


def test_a_lane_that_stands_still_is_left_open():
    group = Group.found(Member(b"a" * 32, 1), GroupConfig())
    assert left_open(group) == ()
    group._stopped[Member(b"b" * 32, 1)] = []
    assert "stands still" in left_open(group)[0]


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
