"""A node that comes into a group again, or asks again, in one life; in virtual time."""

import pytest

from consensus.core import message_kinds as kinds
from consensus.core.lives import generation
from consensus.core.messages import pack
from consensus.core.outputs import Decided, Expelled, Lost
from consensus.core.types import Content, Outcome, Vote
from consensus.machine.hosted_group import PairEvent, TimedOut
from scenarios.world.network import Link
from tests.support.messages import message
from tests.support.nodes.cast import NUMBER, Cast

SOON_S = 1.0
"""Within this a join that was given up is over for everybody, and the next one succeeds."""


def ask(cast: Cast, name: str, other: str, body: bytes, timeout_s: float = 30.0) -> int:
    content = Content("price", body)
    handle: int = cast.do(name, lambda m, now: m.ask(cast.key(other), content, now, timeout_s))
    return handle


def pair_outputs(cast: Cast, name: str) -> list[object]:
    return [e.output for _, e in cast.hosts[name].events if isinstance(e, PairEvent)]


def answered(cast: Cast, name: str) -> list[bytes]:
    outputs = [o for o in pair_outputs(cast, name) if isinstance(o, Decided) and o.handle]
    return [o.decision.body for o in outputs if o.decision.outcome is Outcome.COMMITTED]


def sponsored(cast: Cast, name: str) -> bool:
    return bool(cast.machine(name)._hosted[NUMBER].group.sponsoring)


@pytest.mark.parametrize("members", ["a", "ab", "abc"])
@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.011, 0.021, 0.031, 0.041, 0.051, 0.061])
def test_a_join_that_is_given_up_is_repeated_soon(members: str, after_s: float) -> None:
    """At whatever step: the snapshot is under way, READY, INSTALL, or it is in already."""
    cast = Cast(members + "j")
    cast.gather(members)
    for time in range(1, 4):
        cast.admit("a", "j")
        if time < 3:
            cast.world.run(for_s=after_s)
            cast.do("j", lambda m, now: m.drop(NUMBER, now))
            cast.until(lambda: not sponsored(cast, "a") and cast.in_view(members), SOON_S)
    cast.until(lambda: cast.in_view(members + "j"), SOON_S)
    assert generation(cast.member_in("j")) == 2


def test_who_gives_up_before_it_is_proposed_is_not_waited_for() -> None:
    """The sponsor hears of the end before it begins: what it sends is answered in that name."""
    cast = Cast("abj")
    cast.gather("ab")
    cast.begin_to_join("a", "j")
    cast.do("j", lambda m, now: m.drop(NUMBER, now))
    cast.world.run(for_s=0.1)
    cast.do("a", lambda m, now: m.sponsor(NUMBER, cast.key("j"), [], now))
    cast.until(lambda: not sponsored(cast, "a") and cast.in_view("ab"), SOON_S)
    cast.admit("a", "j")
    cast.until(lambda: cast.in_view("abj"), SOON_S)


@pytest.mark.parametrize("who", ["a", "c"], ids=["the founder", "who came last"])
def test_whoever_was_removed_for_silence_comes_again_in_the_same_life(who: str) -> None:
    cast = Cast("abc")
    cast.gather("abc")
    rest = "abc".replace(who, "")
    for time in range(1, 4):
        heal = cast.world.cut(who, rest)
        cast.until(lambda: cast.in_view(rest), 10.0)
        heal()
        cast.until(lambda t=time: _ends(cast, who) == t, 10.0)  # type: ignore[misc]
        cast.do(who, lambda m, now: m.drop(NUMBER, now))
        cast.admit(rest[time % 2], who)
        cast.until(lambda: cast.in_view("abc"), SOON_S)
        assert generation(cast.member_in(who)) == time
        handle = cast.propose(who, b"x")
        cast.until(lambda h=handle: cast.outcome(who, h) is not None, SOON_S)  # type: ignore[misc]


def _ends(cast: Cast, name: str) -> int:
    return sum(isinstance(o, Expelled | Lost) for o in cast.outputs(name))


def test_what_was_said_to_an_earlier_time_does_not_reach_the_next() -> None:
    """All that was under way to the member that gave up arrives after it has begun anew."""
    cast = Cast("abj", link=Link(delay_s=0.2))
    cast.gather("ab")
    cast.admit("a", "j")
    feeds = cast.machine("a")._hosted[NUMBER].group
    cast.until(lambda: bool(feeds._feeds))  # Now the snapshot is on its way.
    cast.do("j", lambda m, now: m.drop(NUMBER, now))
    cast.begin_to_join("a", "j")
    group = cast.machine("j")._hosted[NUMBER].group
    cast.world.run(for_s=1.0)
    assert group.view.number == 0
    assert not _ends(cast, "j")


