"""Durable groups: sleeping at any moment, alone or all at once, changes nothing but the time.

What the schedules check at every step is what `tests.support.scripts.schedule` checks (one order,
one outcome, vetoes, views, nobody accused), and that nothing is reported before it is on disk.
"""

import pytest

from consensus.core.config import GroupConfig
from consensus.core.durable import durable_group
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine import state_codec
from consensus.core.engine.group import Group
from consensus.core.engine.state_codec import LogDamaged
from consensus.core.message_kinds import (
    CLASSES,
    LEASE_ASK,
    MARK,
    PROPOSE,
    REJECT,
    RESUME,
    SEEN,
)
from consensus.core.numbers import RANK_BITS
from consensus.core.outputs import Accused, Arm, Ended, Lost, Persist, Send
from consensus.core.types import Content, Member, Timer, Vote
from consensus.core.view import View
from tests.support.messages import message as said
from tests.support.scripts.durably import DurableSchedule
from tests.support.scripts.reported import Violation

A, B, C = (Member(bytes([n]) * 32, n) for n in (1, 2, 3))

# (members, casting vote, many changes, turns to a checkpoint, messages to a SEEN, schedules)
BLOCKS = [
    (1, True, False, 5, 64, 15),
    (2, True, False, 7, 3, 15),
    (3, True, False, 2048, 64, 15),
    (3, False, False, 5, 1, 15),
    (3, True, True, 20, 5, 15),
    (4, True, True, 5, 2, 10),
]


def sweep(block):
    size, casting_vote, changes, _, _, count = block
    slept = decided = 0
    for seed in range(count):
        config = GroupConfig(casting_vote=casting_vote, asks_for_snapshots=seed % 2 == 0)
        sleeps = (0.02, 0.06)[seed % 2]
        schedule = DurableSchedule(seed, size, config, changes=changes, sleeps=sleeps)
        try:
            schedule.run(120)
        except Violation as error:
            raise AssertionError(f"seed {seed} of {block}: {error}") from error
        slept += schedule.slept
        decided += len(schedule.reported.sequence)
    return slept, decided


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: "-".join(str(part) for part in b))
def test_who_sleeps_goes_on_where_it_was(block, monkeypatch):
    monkeypatch.setattr(durable_group, "CHECKPOINT_EVERY", block[3])
    monkeypatch.setattr(durable_group, "SEEN_EVERY", block[4])
    slept, decided = sweep(block)
    assert slept > block[-1]  # members do fall asleep,
    assert decided > block[-1]  # and decide


# -- broken on purpose: each rule is needed -------------------------------------------------------


def broken(monkeypatch, block):
    monkeypatch.setattr(durable_group, "SEEN_EVERY", 2)
    with pytest.raises((AssertionError, LogDamaged, IndexError)):
        sweep(block)


def test_without_holding_back_what_is_not_on_disk_a_schedule_fails(monkeypatch):
    real = DurableGroup.poll

    def poll(self):
        self._stored = self.seq + 1
        return real(self)

    monkeypatch.setattr(DurableGroup, "poll", poll)
    broken(monkeypatch, (3, True, False, 2048, 2, 60))


def test_without_counting_what_was_received_a_schedule_fails(monkeypatch):
    real = DurableGroup._say_resume

    def say(self, member, line, *, answer):
        received, line.received = line.received, max(0, line.received - 1)
        real(self, member, line, answer=answer)
        line.received = received

    monkeypatch.setattr(DurableGroup, "_say_resume", say)
    broken(monkeypatch, (3, True, False, 2048, 2, 60))


def test_without_dropping_what_comes_before_resume_a_schedule_fails(monkeypatch):
    def began(self, member):
        line = self._lines.get(member)
        if line is not None:
            self._say_resume(member, line, answer=False)

    monkeypatch.setattr(DurableGroup, "lane_began", began)
    broken(monkeypatch, (3, True, False, 2048, 2, 60))


def test_forgetting_what_is_received_but_not_on_disk_a_schedule_fails(monkeypatch):
    real = DurableGroup.receive

    def receive(self, sender, message):
        real(self, sender, message)
        line = self._lines.get(sender)
        if line is not None and line.open and line.received - line.seen >= 2:
            line.seen = line.received
            self._control.append(Send(sender, said(SEEN, *self._head(), line.received)))

    monkeypatch.setattr(DurableGroup, "receive", receive)
    broken(monkeypatch, (3, True, False, 2048, 2, 60))


# -- one group at a time ----------------------------------------------------------------------


def fresh(me=A, members=(A, B, C)):
    return DurableGroup(Group.within(me, View(1, members), GroupConfig()), None)


