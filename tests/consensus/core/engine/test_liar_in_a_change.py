"""What a liar says in a view change does not undo what an honest member has reported (VE1, VE2).

Two honest members, A (who leads) and B, and a liar C, whose messages are written by hand. A has
delivered x as committed; B has accepted it, and C's vote has not reached B.
"""

from __future__ import annotations

from typing import Any

import pytest

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.message_fields import AcceptMessage, PrepareMessage, PromiseMessage, VoteMessage
from consensus.core.message_kinds import ACCEPT, ACCEPTED, PREPARE, PROMISE, VOTE, Message
from consensus.core.numbers import RANK_BITS, BallotNumber, Clock, Index, Key, ViewNumber
from consensus.core.outputs import Accused, Decided, Output, Send, VoteWanted
from consensus.core.tables.synod import ballot_number
from consensus.core.tables.trim import OWN_ACCEPTED, OWN_NOTED, OWN_NOTHING
from consensus.core.types import Content, Held, Member, Outcome, Vote
from consensus.core.view import View

A, B, LIAR = (Member(name.encode() * 32, 1) for name in "ABL")
ONE, NOW = ViewNumber(1), Clock(20)
X = Content("work", b"x")
KEY = Key(1 << RANK_BITS)
FIRST = ballot_number(1, 0)


class Stage:
    """A and B, who hear each other at once, and what each has put out."""

    def __init__(self) -> None:
        view = View(ONE, (A, B, LIAR), True)
        self.groups = {m: Group.within(m, view, GroupConfig()) for m in (A, B)}
        self.outputs: dict[Member, list[Output]] = {A: [], B: []}
        self.cut = False
        """What they say to each other is lost."""
        self.groups[A].propose(X)
        self.settle()

    def settle(self) -> None:
        """Until nobody has anything to say."""
        moved = True
        while moved:
            moved = False
            for member, group in self.groups.items():
                for output in group.poll():
                    moved = True
                    self.outputs[member].append(output)
                    self._carry_out(member, output)

    def _carry_out(self, member: Member, output: Output) -> None:
        if isinstance(output, Send) and output.to in self.groups and not self.cut:
            self.groups[output.to].receive(member, output.message)
        elif isinstance(output, VoteWanted):
            self.groups[member].answer(output.proposal.id, Vote(True))

    def lie(self, to: Member, message: Message) -> None:
        self.groups[to].receive(LIAR, message)
        self.settle()

    def delivered_at_a(self) -> Stage:
        self.lie(A, VoteMessage(VOTE, ONE, Clock(1), Index(0), (KEY,)))
        assert self.reported(A) == [Outcome.COMMITTED]
        assert self.reported(B) == []
        return self


    def reported(self, member: Member) -> list[Outcome]:
        return [o.decision.outcome for o in self.outputs[member] if isinstance(o, Decided)]

    def accused(self, member: Member) -> list[str]:
        return [o.what for o in self.outputs[member] if isinstance(o, Accused)]

    def said(self, member: Member, kind: int) -> list[Message]:
        sent = [o.message for o in self.outputs[member] if isinstance(o, Send) and o.to == LIAR]
        return [message for message in sent if message.kind == kind]


def promise(index: int, stable: int, *held: Held) -> PromiseMessage:
    return PromiseMessage(
        PROMISE, ONE, NOW, Index(index), FIRST, Index(stable), BallotNumber(0), None, held
    )


def held(index: int, own: int, content: Content = X) -> Held:
    return KEY, Index(index), own, content, (), ()