def test_a_joiner_of_a_new_life_ends_what_was_left_of_the_old_ones_join() -> None:
    cast = Cast("abj")
    cast.gather("ab")
    cast.admit("a", "j")
    cast.world.run(for_s=0.025)
    assert sponsored(cast, "a")
    cast.hosts["j"].restart()
    cast.introduce("j")
    cast.connect("j", "a")
    cast.until(lambda: not sponsored(cast, "a") and cast.in_view("ab"), SOON_S)
    cast.admit("a", "j")
    cast.until(lambda: cast.in_view("abj"), SOON_S)


def test_a_member_that_was_silent_when_it_was_let_in_counts_as_silent() -> None:
    """Its silence was told before the group knew it, and will not be told again."""
    cast = Cast("abj")
    cast.gather("ab")
    ask(cast, "b", "j", b"?")
    cast.until(lambda: answered(cast, "b") == [b"?"])
    cast.hosts["j"].pause()
    ask(cast, "b", "j", b"?", 5.0)
    contacts, joiner = cast.machine("b").contacts, cast.member("j")
    cast.until(lambda: not contacts.is_heard(joiner.key))
    assert contacts.is_up(joiner)
    hosted = cast.machine("b")._hosted[NUMBER]
    members = (*hosted.group.view.members, joiner)
    cast.do("b", lambda m, _: m._install(hosted, members))
    assert joiner in hosted.group._down


def test_questions_are_asked_again_after_a_silence() -> None:
    """A view of two that was lost for silence is replaced when the way is back, in both
    directions; the first question is unknown, and nobody is accused."""
    cast = Cast("ab")
    ask(cast, "a", "b", b"1")
    ask(cast, "b", "a", b"one")
    cast.until(lambda: answered(cast, "a") == [b"1"] and answered(cast, "b") == [b"one"])
    cast.do("a", lambda m, _: m.keep(cast.key("b"), True))  # As open channels do.
    cast.do("b", lambda m, _: m.keep(cast.key("a"), True))
    heal = cast.world.cut("a", "b")
    ask(cast, "a", "b", b"2", 60.0)
    cast.until(lambda: any(isinstance(o, Lost) for o in pair_outputs(cast, "a")), 15.0)
    cast.world.run(for_s=2.0)
    heal()
    cast.until(lambda: cast.machine("a").contacts.is_heard(cast.key("b")))
    ask(cast, "a", "b", b"3")
    ask(cast, "b", "a", b"three")
    cast.until(lambda: answered(cast, "a")[-1:] == [b"3"], SOON_S)
    cast.until(lambda: answered(cast, "b")[-1:] == [b"three"], SOON_S)
    assert not any(type(o).__name__ == "Accused" for n in "ab" for o in pair_outputs(cast, n))


def test_an_answer_to_a_question_of_before_is_none_to_the_next() -> None:
    """Only one side took the other for silent; what it asks then has the numbers that the lost
    question had, and the answer to that is under way."""
    cast = Cast("ab", judge=lambda proposal: Vote(True, proposal.content.body))
    ask(cast, "a", "b", b"1")
    cast.until(lambda: answered(cast, "a") == [b"1"])
    pair = cast.machine("a")._pairs[cast.key("b")]
    ask(cast, "a", "b", b"lost", 0.5)
    cast.world.run(for_s=0.015)
    cast.do("a", lambda m, _: pair.group.stop() or m._dirty.update({pair: None}))
    handle = ask(cast, "a", "b", b"next", 30.0)
    assert handle == 1
    cast.until(lambda: b"next" in answered(cast, "a"), SOON_S)
    cast.world.run(for_s=1.0)
    assert b"lost" not in answered(cast, "a")
    said = [o.decision for o in pair_outputs(cast, "a") if isinstance(o, Decided)]
    assert all(each.answers[0][1] == each.body for each in said if each.answers)
    assert not any(type(o).__name__ == "Accused" for o in pair_outputs(cast, "b"))
    assert not any(isinstance(o, TimedOut) for o in pair_outputs(cast, "a"))
    ask(cast, "b", "a", b"back")
    cast.until(lambda: answered(cast, "b") == [b"back"], SOON_S)


def test_a_view_of_two_with_a_number_from_nowhere_costs_only_who_sent_it() -> None:
    """Numbers rise as the peer likes; a table does not grow with them."""
    cast = Cast("ab")
    ask(cast, "a", "b", b"1")
    cast.until(lambda: answered(cast, "a") == [b"1"])
    for number in (5, 9, 1 << 40, 7):
        mark = pack(message(kinds.MARK, number, 0, 0))
        cast.do("a", lambda m, now, e=mark: m.peers.send(cast.key("b"), 0, e, now))
    cast.world.run(for_s=1.0)
    assert len(cast.machine("b")._pairs) == 1
    assert cast.machine("b").peers.status(cast.key("a")).up  # type: ignore[union-attr]
