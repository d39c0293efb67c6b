"""What a group refuses, what it bounds, and that copies of it are copies."""

from contextlib import suppress
from random import Random

import pytest

from consensus.core import message_kinds as kinds
from consensus.core.config import (
    BACKLOG_MAX,
    BODY_SIZE_MAX,
    CLOCK_STEP_MAX,
    DEPARTURES_MAX,
    HOLD_FACTOR,
    MARK_STEP_MAX,
    STOPPED_MAX,
    WINDOW_BYTES,
    GroupConfig,
)
from consensus.core.engine.group import Group
from consensus.core.errors import GroupBusy, GroupClosed, GroupError, GroupSuspended, MessageError
from consensus.core.messages import decode_untrusted, encode
from consensus.core.numbers import RANK_BITS
from consensus.core.outputs import Accused, Decided, Installed, Send, VoteWanted
from consensus.core.types import KICK, Content, Member, Outcome, ProposalId, Vote
from consensus.core.view import View
from tests.consensus.core.test_messages import MESSAGES
from tests.support.messages import message as said
from tests.support.scripts.schedule import Schedule

A, B, C = (Member(bytes([i]) * 32, i) for i in (1, 2, 3))
APP = Content("app", b"body")


def group_of(me=A, members=(A, B, C), **options):
    config = GroupConfig(kicks_liars=False, **options)
    group = Group.within(me, View(1, members, config.casting_vote), config)
    group.poll()
    return group


def accusations(group):
    return [(o.member, o.what) for o in group.poll() if isinstance(o, Accused)]


def sends(group, kind):
    return [o for o in group.poll() if isinstance(o, Send) and o.message.kind == kind]


def key(clock, rank):
    return clock << RANK_BITS | rank


def propose(clock, content=APP):
    return said(kinds.PROPOSE, 1, clock, 0, content)


def vote(*keys):
    return said(kinds.VOTE, 1, 5, 0, keys)


REFUSED = [
    ("clock went back", [propose(3), propose(3)]),
    ("clock went back", [propose(3), said(kinds.MARK, 1, 2, 0)]),
    ("clock leapt", [propose(CLOCK_STEP_MAX + 1)]),
    ("mark went back", [said(kinds.MARK, 1, 1, 5), said(kinds.MARK, 1, 1, 4)]),
    ("second vote", [propose(1), said(kinds.VOTE, 1, 1, 0, (key(1, 1),))]),
    ("second vote", [vote(key(2, 2)), said(kinds.ANSWER, 1, 5, 0, key(2, 2), b"")]),
    ("second vote", [vote(key(2, 2), key(2, 2))]),
    ("second vote", [said(kinds.REJECT, 1, 5, 0, key(2, 2), ""), vote(key(2, 2))]),
    ("vote on no proposal", [vote(key(2, 0))]),
    ("vote on no proposal", [vote(key(2, 7))]),
    ("vote before its proposal", [said(kinds.VOTE, 1, 1, 0, (key(2, 2),))]),
    ("false note", [said(kinds.NOTED, 1, 5, 0, key(2, 2), 1, "")]),
    ("mark leapt", [said(kinds.MARK, 1, 1, MARK_STEP_MAX + 1)]),
    ("went back to an older view", [said(kinds.MARK, 2, 1, 0), said(kinds.MARK, 1, 1, 0)]),
    ("not for a member", [said(kinds.READY, 1, 0, 0, (A,))]),
    ("not for a member", [said(kinds.DECISION, 1, 0, 0, 1, (16, 1, Content("work"), (), ()))]),
    ("not for a member", [said(kinds.SNAPSHOT, 1, 0, 0, (B,), 1, 16, b"", ())]),
    ("false note", [said(kinds.NOTED, 1, 5, 0, key(2, 2), 9, "")]),
    ("suspects nobody there", [said(kinds.SUSPECT, 1, 0, 0, 0b1000, 0, 0, 0)]),
    ("suspects nobody there", [said(kinds.SUSPECT, 1, 0, 0, 0b010, 0, 0, 0)]),
    ("suspects nobody there", [said(kinds.SUSPECT, 1, 0, 0, 0, 0, 0b010, 0)]),
    ("suspects nobody there", [said(kinds.SUSPECT, 1, 0, 0, 0, 0, 0, 0b1000)]),
    ("asks for what nobody proposed", [said(kinds.STALL, 1, 0, 0, key(3, 1), 1)]),
    ("asks for what nobody proposed", [said(kinds.STALL, 1, 0, 0, key(3, 9), 1)]),
    ("somebody else's ballot", [said(kinds.PREPARE, 1, 0, 0, 1 << RANK_BITS | 2)]),
    (
        "somebody else's ballot",
        [said(kinds.ACCEPT, 1, 0, 0, 1 << RANK_BITS, (7, None, (), (), 0, 0))],
    ),
    ("impossible value", [said(kinds.ACCEPT, 1, 0, 0, 17, (7, None, (), (), 5, 0))]),
    ("impossible value", [said(kinds.ACCEPT, 1, 0, 0, 17, (3, None, (), (), 0, 4))]),
    ("impossible value", [said(kinds.INSTALL, 1, 0, 0, (15, None, (), (), 0, 0))]),
    ("impossible membership proposal", [propose(1, Content(KICK, subject=B))]),
    ("impossible membership proposal", [propose(1, Content("@leave", subject=A))]),
]


