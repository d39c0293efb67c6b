"""Reads and leases: what is asked, granted, refused and bounded."""

from typing import Any

import pytest

from consensus.core import message_kinds as kinds
from consensus.core.config import LEASE_MS_MAX, GroupConfig
from consensus.core.engine.group import Group
from consensus.core.engine.reads import READS_MAX
from consensus.core.errors import GroupBusy, GroupClosed, GroupError, GroupSuspended
from consensus.core.message_kinds import Message
from consensus.core.numbers import RANK_BITS
from consensus.core.outputs import (
    Accused,
    Arm,
    LeaseAsked,
    LeaseGranted,
    Readable,
    Send,
    VoteWanted,
)
from consensus.core.types import Content, Member, Timer, Vote
from consensus.core.view import View
from consensus.machine.instant import Instant, Span
from consensus.machine.lease_clock import CLOCK_RATE_BOUND, GRANT_LOOK_S, LeaseClock, ReadReady
from tests.support.messages import message as said

A, B, C = (Member(bytes([i]) * 32, i) for i in (1, 2, 3))


def member(me: Member = A, members: tuple[Member, ...] = (A, B, C), **options: float) -> Group:
    config = GroupConfig(kicks_liars=False, **options)  # type: ignore[arg-type]
    group = Group.within(me, View(1, members, config.casting_vote), config)
    group.poll()
    return group


def of(group: Group, kind: type) -> list[tuple]:  # type: ignore[type-arg]
    return [output for output in group.poll() if isinstance(output, kind)]


def sent(group: Group, kind: int) -> list[tuple[Member, Any]]:
    sends = [output for output in group.poll() if isinstance(output, Send)]
    return [(send.to, send.message) for send in sends if send.message.kind == kind]


def lease(number: int, ms: int = 250) -> Message:
    return said(kinds.LEASE, 1, 0, 0, number, ms)


def ask(number: int, ms: int = 250) -> Message:
    return said(kinds.LEASE_ASK, 1, 0, 0, number, ms)


def test_reads_of_one_turn_share_one_question() -> None:
    group = member()
    handles = [group.read(False) for _ in range(10)]
    assert len(sent(group, kinds.LEASE_ASK)) == 2
    later = group.read(False)
    assert not sent(group, kinds.LEASE_ASK), "one question at a time"
    group.receive(B, lease(1))
    told = group.poll()
    assert [o for o in told if isinstance(o, LeaseGranted)] == [LeaseGranted(1, 0.25)]
    done = [o for o in told if isinstance(o, Readable)]
    assert done == [Readable(t, 0) for t in handles] + [Readable(later, 1)]


def test_without_leases_every_read_asks_after_it_began() -> None:
    group = member(lease_s=0.0)
    first = group.read(False)
    group.poll()
    second = group.read(False)
    group.receive(B, lease(1, 0))
    told = group.poll()
    assert [o for o in told if isinstance(o, Readable)] == [Readable(first, 0)]
    assert [o for o in told if isinstance(o, LeaseAsked)] == [LeaseAsked(2)]
    assert not [o for o in told if isinstance(o, LeaseGranted)]
    group.receive(C, lease(2, 0))
    assert of(group, Readable) == [Readable(second, 0)]
    assert group.lease == 0


def test_the_shortest_time_counts() -> None:
    group = member(members=(A, B, C, Member(b"d" * 32, 4), Member(b"e" * 32, 5)))
    group.read(False)
    group.poll()
    group.receive(B, lease(1, 250))
    group.receive(C, lease(1, 40))
    assert of(group, LeaseGranted) == [LeaseGranted(1, 0.04)]


def test_a_grantor_grants_no_longer_than_its_own_configuration_says() -> None:
    group = member(lease_s=0.1)
    group.receive(B, ask(5, LEASE_MS_MAX))
    told = group.poll()
    (answer,) = [o for o in told if isinstance(o, Send)]
    assert answer == Send(B, said(kinds.LEASE, 1, 0, 0, 5, 100))
    assert [o.delay_s for o in told if isinstance(o, Arm)] == [0.1]


