"""What receivers would refuse is found at its sender, and every grouping of inputs is upright."""

from __future__ import annotations

import pytest

from consensus.core.config import VOTE_KEYS_MAX, GroupConfig
from consensus.core.engine.group import Group
from consensus.core.message_fields import (
    MarkMessage,
    NotedMessage,
    PrepareMessage,
    PromiseMessage,
    ProposeMessage,
    RejectMessage,
    SuspectMessage,
    VoteMessage,
)
from consensus.core.message_kinds import (
    MARK,
    NOTED,
    PREPARE,
    PROMISE,
    PROPOSE,
    REJECT,
    SUSPECT,
    VOTE,
    Message,
)
from consensus.core.numbers import BallotNumber, Clock, Index, Key, ViewNumber
from consensus.core.outputs import Accused, Installed, Send, VoteWanted
from consensus.core.types import Content, Member, Vote
from consensus.core.view import View
from scenarios.check.upright import Upright
from tests.support.scripts.broken import BROKEN
from tests.support.scripts.schedule import Schedule
from tests.support.upright import Refused

A, B, C = (Member(name.encode() * 32, 1) for name in "ABC")
ONE = ViewNumber(1)
VIEW = View(ONE, (A, B, C), True)
OF_A, OF_B = Key(3 << 4), Key(3 << 4 | 1)
TOO_MANY = tuple(Key(clock << 4) for clock in range(VOTE_KEYS_MAX + 1))


def head(clock: int = 5, mark: int = 0) -> tuple[ViewNumber, Clock, Index]:
    return ONE, Clock(clock), Index(mark)


def vote(*keys: Key, clock: int = 5) -> VoteMessage:
    return VoteMessage(VOTE, *head(clock), keys)


def reject(key: Key) -> RejectMessage:
    return RejectMessage(REJECT, *head(), key, "no")


def note(key: Key, rejecter: int) -> NotedMessage:
    return NotedMessage(NOTED, *head(), key, rejecter, "no")


def propose(clock: int) -> ProposeMessage:
    return ProposeMessage(PROPOSE, *head(clock), Content("x", b""))


def promise(*keys: Key) -> PromiseMessage:
    held = tuple((key, Index(0), 1, Content("x", b""), (), ()) for key in keys)
    return PromiseMessage(PROMISE, *head(), BallotNumber(16), Index(0), BallotNumber(0), None, held)


REFUSED: dict[str, tuple[str, tuple[Message, ...]]] = {
    "clock": ("clock went back", (MarkMessage(MARK, *head(5)), MarkMessage(MARK, *head(4)))),
    "proposal's clock": ("clock went back", (MarkMessage(MARK, *head(5)), propose(5))),
    "mark": ("mark went back", (MarkMessage(MARK, *head(5, 1)), MarkMessage(MARK, *head(5, 0)))),
    "two votes": ("second vote", (vote(OF_A), vote(OF_A))),
    "vote and reject": ("second vote", (vote(OF_A), reject(OF_A))),
    "vote after note": ("second vote", (note(OF_A, 2), vote(OF_A))),
    "vote on its own": ("second vote", (vote(OF_B),)),
    "note after reject": ("false note", (reject(OF_A), note(OF_A, 2))),
    "own note": ("false note", (note(OF_A, 1),)),
    "early vote": ("vote before its proposal", (vote(OF_A, clock=2),)),
    "many keys": ("bad keys", (vote(*TOO_MANY, clock=999),)),
    "ballot": ("somebody else's ballot", (PrepareMessage(PREPARE, *head(), BallotNumber(16)),)),
    "suspects itself": ("suspects nobody there", (SuspectMessage(SUSPECT, *head(), 2, 0, 0, 0),)),
    "suspects nobody": ("suspects nobody there", (SuspectMessage(SUSPECT, *head(), 8, 0, 0, 0),)),
    "promise": ("impossible promise", (promise(OF_B, OF_A),)),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_its_receiver_would_refuse_is_found(name: str):
    rule, messages = REFUSED[name]
    upright = Upright(B)
    assert upright.take([Installed(VIEW)]) is None
    *before, last = messages
    for message in before:
        assert upright.take([Send(A, message)]) is None
    assert upright.copy().take([Send(A, last)]) == (A, rule)


@pytest.mark.parametrize("name", sorted(set(REFUSED) - {"many keys"}))
def test_its_receiver_refuses_it_indeed(name: str):
    """Each rule is one of the engine's: the same messages get their sender accused."""
    rule, messages = REFUSED[name]
    receiver = Group.within(A, VIEW, GroupConfig(kicks_liars=False))
    receiver.propose(Content("x", b""))
    receiver._clock = Clock(2)
    receiver.propose(Content("x", b""))
    receiver.poll()
    if name == "promise":
        receiver.kick(B)
        receiver._begin()
    for message in messages:
        receiver.receive(B, message)
    assert rule in [o.what for o in receiver.poll() if isinstance(o, Accused)]


def test_a_member_that_would_be_accused_stops_itself():
    group = Group.within(B, VIEW, GroupConfig())
    group.poll()
    group.receive(A, propose(3))
    [wanted] = [o for o in group.poll() if isinstance(o, VoteWanted)]
    group.answer(wanted.proposal.id, Vote(True))
    group._accepts *= 2
    with pytest.raises(Refused, match="second vote"):
        group.poll()


class Gathered(Schedule):
    """Members are polled now and then; their programs, lanes and timers do not wait for it."""

    def drain(self, member: Member) -> None:
        if self.random.random() < 0.3:
            super().drain(member)



def live_through(seeds: int, size: int, group: type[Group] = Group) -> None:
    for seed in range(seeds):
        schedule = Gathered(seed, size, group=group)
        for _ in range(600):
            schedule.step()


@pytest.mark.parametrize("size", [3, 4, 5])
def test_schedules_with_many_inputs_accuse_nobody(size: int):
    live_through(60, size)


def test_such_schedules_catch_who_sends_out_of_order():
    with pytest.raises(AssertionError, match="second vote"):
        live_through(60, 3, BROKEN["a note before the accepts that wait"])