@pytest.mark.parametrize(("what", "messages"), REFUSED, ids=range(len(REFUSED)))
def test_what_no_honest_member_sends_is_refused(what, messages):
    group = group_of()
    for message in messages:
        group.receive(B, message)
    assert accusations(group) == [(B, what)]


def test_refused_messages_change_nothing_but_the_accusation():
    group = group_of()
    before = group.view, group.index, group.wedged
    for _, messages in REFUSED:
        group.receive(B, messages[-1])
    assert (group.view, group.index) == before[:2]


def test_a_note_that_names_its_receiver_is_its_sender_s_word_alone():
    """Whoever sent it may have believed a liar's note, so it is accused of nothing (D57)."""
    group = group_of()
    group.receive(C, propose(2))
    group.receive(B, said(kinds.NOTED, 1, 5, 0, key(2, 2), 0, "told so"))
    assert group._ballots[key(2, 2)].reasons == {1: "told so"}
    outputs = group.poll()
    assert not [output for output in outputs if isinstance(output, Accused)]
    told = {o.message.rejecter for o in outputs if isinstance(o, Send)}
    assert told == {1}, "nor does it name itself, for which it would be accused"


def test_a_liar_is_answered_with_a_kick_when_a_second_member_has_seen_it():
    """KT1: alone, a member only says that it does not agree with the other (S3)."""
    config = GroupConfig()
    group = Group.within(A, View(1, (A, B, C)), config)
    for _ in range(3):
        group.receive(B, vote(key(2, 0)))
    said_by_it = [o.message for o in group.poll() if isinstance(o, Send) and o.to == C]
    assert [message.kind for message in said_by_it] == [kinds.SUSPECT]
    assert said_by_it[0].disputed == 0b010
    for _ in range(2):
        group.receive(C, said(kinds.SUSPECT, 1, 0, 0, 0, 0, 0, 0b010))
    proposals = sends(group, kinds.PROPOSE)
    assert {send.to for send in proposals} == {B, C}
    assert {send.message.content.kind for send in proposals} == {KICK}
    assert {send.message.content.subject for send in proposals} == {B}
    assert len(proposals) == 2  # once, however often it lies


def test_a_liar_is_answered_with_a_kick_at_once_where_one_is_enough():
    group = Group.within(A, View(1, (A, B, C)), GroupConfig(kicks_need_two=False))
    group.receive(B, vote(key(2, 0)))
    assert {send.message.content.subject for send in sends(group, kinds.PROPOSE)} == {B}


def test_rejecting_ones_own_kick_does_not_count():
    group = group_of()
    group.kick(B)
    group.receive(B, said(kinds.REJECT, 1, 1, 0, key(1, 0), "no"))
    assert accusations(group) == [(B, "rejected its own kick")]


def mutated(value, random):
    """The same shape with one number, somewhere, replaced."""
    if isinstance(value, tuple) and value:
        at = random.randrange(len(value))
        return (*value[:at], mutated(value[at], random), *value[at + 1 :])
    if isinstance(value, int):
        return random.choice((0, 1, 2, 3, 7, 15, 16, 17, 33, value + 1, max(value - 1, 0)))
    return value