def test_who_has_promised_grants_nothing() -> None:
    group = member()
    group.receive(B, said(kinds.PREPARE, 1, 0, 0, 17))
    assert group.wedged
    group.poll()
    group.receive(C, ask(1))
    assert not sent(group, kinds.LEASE)


def test_who_has_promised_reads_by_no_lease() -> None:
    group = member(B)
    group.read(False)
    group.poll()
    group.receive(A, lease(1))
    assert group.lease == 1
    group.poll()
    group.receive(A, said(kinds.PREPARE, 1, 0, 0, 16))
    assert group.lease == 0
    group.poll()
    group.read(True)
    assert not of(group, Readable)
    group.renew_lease()
    assert not group.poll()


def test_a_late_timer_ends_no_newer_grant() -> None:
    group = member()
    group.receive(B, ask(1))
    (first,) = of(group, Arm)
    group.receive(B, ask(2))
    (second,) = of(group, Arm)
    assert first.timer != second.timer
    group.fire(first.timer)
    group.receive(C, said(kinds.PREPARE, 1, 0, 0, 18))
    assert [m.holders for _, m in sent(group, kinds.LEASES)] == [0b10], "the second still runs"
    group.fire(second.timer)
    assert [m.holders for _, m in sent(group, kinds.LEASES)] == [0, 0]


def test_a_member_that_is_a_quorum_needs_no_lease() -> None:
    for group in (member(members=(A,)), member(members=(A, B))):
        assert group.always_leased
        handle = group.read(False)
        assert of(group, Readable) == [Readable(handle, 0)]
    group = member(members=(A, B), casting_vote=False)
    group.read(False)
    assert len(sent(group, kinds.LEASE_ASK)) == 1


def test_what_is_refused() -> None:
    group = member()
    group.receive(B, lease(1))
    assert of(group, Accused) == [Accused(B, "answers what was not asked")]
    group.link(B, False)
    group.link(C, False)
    with pytest.raises(GroupSuspended):
        group.read(False)
    with pytest.raises(GroupClosed):
        Group.pair(A, B, GroupConfig()).read(False)
    with pytest.raises(GroupClosed):
        Group.joining(A, B, GroupConfig()).read(False)
    with pytest.raises(GroupError):
        GroupConfig(lease_s=LEASE_MS_MAX / 1000 + 0.001)
    with pytest.raises(GroupError):
        GroupConfig(lease_s=-1)


def test_waiting_reads_are_bounded_and_can_be_given_up() -> None:
    group = member()
    handles = [group.read(False) for _ in range(READS_MAX)]
    with pytest.raises(GroupBusy):
        group.read(False)
    for handle in handles[1:]:
        group.cancel_read(handle)
    group.poll()
    group.receive(C, lease(1))
    assert of(group, Readable) == [Readable(handles[0], 0)]


def test_copies_of_waiting_reads_and_grants_are_copies() -> None:
    group = member()
    group.read(False)
    group.receive(B, ask(1))
    twin = group.fork()
    assert twin.state() == group.state()
    twin.poll()
    twin.receive(B, lease(1))
    twin.receive(C, ask(9))
    assert twin.state() != group.state()
    group.poll()
    group.receive(B, lease(1))
    assert [type(o) for o in group.poll()] == [LeaseGranted, Readable]


def at(now_s: float) -> Instant:
    return Instant(now_s, now_s, now_s)


def test_the_clock_counts_from_the_question_and_less_than_the_grantor() -> None:
    clock = LeaseClock()
    group = member()
    begun = clock.begin(group, at(10.0))
    assert not isinstance(begun, ReadReady)
    group.poll()
    clock.asked(1, at(10.0))
    group.receive(B, lease(1))
    clock.granted(1, 0.25)
    assert clock.span == Span(at(10.0), 0.25 * (1 - CLOCK_RATE_BOUND))
    assert clock.ready(begun, 0) == ReadReady(begun, None)
    group.poll()
    assert clock.begin(group, at(10.1)) == ReadReady(0, clock.span)
    assert clock.begin(group, at(10.2)) == ReadReady(0, clock.span, asks=True)
    assert len(sent(group, kinds.LEASE_ASK)) == 2
    assert clock.begin(group, at(10.21)) == ReadReady(0, clock.span), "asked once"
    again = clock.begin(group, at(10.25))
    assert not isinstance(again, ReadReady), "the time is over"
    clock.granted(7, 100.0)
    assert not clock.span.runs(at(11.0)), "an answer to no question of these counts for nothing"