def stored(group):
    """Poll and confirm until nothing is wanted: all outputs, and the records."""
    outputs, records, checkpoint = [], [], None
    while some := group.poll():
        for output in some:
            outputs.append(output)
            if isinstance(output, Persist):
                records.append((output.seq, output.record))
                checkpoint = output.checkpoint or checkpoint
                group.persisted(output.seq)
    return outputs, records, checkpoint


def again(records, checkpoint=None, me=A):
    def begin():
        return Group.within(me, View(1, (A, B, C)), GroupConfig())

    return DurableGroup.resume(me, GroupConfig(), begin, None, checkpoint, records)


def busy():
    """A group with something of everything, and what was written of it."""
    group = fresh()
    _, records, _ = stored(group)
    group.propose(Content("app", b"mine", ((bytes(32), 5),)))
    group.receive(B, said(PROPOSE, 1, 5, 0, Content("app", b"theirs")))
    group.receive(C, said(REJECT, 1, 6, 0, 5 << 4 | 1, "no"))
    group.link(C, False)
    records += stored(group)[1]
    group.receive(B, said(PROPOSE, 1, 7, 0, Content("app", b"another")))
    group.answer(group.unanswered()[0].proposal.id, Vote(False, b"", "why"))
    group.kick(B, "late")
    group.fire(Timer("settle"))
    records += stored(group)[1]
    return group, records


def test_replaying_gives_the_very_same_group():
    group, records = busy()
    twin = again(records)
    assert twin.state() == group.state()
    assert {m: (li.base, list(li.kept), li.received) for m, li in twin._lines.items()} == {
        m: (li.base, list(li.kept), li.received) for m, li in group._lines.items()
    }
    assert twin._timers == group._timers


def test_a_checkpoint_gives_the_very_same_group():
    group, records = busy()
    twin = again([], group._checkpoint())
    assert twin.state() == group.state()
    assert twin.group.__dict__.keys() == group.group.__dict__.keys()
    assert twin._timers == group._timers
    assert again(records, group._checkpoint()).state() == group.state()  # older records skipped


def test_messages_out_of_a_file_have_their_classes_again():
    group, _ = busy()
    group.receive(B, said(MARK, 2, 9, 0))  # of a view to come: the lane stops
    twin = again([], group._checkpoint())
    lanes = [*twin.group._stopped.values(), *(line.kept for line in twin._lines.values())]
    kept = [message for lane in lanes for message in lane]
    assert len(twin.group._stopped) == 1 < len(kept)
    assert all(type(message) is CLASSES[message[0]] for message in kept)


def test_nothing_leaves_before_it_is_on_disk():
    group = fresh()
    stored(group)
    group.propose(Content("app", b"x"))
    (persist,) = group.poll()
    assert isinstance(persist, Persist)
    assert group.poll() == []
    assert not group.caught_up
    group.persisted(persist.seq)
    assert [type(o) for o in group.poll() if not isinstance(o, Arm)] == [Send, Send]


def test_a_grant_runs_anew_in_full_after_a_restart():
    group = fresh()
    _, records, _ = stored(group)
    group.receive(B, said(LEASE_ASK, 1, 0, 0, 1, 250))
    records += stored(group)[1]
    grant = Arm(Timer("lease", 1 << RANK_BITS | 1), 0.25)
    group = again(records)
    assert grant in group.poll()
    assert set(group.group._leases.grants) == {1}


def test_who_answers_questions_asks_them_again():
    group = fresh()
    stored(group)
    group.receive(B, said(PROPOSE, 1, 5, 0, Content("app", b"theirs")))
    _, records, _ = stored(group)
    twin = again([*stored(fresh())[1], *records])
    asked = [o for o in twin.poll() if type(o).__name__ == "VoteWanted"]
    assert [o.proposal.content.body for o in asked] == [b"theirs"]


@pytest.mark.parametrize("where", ["digest", "payload", "missing", "first", "order", "checkpoint"])
def test_a_damaged_log_is_refused(where):
    group, records = busy()
    checkpoint = None
    seq, record = records[-1]
    if where == "digest":
        records[-1] = seq, bytes([record[0] ^ 1]) + record[1:]
    elif where == "payload":
        records[-1] = seq, record[:-1] + bytes([record[-1] ^ 1])
    elif where == "missing":
        del records[-2]
    elif where == "first":
        del records[0]
    elif where == "order":
        records[-1], records[-2] = (seq, records[-2][1]), (seq - 1, record)
        records.reverse()
    else:
        whole = group._checkpoint()
        checkpoint = whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]
    with pytest.raises(LogDamaged):
        again(records, checkpoint)


def test_a_member_started_from_an_old_copy_stops():
    """Others have received more of it than it knows to have sent."""
    group, records = busy()
    sent = group._lines[B].released
    assert sent >= 2
    old = again(records[:1])
    old.receive(B, said(RESUME, 1, 0, 0, sent, 0))
    ends = old.poll()
    assert any(isinstance(o, Lost) and "older" in o.reason for o in ends)
    assert any(isinstance(o, Ended) for o in ends)


