"""The text scripts are histories too: the checkers hear them, and what is asked for is there."""

from __future__ import annotations

import pytest

from consensus.core.engine.group import Group
from tests.support.scripts.rescripted import Heard, violation_of
from tests.support.scripts.script import TESTDATA

UNORDERED = {"pair", "pair_silence", "silent"}
"""Views of two of `ask`, whose outcomes have no order."""

STORIES = (
    "joins", "veto", "joiner_dies", "kick_silent", "one_way", "one_way_heals", "relayed",
    "cut_link", "split", "split_strict", "proposer_dies_no_vote", "proposer_dies_first_vote",
    "proposer_dies_second_vote", "proposer_dies_last_vote", "coordinator_dies_prepare",
    "coordinator_dies_promised", "coordinator_dies_accept", "coordinator_dies_chosen",
    "coordinator_dies_install", "mutual_kicks", "comes_back", "restart", "restart_quick",
    "view_of_two", "view_of_two_senior_dies", "seven_of_sixteen", "five_ring", "five_one_way",
    "kick_and_crash",
)  # fmt: skip
"""What groups must be seen to come through, each told by a script."""

UNDER_WAY = {"coordinator_dies_install", "cut_link", "one_way", "relayed"}
"""Those that end with lanes held or with somebody who is out and lingers."""


@pytest.mark.parametrize("name", sorted({path.stem for path in TESTDATA.glob("*.txt")} - UNORDERED))
def test_no_script_violates_an_invariant(name: str):
    assert violation_of((TESTDATA / f"{name}.txt").read_text(), rests=False) is None


@pytest.mark.parametrize("name", sorted(set(STORIES) - UNDER_WAY))
def test_a_story_comes_to_rest(name: str):
    """So that what is asked of those at rest is asked of it."""
    heard = Heard(Group)
    heard.live_through((TESTDATA / f"{name}.txt").read_text())
    assert heard.at_rest()
    heard.check_rest()


def test_the_stories_are_there():
    assert not [name for name in STORIES if not (TESTDATA / f"{name}.txt").exists()]
