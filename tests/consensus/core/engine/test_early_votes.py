"""Votes that come before their proposals: each voter has its own account (D18)."""

from __future__ import annotations

from collections.abc import Iterator

from consensus.core.config import VOTE_KEYS_MAX, GroupConfig
from consensus.core.engine.group import Group
from consensus.core.message_fields import ProposeMessage, VoteMessage
from consensus.core.message_kinds import PROPOSE, VOTE
from consensus.core.numbers import RANK_BITS, Clock, Index, Key, ViewNumber
from consensus.core.outputs import Accused
from consensus.core.types import Content, Member
from consensus.core.view import View
from scenarios.check.bounds import check_group

A, B, C, LIAR = (Member(name.encode() * 32, 1) for name in "ABCL")
ONE = ViewNumber(1)


def group() -> Group:
    made = Group.within(A, View(ONE, (A, B, C, LIAR), True), GroupConfig())
    made.poll()
    return made


def votes(clock: int, keys: list[Key]) -> Iterator[VoteMessage]:
    for at in range(0, len(keys), VOTE_KEYS_MAX):
        some = tuple(keys[at : at + VOTE_KEYS_MAX])
        yield VoteMessage(VOTE, ONE, Clock(clock), Index(0), some)


def unproposed(count: int) -> list[Key]:
    """Keys that B and C may still propose under."""
    return [Key((1000 + at // 2) << RANK_BITS | 1 + at % 2) for at in range(count)]


def accused(of: Group, sender: Member, messages: Iterator[VoteMessage]) -> list[Accused]:
    for message in messages:
        of.receive(sender, message)
    found = [o for o in of.poll() if isinstance(o, Accused)]
    check_group(A, of)
    return found


def test_a_liars_early_votes_leave_room_for_an_honest_one():
    a = group()
    most = unproposed(a._early_max)
    assert accused(a, LIAR, votes(1999, most)) == []
    of_c = Key(1500 << RANK_BITS | 2)
    assert accused(a, B, votes(1500, [of_c])) == []
    proposal = ProposeMessage(PROPOSE, ONE, Clock(1500), Index(0), Content("x", b""))
    a.receive(C, proposal)
    assert a._ballots[of_c].accepted == 0b0110


def test_one_more_than_the_bound_is_refused():
    a = group()
    too_many = unproposed(a._early_max + 1)
    [accusation] = accused(a, LIAR, votes(1999, too_many))
    assert accusation == Accused(LIAR, "vote on no proposal")


def test_a_vote_is_no_longer_early_once_its_proposal_is_here():
    a = group()
    most = unproposed(a._early_max)
    assert accused(a, LIAR, votes(1999, most)) == []
    first = ProposeMessage(PROPOSE, ONE, Clock(1000), Index(0), Content("x", b""))
    a.receive(B, first)
    assert accused(a, LIAR, votes(1999, [Key(1600 << RANK_BITS | 2)])) == []
    assert [o.member for o in accused(a, LIAR, votes(1999, [Key(1601 << RANK_BITS | 2)]))] == [LIAR]