def test_nothing_a_message_holds_makes_a_group_raise():
    """Messages of real runs with a number changed, as far as they decode, whoever sends them."""
    random = Random(1)
    taken = accused = 0
    for seed in range(24):
        schedule = Schedule(seed, 3, changes=seed % 2 == 1)
        for _ in range(100):
            schedule.step()
            for (sender, receiver), lane in sorted(schedule.lanes.items()):
                if not lane or receiver in schedule.dead or random.random() < 0.6:
                    continue
                changed = mutated(lane[random.randrange(len(lane))], random)
                with suppress(MessageError):
                    message = decode_untrusted(b"".join(encode(changed)))
                    group = schedule.lives[receiver].group.fork()
                    group.receive(random.choice((sender, schedule.founders[0])), message)
                    accused += bool(accusations(group))
                    taken += 1
    assert taken > 1000
    assert 100 < accused < taken


def test_strangers_are_ignored_or_told_off():
    group = group_of()
    stranger = Member(b"s" * 32, 9)
    for message in MESSAGES:
        for view in (1, 9):
            group.receive(stranger, message._replace(view=view))
    assert group.poll() == []
    usurped = (0b001, stranger, (), (), 0, 0)
    group.receive(stranger, said(kinds.INSTALL, 1, 0, 0, usurped))
    assert group.poll() == []
    group.receive(stranger, said(kinds.PREPARE, 0, 1, 0, 17))
    (told,) = group.poll()
    assert told.message.kind == kinds.EXPELLED


# -- bounds ------------------------------------------------------------------------------------


def test_own_window_and_backlog():
    group = group_of()
    share = group.config.window_total // 3
    for _ in range(share + 5):
        group.propose(APP)
    assert len(sends(group, kinds.PROPOSE)) == 2 * share
    for _ in range(BACKLOG_MAX - 5):
        group.propose(APP)
    with pytest.raises(GroupBusy):
        group.propose(APP)