def begun() -> Stage:
    """A waits for the liar's promise."""
    stage = Stage().delivered_at_a()
    stage.groups[A]._begin()
    stage.settle()
    assert stage.said(A, ACCEPT) == [], "nobody is left out for a late promise"
    return stage


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(promise(1, 1), id="everybody has delivered it"),
        pytest.param(promise(0, 0), id="never heard of it"),
        pytest.param(promise(0, 0, held(0, OWN_NOTHING)), id="did not vote"),
        pytest.param(promise(1, 0, held(1, OWN_NOTHING)), id="delivered without a vote"),
    ],
)
def test_what_was_delivered_stands_whatever_a_promise_leaves_out(lie: PromiseMessage) -> None:
    stage = begun()
    stage.lie(A, lie)
    assert stage.reported(B) == [Outcome.COMMITTED]
    assert stage.reported(A) == [Outcome.COMMITTED]
    assert stage.groups[A].view.number == stage.groups[B].view.number == 2


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(promise(0, 1), id="stable beyond what it delivered"),
        pytest.param(promise(0, 0, held(1, OWN_ACCEPTED)), id="delivered beyond what it delivered"),
    ],
)
def test_a_promise_that_contradicts_itself_is_refused(lie: PromiseMessage) -> None:
    stage = begun()
    stage.lie(A, lie)
    assert stage.accused(A) == ["impossible promise"]
    assert stage.said(A, ACCEPT) == []


def value(*trim: Any, end: int = 1) -> Any:
    return 0b111, None, (), trim, Index(end), 0


def entry(outcome: Outcome, content: Content = X, key: Key = KEY) -> Any:
    return key, int(outcome), content, (), ()


@pytest.mark.parametrize(
    "undoing",
    [
        pytest.param(value(entry(Outcome.ABANDONED)), id="abandoned"),
        pytest.param(value(entry(Outcome.REJECTED)), id="rejected"),
        pytest.param(value(entry(Outcome.COMMITTED, Content("work", b"y"))), id="another content"),
        pytest.param(value(entry(Outcome.COMMITTED, X, Key(KEY - 16))), id="another proposal"),
    ],
)
def test_a_value_that_undoes_what_was_delivered_is_not_accepted(undoing: Any) -> None:
    stage = Stage().delivered_at_a()
    stage.cut = True
    ballot = ballot_number(1, 2)
    stage.lie(A, PrepareMessage(PREPARE, ONE, NOW, Index(0), ballot))
    stage.lie(A, AcceptMessage(ACCEPT, ONE, NOW, Index(0), ballot, undoing))
    assert stage.said(A, ACCEPTED) == []
    assert stage.accused(A) == ["impossible value"]


@pytest.mark.parametrize("answers", [(), ((1, b"said"),)])
def test_a_value_that_keeps_it_is_accepted_whatever_was_answered(answers: Any) -> None:
    stage = Stage().delivered_at_a()
    stage.cut = True
    ballot = ballot_number(1, 2)
    keeping = value((KEY, int(Outcome.COMMITTED), X, answers, ()))
    stage.lie(A, PrepareMessage(PREPARE, ONE, NOW, Index(0), ballot))
    stage.lie(A, AcceptMessage(ACCEPT, ONE, NOW, Index(0), ballot, keeping))
    assert len(stage.said(A, ACCEPTED)) == 1
    assert stage.accused(A) == []


def test_a_ballot_is_promised_once() -> None:
    """Asked twice, with a delivery in between, it would say two things of one ballot."""
    stage = Stage()
    stage.cut = True
    ballot = ballot_number(1, 2)
    ask = PrepareMessage(PREPARE, ONE, NOW, Index(0), ballot)
    stage.lie(A, ask)
    assert len(stage.said(A, PROMISE)) == 1
    stage.lie(A, VoteMessage(VOTE, ONE, NOW, Index(0), (KEY,)))
    assert stage.reported(A) == [Outcome.COMMITTED]
    stage.lie(A, ask)
    assert len(stage.said(A, PROMISE)) == 1
    assert stage.accused(A) == []


def test_a_reject_that_a_promiser_stored_stands_though_a_liar_says_delivered() -> None:
    stage = Stage()
    group = stage.groups[A]
    did = [OWN_NOTED, OWN_NOTHING, OWN_ACCEPTED]
    assert group._trim_outcome(did, True) is Outcome.REJECTED
