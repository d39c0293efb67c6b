"""Several inputs between two polls: what leaves is in the order in which it was done (OP1)."""

from __future__ import annotations

from consensus.core.config import STOPPED_MAX, VOTE_KEYS_MAX, GroupConfig
from consensus.core.engine.group import Group
from consensus.core.message_fields import (
    InstallMessage,
    LeaseAskMessage,
    ProposeMessage,
    RejectMessage,
)
from consensus.core.message_kinds import (
    INSTALL,
    LEASE,
    LEASE_ASK,
    NOTED,
    PROPOSE,
    REJECT,
    VOTE,
    Message,
)
from consensus.core.numbers import RANK_BITS, Clock, Index, Key, ViewNumber
from consensus.core.outputs import Accused, Send, VoteWanted
from consensus.core.types import Content, Member, Vote
from consensus.core.view import View
from tests.support.scripts.schedule import through_the_wire

A, B, C, D = (Member(name.encode() * 32, 1) for name in "ABCD")
ONE = ViewNumber(1)


def key(clock: int, rank: int) -> Key:
    return Key(clock << RANK_BITS | rank)


def group(me: Member, *members: Member) -> Group:
    made = Group.within(me, View(ONE, members, True), GroupConfig())
    made.poll()
    return made


def propose(clock: int, body: bytes = b"") -> ProposeMessage:
    return ProposeMessage(PROPOSE, ONE, Clock(clock), Index(0), Content("test", body))


def reject(clock: int, what: Key) -> RejectMessage:
    return RejectMessage(REJECT, ONE, Clock(clock), Index(0), what, "no")


def accept_without_a_poll(of: Group, sender: Member, message: ProposeMessage) -> None:
    """Its program accepts, and the shell does not poll after that."""
    of.receive(sender, message)
    [wanted] = [o for o in of.poll() if isinstance(o, VoteWanted)]
    of.answer(wanted.proposal.id, Vote(True))


def sent(of: Group, to: Member) -> list[Message]:
    return [o.message for o in of.poll() if isinstance(o, Send) and o.to == to]


def accusations(by: Group, sender: Member, messages: list[Message]) -> list[Accused]:
    found: list[Accused] = []
    for message in messages:
        by.receive(sender, message)
        found += [o for o in by.poll() if isinstance(o, Accused)]
    return found


def test_a_note_does_not_overtake_the_accept_before_it():
    a, c = group(A, A, B, C), group(C, A, B, C)
    a.propose(Content("test", b""))
    [proposal] = sent(a, C)
    assert isinstance(proposal, ProposeMessage)
    accept_without_a_poll(c, A, proposal)
    c.receive(B, reject(1, key(1, 0)))
    messages = sent(c, A)
    assert [m.kind for m in messages] == [VOTE, NOTED]
    assert accusations(a, C, messages) == []


def test_a_proposal_does_not_overtake_the_accepts_before_it():
    """It comes last and shows a higher clock than they do, so that nobody takes it for one whose
    clock went back."""
    a, c = group(A, A, B, C), group(C, A, B, C)
    accept_without_a_poll(c, B, propose(1))
    c.propose(Content("test", b"of one's own"))
    messages = sent(c, A)
    assert [(m.kind, m.clock) for m in messages] == [(VOTE, 1), (PROPOSE, 2)]
    a.receive(B, propose(1))
    assert accusations(a, C, messages) == []


def test_the_target_of_a_vetoed_kick_is_accused_of_nothing():
    """Its engine accepts the kick, and the veto comes before the next poll."""
    a, c = group(A, A, B, C), group(C, A, B, C)
    a.kick(C, "why")
    [kick] = sent(a, C)
    c.receive(A, kick)
    c.receive(B, reject(1, key(1, 0)))
    assert accusations(a, C, sent(c, A)) == []
    a.receive(B, reject(1, key(1, 0)))
    assert a.view.members == (A, B, C)


def test_accepts_of_a_view_are_said_in_it():
    """An INSTALL that comes before the next poll carries no accept over into the next view."""
    c = group(C, A, B, C)
    accept_without_a_poll(c, B, propose(1))
    value = 0b111, None, (), (), Index(0), 0
    c.receive(A, InstallMessage(INSTALL, ONE, Clock(1), Index(0), value))
    assert c.view.number == 2
    assert [(m.kind, m.view) for m in sent(c, A) if m.kind == VOTE] == [(VOTE, 1)]


def test_what_one_vote_cannot_hold_is_said_in_several():
    """All that a voter takes of one proposer is more than one VOTE holds."""
    b = group(B, A, B, C, D)
    count = b._held_max
    assert count > VOTE_KEYS_MAX
    for clock in range(1, count + 1):
        b.receive(D, propose(clock))
    for wanted in [o for o in b.poll() if isinstance(o, VoteWanted)]:
        b.answer(wanted.proposal.id, Vote(True))
    messages = sent(b, A)
    assert [through_the_wire(message) for message in messages] == messages
    votes = [m.keys for m in messages if m.kind == VOTE]
    assert [len(keys) for keys in votes] == [VOTE_KEYS_MAX, count - VOTE_KEYS_MAX]
    assert [k for keys in votes for k in keys] == [key(clock, 3) for clock in range(1, count + 1)]
    a = group(A, A, B, C, D)
    for clock in range(1, count + 1):
        a.receive(D, propose(clock))
    assert accusations(a, B, messages) == []


def test_whoever_reads_while_another_lags_behind_is_accused_of_nothing():
    """A asks for its lease again and again in view 2; the INSTALL reaches C late. One question is
    left to answer, the last."""
    c = group(C, A, B, C)
    two = ViewNumber(2)
    asks = [
        LeaseAskMessage(LEASE_ASK, two, Clock(1), Index(0), question, 250)
        for question in range(1, 2 * STOPPED_MAX)
    ]
    assert accusations(c, A, [*asks]) == []
    value = 0b111, None, (), (), Index(0), 0
    c.receive(A, InstallMessage(INSTALL, ONE, Clock(1), Index(0), value))
    answers = [m for m in sent(c, A) if m.kind == LEASE]
    assert [m.question for m in answers] == [asks[-1].question]