def test_own_window_in_bytes():
    group = group_of()
    large = Content("app", bytes(BODY_SIZE_MAX))
    for _ in range(60):
        group.propose(large)
    assert len(sends(group, kinds.PROPOSE)) == 2 * (WINDOW_BYTES // 3 // (BODY_SIZE_MAX + 64))


@pytest.mark.parametrize("body", [b"", bytes(BODY_SIZE_MAX)], ids=["count", "bytes"])
def test_somebody_elses_window(body):
    group = group_of()
    for clock in range(1, 1000):
        group.receive(B, propose(clock, Content("app", body)))
        if accused := accusations(group):
            break
    assert accused == [(B, "window exceeded")]
    share = group.config.window_total // 3
    assert clock <= HOLD_FACTOR * (share + DEPARTURES_MAX) + 1


def test_votes_that_come_before_proposals():
    group = group_of()
    count = 2 * (group.config.window_total + 3 * DEPARTURES_MAX)
    keys = tuple(key(clock, 2) for clock in range(1, count + 1))
    group.receive(B, said(kinds.VOTE, 1, count + 5, 0, keys))
    assert accusations(group) == []
    group.receive(B, said(kinds.VOTE, 1, count + 5, 0, (key(count + 1, 2),)))
    assert accusations(group) == [(B, "vote on no proposal")]


def test_stopped_lanes():
    group = group_of()
    for clock in range(STOPPED_MAX):
        group.receive(B, said(kinds.MARK, 2, clock, 0))
    out = group.poll()
    assert [o.message.kind for o in out] == [kinds.ASK]
    group.receive(B, said(kinds.MARK, 2, STOPPED_MAX, 0))
    assert accusations(group) == [(B, "too much of a newer view")]


def drive(groups, rounds, propose_at=()):
    """Deliver everything, everybody accepting; `propose_at` proposes in every round."""
    decided = dict.fromkeys(groups, 0)
    for _ in range(rounds):
        for member in propose_at:
            groups[member].propose(APP)
        busy = True
        while busy:
            busy = False
            for member, group in groups.items():
                for output in group.poll():
                    busy = True
                    if isinstance(output, Send):
                        groups[output.to].receive(member, output.message)
                    elif isinstance(output, VoteWanted):
                        group.answer(output.proposal.id, Vote(True))
                    elif isinstance(output, Decided):
                        decided[member] += 1
    return decided


@pytest.mark.parametrize("proposers", [(A,), (B,), (A, B, C)])
def test_memory_stays_bounded_and_the_window_never_closes(proposers):
    """Only one proposes: the others have nothing to say but marks, and say them in time."""
    groups = {m: group_of(m) for m in (A, B, C)}
    rounds = 400
    decided = drive(groups, rounds, proposers)
    assert set(decided.values()) == {rounds * len(proposers)}
    for group in groups.values():
        assert len(group._ballots) <= 2 * group.config.window_total
        assert not group._backlog
        assert not group._order.queue


def test_pair_forgets_at_once():
    groups = {A: Group.pair(A, B, GroupConfig()), B: Group.pair(B, A, GroupConfig())}
    decided = drive(groups, 600, (A, B))
    assert set(decided.values()) == {1200}
    assert all(not group._ballots and not group._order.log for group in groups.values())


# -- the caller's mistakes ---------------------------------------------------------------------


def test_what_a_caller_may_not_do():
    group = group_of()
    for content in (
        Content("@join"),
        Content("@x"),
        Content(""),
        Content("k" * 65),
        Content("app", bytes(BODY_SIZE_MAX + 1)),
        Content("app", blobs=((b"short", 1),)),
        Content("app", deadline_ms=0),
        Content("app", subject=B),
    ):
        with pytest.raises(GroupError):
            group.propose(content)
    for wrong in (lambda: group.kick(A), lambda: group.kick(Member(b"x" * 32, 1)),
                  lambda: group.kick(B, "r" * 300), lambda: group.sponsor(B, b""),
                  lambda: group.sponsor(Member(b"x" * 32, 1), bytes(2000))):  # fmt: skip
        with pytest.raises(GroupError):
            wrong()
    with pytest.raises(GroupError):
        group.answer(ProposalId(1, 1, B), Vote(True, bytes(2000)))
    assert group.poll() == []


def test_who_may_not_propose():
    joiner = Group.joining(A, B, GroupConfig())
    with pytest.raises(GroupClosed):
        joiner.propose(APP)
    group = group_of()
    group.link(B, False)
    group.propose(APP)
    group.link(C, False)
    with pytest.raises(GroupSuspended):
        group.propose(APP)
    group.link(C, True)
    group.propose(APP)


@pytest.mark.parametrize("options", [{"window_total": 0}, {"window_total": 257}, {"join_s": 0}])
def test_config(options):
    with pytest.raises(GroupError):
        GroupConfig(**options)


def test_one_alone_decides_at_once():
    group = Group.found(A, GroupConfig())
    handle = group.propose(APP)
    outputs = group.poll()
    assert [type(o) for o in outputs] == [Installed, Decided]
    assert outputs[1].handle == handle
    assert outputs[1].decision.outcome == Outcome.COMMITTED
    assert outputs[1].decision.index == 1


# -- exploration -------------------------------------------------------------------------------


def test_forks_are_equal_and_independent():
    """At every step of a schedule a fork equals its original; then the two part, and an input to
    one does not show in the other."""
    for seed in range(6):
        schedule = Schedule(seed, 3, changes=seed % 2 == 1)
        for _ in range(120):
            schedule.step()
            member = Random(seed).choice(sorted(schedule.lives))
            group = schedule.lives[member].group
            twin = group.fork()
            before = group.state()
            assert twin.state() == before
            assert hash(twin.state()) == hash(before)
            twin.link(schedule.founders[0], False)
            twin.link(schedule.founders[1], False)
            for timer in list(schedule.lives[member].timers):
                twin.fire(timer)
            with suppress(GroupError):
                twin.propose(APP)
            twin.poll()
            assert group.state() == before


def test_state_covers_every_attribute():
    """What `state` leaves out is either a part it asks for or follows from the rest."""
    group = group_of()
    derived = {"config", "_others", "_rank_of", "_full", "_bit", "_number", "_window",
               "_window_bytes", "_mark_every", "_held_max", "_held_bytes_max",
               "_early_max"}  # fmt: skip
    own = {"_out", "_accepts", "_committed_changes", "_ready", "_feeds", "_backlog", "_ballots",
           "_sponsored", "_stopped", "_order", "_matrix", "_synod", "_open",
           "_open_bytes", "_leases", "_reads", "_stall"}  # fmt: skip
    assert set(group._APART) == derived | own
    assert set(group._APART) <= set(group.__dict__)
