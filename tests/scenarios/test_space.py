"""The explorer itself, on a protocol so small that its whole space can be counted by hand."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import pytest

from scenarios.check.facts import Violation
from scenarios.search.actor import Actor
from scenarios.search.space import Space, World

Sends = Sequence[tuple[int, Hashable]]


@dataclass(frozen=True)
class Talker:
    """Says `words` to all others one by one, and logs what it hears in order. May crash; may stop
    listening to `victim`; may forward what it hears once."""

    me: int
    size: int
    words: int = 0
    may_crash: bool = False
    victim: int | None = None
    forwards: bool = False
    alive: bool = True
    closed: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()
    log: tuple[Hashable, ...] = ()

    @property
    def mark(self) -> Hashable:
        return self.log

    def key(self) -> Hashable:
        return self

    def inputs(self) -> list[Hashable]:
        out: list[Hashable] = ["say"] if self.words else []
        if self.may_crash:
            out.append("crash")
        if self.victim is not None and self.victim not in self.closed:
            out.append("close")
        if self.blocked:
            out.append("unblock")
        return out

    def take(self, given: Hashable) -> tuple[Actor, Sends]:
        if given == "crash":
            return replace(self, alive=False), []
        if given == "close":
            assert self.victim is not None
            return replace(self, closed=self.closed | {self.victim}), []
        if given == "unblock":
            return replace(self, blocked=frozenset()), []
        others = [k for k in range(self.size) if k != self.me]
        said = (self.me, self.words)
        return replace(self, words=self.words - 1), [(k, said) for k in others]

    def deliver(self, sender: int, message: Hashable) -> tuple[Actor, Sends]:
        sends: Sends = []
        if self.forwards and message[0] == sender:
            sends = [(k, (sender, "again")) for k in range(self.size) if k not in (self.me, sender)]
        return replace(self, log=(*self.log, message)), sends


def ends(actors: Sequence[Talker], reduce: bool) -> tuple[set[tuple[Hashable, ...]], Space, int]:
    """The logs of all end states, and how many states were visited."""
    seen: set[tuple[Hashable, ...]] = set()
    space = Space(
        actors,
        lambda logs: None,
        lambda members: seen.add(tuple(member.log for member in members)),
        reduce=reduce,
    )
    result = space.explore(10**6)
    assert result.closed
    return seen, space, result.states


def test_all_interleavings_of_one_receiver_are_visited():
    talkers = [Talker(0, 3), Talker(1, 3, words=2), Talker(2, 3, words=2)]
    seen, _, _ = ends(talkers, reduce=True)
    heard = {logs[0] for logs in seen}
    mine = [(1, 2), (1, 1)], [(2, 2), (2, 1)]
    expected = set()
    for places in itertools.combinations(range(4), 2):
        first, second = iter(mine[0]), iter(mine[1])
        expected.add(tuple(next(first) if at in places else next(second) for at in range(4)))
    assert heard == expected


WORLDS = {
    "three talk": [Talker(m, 3, words=1) for m in range(3)],
    "two of three talk twice": [Talker(0, 3), Talker(1, 3, words=2), Talker(2, 3, words=2)],
    "one may crash": [
        Talker(0, 3, words=1, may_crash=True),
        Talker(1, 3, words=1, victim=0),
        Talker(2, 3, words=1, victim=0),
    ],
    "one is not heard for a while": [
        Talker(0, 3, words=1),
        Talker(1, 3, words=1, blocked=frozenset({0})),
        Talker(2, 3, words=1),
    ],
    "what is heard is told": [Talker(0, 3, words=1), Talker(1, 3, forwards=True), Talker(2, 3)],
    "all tell": [Talker(m, 3, words=1 if m < 2 else 0, forwards=True) for m in range(3)],
}


@pytest.mark.parametrize("name", WORLDS)
def test_exploring_commuting_deliveries_once_reaches_the_same_ends(name: str):
    reduced, _, few = ends(WORLDS[name], reduce=True)
    full, _, many = ends(WORLDS[name], reduce=False)
    assert reduced == full
    assert few <= many


def naive_ends(actors: Sequence[Talker]) -> tuple[set[tuple[Hashable, ...]], int]:
    """The same, visited one world after the other with nothing but `World`."""
    first = World(actors, {})
    seen, todo, found = {first.key()}, [first], set()
    while todo:
        world = todo.pop()
        steps = world.possible()
        if not steps:
            found.add(tuple(actor.log for actor in world.actors))
        for step in steps:
            after = world.after(step)
            if after.key() not in seen:
                seen.add(after.key())
                todo.append(after)
    return found, len(seen)


@pytest.mark.parametrize("name", WORLDS)
def test_without_reduction_it_visits_what_a_naive_search_visits(name: str):
    full, _, count = ends(WORLDS[name], reduce=False)
    assert (full, count) == naive_ends(WORLDS[name])


def test_messages_without_end_are_a_violation():
    @dataclass(frozen=True)
    class Echo(Talker):
        def deliver(self, sender: int, message: Hashable) -> tuple[Actor, Sends]:
            return self, [(sender, message)]

    result = Space([Talker(0, 2, words=1), Echo(1, 2)], lambda logs: None).explore(10**6)
    assert result.closed
    echoes = [Echo(0, 2, words=1), Echo(1, 2)]
    result = Space(echoes, lambda logs: None).explore(10**6)
    assert [found.violation.invariant for found in result.counterexamples] == ["8 liveness"]


def test_time_caps_too():
    talkers = [Talker(m, 3, words=4, forwards=True) for m in range(3)]
    result = Space(talkers, lambda logs: None, reduce=False).explore(10**6, until_s=0.0)
    assert not result.closed
    assert 0 < result.transitions < 10**6


def test_it_saves_something():
    _, _, few = ends([Talker(m, 2, words=4) for m in range(2)], reduce=True)
    _, _, many = ends([Talker(m, 2, words=4) for m in range(2)], reduce=False)
    assert few < many


def forbid(logs: Sequence[Hashable]) -> None:
    if logs[0] == ((2, 1), (1, 1)):
        raise Violation("order", (0,), "the second was heard first")


def test_a_violation_is_found_shortened_and_replayed():
    talkers = [Talker(0, 3, words=2), Talker(1, 3, words=1), Talker(2, 3, words=1)]
    space = Space(talkers, forbid)
    result = space.explore(10**6)
    assert not result.closed
    found = space.shorten(result.counterexamples[0])
    assert len(found.steps) == 4
    last = space.replay(found.steps)[-1]
    with pytest.raises(Violation, match="second"):
        space.check_now(last)


def test_a_bound_on_states_caps_and_says_so():
    result = Space([Talker(m, 3, words=3) for m in range(3)], lambda logs: None).explore(50)
    assert result.states == 50
    assert not result.closed


def test_what_a_dead_or_deaf_member_is_sent_is_gone():
    talkers = [Talker(0, 2, words=1), Talker(1, 2, victim=0, may_crash=True)]
    space = Space(talkers, lambda logs: None)
    said = (0, "input", "say")
    for step in ((1, "input", "close"), (1, "input", "crash")):
        for steps in ([said, step], [step, said]):
            last = space.replay(steps)[-1]
            assert all(
                not (member == 1 and what == "deliver") for member, what, _ in last.possible()
            )
            assert not last.lanes