@pytest.mark.parametrize("told_by", [RESUME, SEEN])
@pytest.mark.parametrize("more", range(4))
def test_an_old_copy_that_has_much_to_say_is_noticed_too(told_by, more):
    """What it would say in this life does not make up for what it forgot: nothing of it leaves."""
    group, records = busy()
    sent = group._lines[B].released
    old = again(records[:1])
    old.lane_began(B)
    out = [old.poll()]
    for number in range(sent + more):
        old.propose(Content("app", bytes([number])))
        out.append(stored(old)[0])
    assert old._lines[B].released >= sent
    old.receive(B, said(told_by, 1, 0, 0, sent, *([0] if told_by == RESUME else [])))
    out.append(old.poll())
    assert any(isinstance(o, Lost) and "older" in o.reason for o in out[-1])
    assert any(isinstance(o, Ended) for o in out[-1])
    left = [o.message.kind for some in out for o in some if isinstance(o, Send) and o.to == B]
    assert set(left) == {RESUME}


def test_what_a_lane_took_may_be_resumed_in_the_same_life():
    """Twice in one life: what was said between two lanes counts once the second has taken it."""
    group, records = busy()
    group = again(records)
    sent = group._lines[B].sent
    for _ in range(2):
        group.lane_began(B)
        group.receive(B, said(RESUME, 1, 0, 0, group._lines[B].sent, 1))
        group.propose(Content("app", b"more"))
        out = stored(group)[0]
        assert not any(isinstance(o, Lost) for o in out)
    assert group._lines[B].sent == group._lines[B].released > sent


def test_a_stranger_cannot_stop_a_group_that_way():
    group = fresh()
    stored(group)
    group.receive(Member(b"s" * 32, 9), said(RESUME, 1, 0, 0, 1 << 40, 0))
    assert not any(isinstance(o, Lost | Ended) for o in stored(group)[0])


def test_who_was_started_from_an_old_copy_is_lost_to_the_others():
    """What it lacks was forgotten here, for it had said it is on its disk."""
    group = fresh()
    stored(group)
    for number in range(3):
        group.propose(Content("app", bytes([number])))
    stored(group)
    group.receive(B, said(SEEN, 1, 0, 0, 3))
    group.lane_began(B)
    group.receive(B, said(RESUME, 1, 0, 0, 1, 1))
    stored(group)
    assert B in group._gone


def test_each_message_goes_once_and_in_order_over_all_lanes():
    group = fresh()
    stored(group)
    bodies = []
    for number in range(6):
        group.propose(Content("app", bytes([number])))
        bodies += sent_to(B, stored(group)[0])
        if number == 2:
            group.lane_began(B)
            group.poll()
        if number == 4:
            group.receive(B, said(RESUME, 1, 0, 0, 2, 1))  # it has two of the first three
            bodies = bodies[:2] + sent_to(B, stored(group)[0])
    assert bodies == [bytes([number]) for number in range(6)]


def test_an_answer_for_a_lane_that_is_over_is_not_given_on_the_next():
    """B asks; before A has answered the lane begins anew. An answer on the new lane would make B
    send again what A asks for there: B would send it twice."""
    group = fresh()
    stored(group)
    group.propose(Content("app", b"x"))
    stored(group)
    group.receive(B, said(RESUME, 1, 0, 0, 0, 0))
    group.lane_began(B)
    told = [o.message for o in stored(group)[0] if isinstance(o, Send) and o.to == B]
    assert [(message.kind, message.is_answer) for message in told] == [(RESUME, 0)]


def sent_to(member, outputs):
    return [o.message.content.body for o in outputs
            if isinstance(o, Send) and o.to == member and o.message.kind == PROPOSE]  # fmt: skip


def test_a_member_that_takes_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(durable_group, "UNSEEN_MAX", 3)
    group = fresh()
    stored(group)
    for number in range(6):
        group.propose(Content("app", bytes([number])))
    stored(group)
    assert {B, C} == set(group._gone)
    assert len(group._lines[B].kept) <= 4


def test_frozen_values_come_back_as_they_were():
    value = [Content("k", b"", ((bytes(32), 1),), 5, A), (1, (2, None)), {A: Timer("t", 3)}]
    assert state_codec.thaw(state_codec.freeze(value)) == value
    assert type(state_codec.thaw(state_codec.freeze(value))[0].subject) is Member


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xd4\x7f\x00", b"\xc7\x01\x3c\x80"])
def test_bytes_that_are_no_values_are_refused(data):
    with pytest.raises(state_codec.FrozenError):
        state_codec.thaw(data)


def test_what_is_unknown_is_not_frozen():
    with pytest.raises(TypeError, match="not known"):
        state_codec.freeze(Accused)
