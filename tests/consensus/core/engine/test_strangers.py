"""What strangers say to a durable group is neither counted nor kept."""

import pytest

from consensus.core.config import GroupConfig
from consensus.core.durable import durable_line
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.message_kinds import (
    EXPELLED,
    INSTALL,
    MARK,
    NOTED,
    PROPOSE,
    READY,
    RESUME,
    SEEN,
    SUSPECT,
)
from consensus.core.outputs import Persist, Send
from consensus.core.types import Content, Member, Outcome
from consensus.core.view import View
from tests.support.messages import message as said

ABANDONED = int(Outcome.ABANDONED)
A, B, C = (Member(bytes([n]) * 32, n) for n in (1, 2, 3))


def fresh():
    return DurableGroup(Group.within(A, View(1, (A, B, C)), GroupConfig()), None)


def stored(group):
    """Poll and confirm until nothing is wanted."""
    outputs = []
    while some := group.poll():
        outputs += some
        for output in some:
            if isinstance(output, Persist):
                group.persisted(output.seq)
    return outputs


def stranger(number):
    return Member(number.to_bytes(32, "big"), 99)


@pytest.mark.parametrize(
    "message",
    [
        said(NOTED, 1, 1, 0, 16, 0, ""),
        said(READY, 1, 0, 0, ()),
        said(PROPOSE, 9, 1, 0, Content("a", b"")),
    ],
    ids=["a member's", "a joiner's", "of a later view"],
)
def test_what_strangers_send_is_neither_counted_nor_written(monkeypatch, message):
    monkeypatch.setattr(durable_line, "UNHEARD_MAX", 8)
    group = fresh()
    stored(group)
    for number in range(20):
        group.receive(stranger(number), message)
        group.accuse(stranger(number), "bytes that are no message")
        group.receive(stranger(number), said(RESUME, 1, 0, 0, 5, 0))
        group.receive(stranger(number), said(SEEN, 1, 0, 0, 5))
    assert group.poll() == []
    assert set(group._lines) <= {B, C}
    assert len(group._lines._unheard) == 8


def test_whoever_is_joining_counts_so_many(monkeypatch):
    monkeypatch.setattr(durable_line, "LINES_MAX", 4)
    group = DurableGroup(Group.joining(A, B, GroupConfig()), None)
    stored(group)
    for number in range(20):
        group.receive(stranger(number), said(MARK, 1, 1, 0))
    assert len(group._lines) == 4


def test_who_turns_out_to_be_joining_is_asked_for_what_it_has_said():
    """It was told of this member before this member was told of it."""
    group, joiner = fresh(), stranger(7)
    stored(group)
    for other in (B, C):
        group.receive(other, said(RESUME, 1, 0, 0, 0, 0))
    ready = said(READY, 1, 0, 0, (B,))
    group.receive(joiner, ready)
    group.receive(B, said(PROPOSE, 1, 5, 0, Content("@join", b"", (), 9000, joiner, b"")))
    told = [o.message for o in stored(group) if isinstance(o, Send) and o.to == joiner]
    assert [(m.kind, m.received, m.is_answer) for m in told] == [(RESUME, 0, 0)]
    group.receive(joiner, said(RESUME, 1, 0, 0, 0, 1))
    group.receive(joiner, ready)
    stored(group)
    assert group._ready == {joiner: (0, (B,))}
    assert group._lines[joiner].received == 1


def test_the_line_of_who_may_join_in_a_later_view_goes_on():
    """Its join lapses, and its sponsor proposes it again: it is the same life, and what it has
    said before is still part of what it has said."""
    group, joiner = fresh(), stranger(7)
    stored(group)
    for other in (B, C):
        group.receive(other, said(RESUME, 1, 0, 0, 0, 0))
    for view in range(1, 9):
        clock = 5 * view
        join = Content("@join", b"", (), 9000, joiner, b"")
        group.receive(B, said(PROPOSE, view, clock, 0, join))
        group.reached(joiner, True)
        group.receive(joiner, said(READY, view, 0, 0, (B,)))
        entry = (clock << 4 | 1, ABANDONED, join, (), ())
        group.receive(B, said(INSTALL, view, clock, 0, (7, None, (), (entry,), view, 0)))
        stored(group)
        assert group.view.number == view + 1
        assert joiner not in group.acquaintances
    assert group._lines[joiner].received == 8


def test_of_those_who_were_never_let_in_the_latest_are_remembered(monkeypatch):
    monkeypatch.setattr(durable_line, "FORMER_MAX", 3)
    lines = durable_line.Lines()
    for member in (A, *map(stranger, range(5)), B):
        lines.of(member)
    lines.keep({A, B})
    assert list(lines) == [A, *map(stranger, (2, 3, 4)), B]


def test_whoever_was_out_long_ago_is_told_so():
    """What was between the two is not here any more: no line, and an answer no larger."""
    group = DurableGroup(Group.within(A, View(9, (A, B)), GroupConfig()), None)
    stored(group)
    group.receive(stranger(1), said(RESUME, 3, 0, 0, 12, 0))
    group.receive(stranger(1), said(SUSPECT, 3, 1, 0, 1, 0, 0, 0))
    group.receive(stranger(1), said(MARK, 3, 1, 0))
    told = [o.message for o in stored(group) if isinstance(o, Send) and o.to == stranger(1)]
    assert [m.kind for m in told] == [RESUME, EXPELLED]
    assert stranger(1) not in group._lines
