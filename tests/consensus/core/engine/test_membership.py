"""Joins as the engine of a sponsor, and of those who vote on them, sees them."""

import pytest

from consensus.core import message_kinds as kinds
from consensus.core.config import JOIN_ATTEMPTS_MAX, GroupConfig
from consensus.core.engine.group import Group
from consensus.core.engine.membership import JOINERS_MAX
from consensus.core.errors import GroupBusy, GroupError
from consensus.core.outputs import ReachWanted, Send
from consensus.core.types import JOIN, Content, Member
from consensus.core.view import VIEW_SIZE_MAX, View
from tests.support.messages import message as said
from tests.support.scripts.printed import member
from tests.support.scripts.script import World

A, B, C, D = (Member(bytes([i]) * 32, i) for i in (1, 2, 3, 4))
JOINERS = tuple(Member(bytes([100 + i]) * 32, 1) for i in range(VIEW_SIZE_MAX))


def member_of(me, members):
    group = Group.within(me, View(1, members), GroupConfig(kicks_liars=False))
    group.poll()
    return group


def ready(group, joiner):
    """The joiner has the snapshot and reaches everybody."""
    view = group.view
    group.receive(joiner, said(kinds.READY, view.number, 0, group.index, view.members))


def world_of(*commands):
    world = World()
    for command in commands:
        world.run(command)
    return world


def test_to_be_passed_over_is_no_attempt():
    world = world_of("found A", "hold A Z", "join Z via A")
    group, last = world.groups["A"], member("Z")
    for joiner in "BCDEF":
        world.run(f"join {joiner} via A")
        world.run("deliver")
        assert member(joiner) in group.view.members
        assert group.sponsoring == (last,)
    for attempt in range(1, JOIN_ATTEMPTS_MAX + 1):
        assert group._sponsored[last].attempts == attempt
        world.run("fire A join")
        world.run("deliver")
    assert group.sponsoring == ()
    assert world.lanes["A", "Z"][-1][4] == "the join lapsed"


def test_who_is_passed_over_until_the_group_is_full_is_told_so():
    world = world_of("found A", "hold A Z", "join Z via A")
    group = world.groups["A"]
    for joiner in "BCDEFGHIJKLMNOP":
        assert member("Z") in group.sponsoring
        world.run(f"join {joiner} via A")
        world.run("deliver")
    assert len(group.view.members) == VIEW_SIZE_MAX
    assert group.sponsoring == ()
    assert world.lanes["A", "Z"][-1][4] == "the group is full"
    with pytest.raises(GroupError, match="full"):
        group.sponsor(D, b"")


def test_a_lone_sponsor_gives_up_in_the_end():
    """What it proposes again is committed at once, before `propose` returns."""
    world = world_of("found A", "hold A Z", "join Z via A")
    for _ in range(JOIN_ATTEMPTS_MAX):
        assert world.groups["A"].sponsoring
        world.run("fire A join")
    assert not world.groups["A"].sponsoring
    assert not world.timers["A"]


def test_joiners_of_one_sponsor_are_bounded_and_the_next_is_told_the_truth():
    group = member_of(A, (A,))
    for joiner in JOINERS[:JOINERS_MAX]:
        group.sponsor(joiner, b"")
    with pytest.raises(GroupBusy, match=f"{JOINERS_MAX} others are joining, try again"):
        group.sponsor(D, b"")
    ready(group, JOINERS[0])
    group.sponsor(D, b"")
    assert len(group.sponsoring) == JOINERS_MAX


@pytest.mark.parametrize("ok", [True, False])
def test_one_answer_about_reach_is_for_all_who_sponsor_the_joiner(ok):
    group = member_of(C, (A, B, C))
    content = Content(JOIN, b"", (), 30_000, D, b"")
    for sponsor in (A, B):
        group.receive(sponsor, said(kinds.PROPOSE, 1, 1, 0, content))
    assert sum(isinstance(o, ReachWanted) for o in group.poll()) == 2
    group.reached(D, ok)
    votes = [o.message for o in group.poll() if isinstance(o, Send) and o.to == A]
    if ok:
        (vote,) = votes
        assert vote.kind == kinds.VOTE
        assert len(vote[4]) == 2
    else:
        assert [message.kind for message in votes] == [kinds.REJECT] * 2
    assert not group.unanswered()