def test_a_read_that_began_by_a_lease_is_judged_by_that_one() -> None:
    clock = LeaseClock()
    group = member()
    clock.begin(group, at(0.0))
    group.poll()
    clock.asked(1, at(0.0))
    group.receive(B, lease(1))
    clock.granted(1, 0.25)
    span = clock.span
    group.receive(B, said(kinds.PROPOSE, 1, 1, 0, Content("work")))
    (wanted,) = [o for o in group.poll() if isinstance(o, VoteWanted)]
    group.answer(wanted.proposal.id, Vote(True))
    handle = clock.begin(group, at(0.1))
    assert not isinstance(handle, ReadReady), "what it accepted is open"
    clock.asked(2, at(0.2))
    clock.granted(2, 0.25)
    assert clock.ready(handle, 1) == ReadReady(handle, span)
    no_more = clock.ready(99, 1).span
    assert no_more is not None
    assert not no_more.runs(at(0.0)), "of a lease that is no more"


BEGAN = Instant(100.0, 20.0, 70.0)
SPAN = Span(BEGAN, 1.0)


@pytest.mark.parametrize(
    ("what", "boot_s", "awake_s", "raw_s", "runs", "over"),
    [
        ("nothing has passed", 0.0, 0.0, 0.0, True, False),
        ("a moment less", 0.99, 0.99, 0.99, True, False),
        ("all of it", 1.0, 1.0, 1.0, False, True),
        ("it slept", 1.5, 0.5, 0.5, False, False),
        ("slewed to run slower", 0.917, 0.917, 1.001, False, False),
        ("slewed to run faster", 1.05, 1.05, 0.97, False, False),
        ("slewed to run slower, and slept", 0.96, 0.86, 0.93, False, False),
        ("one of them stands", 0.5, 1.0, 0.5, True, False),
    ],
)
def test_a_holder_counts_the_most_and_a_grantor_the_least(
    what: str, boot_s: float, awake_s: float, raw_s: float, runs: bool, over: bool
) -> None:
    now = Instant(BEGAN.boot_s + boot_s, BEGAN.awake_s + awake_s, BEGAN.raw_s + raw_s)
    assert SPAN.runs(now) is runs, what
    assert (SPAN.left_s(now) <= 0) is over, what


def test_without_clocks_nothing_is_leased() -> None:
    clock = LeaseClock()
    group = member()
    handle = clock.begin(group, None)
    assert not isinstance(handle, ReadReady)
    group.poll()
    group.receive(B, lease(1))
    (granted, readable) = group.poll()
    assert (granted, readable) == (LeaseGranted(1, 0.25), Readable(handle, 0))
    clock.granted(1, 0.25)
    assert clock.leased(1, None) is None
    assert not isinstance(clock.begin(group, None), ReadReady), "it asks again"


def test_a_grant_is_over_when_each_clock_has_counted_it() -> None:
    clock = LeaseClock()
    first, second = Timer("lease", 1 << RANK_BITS | 2), Timer("lease", 2 << RANK_BITS | 2)
    clock.grants(first, 0.25, at(5.0))
    assert clock.left_s(first, Instant(5.25, 5.25, 5.2)) == pytest.approx(0.05)
    assert clock.left_s(first, Instant(5.25, 5.25, 5.2499999)) == GRANT_LOOK_S
    assert clock.left_s(first, at(5.25)) == 0.0
    clock.grants(second, 0.25, at(5.1))
    assert clock.left_s(first, at(5.2)) == 0.0, "the engine knows that another one replaced it"
    assert clock.left_s(second, at(5.2)) == pytest.approx(0.15)
