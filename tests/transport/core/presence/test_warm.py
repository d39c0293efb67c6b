"""Presences at rest: nothing is lost by it, and what it saves."""

from __future__ import annotations

import random

import pytest

from tests.support.pair.pair import Side, World, answering, kind_of, presence_of
from transport.core.events import Heard, PathMoved, PresenceDown, Reason, Silent

LONG_S = 5_000.0


def resting(side: Side, other: Side) -> bool:
    return presence_of(side, other).resting and side.peers._context.by_key[other.key].lane.resting


def test_what_is_not_used_is_put_to_rest_and_goes_on_as_if_it_had_not_been() -> None:
    world = World()
    a, b = world.add("a", idle_timeout_s=LONG_S), world.add("b", idle_timeout_s=LONG_S)
    world.up(a, b)
    for number in range(20):
        world.run(3.0)
        assert resting(a, b)
        assert resting(b, a)
        for _ in range(number % 3 + 1):
            a.peers.send(b.key, number, b"%d" % number, world.now)
        if number % 2:
            b.peers.send(a.key, number, b"%d" % number, world.now)
    world.run(3.0)
    wanted = [(n, b"%d" % n) for n in range(20) for _ in range(n % 3 + 1)]
    assert [entry[1:] for entry in b.entries] == wanted
    assert [entry[1:] for entry in a.entries] == [(n, b"%d" % n) for n in range(1, 20, 2)]
    assert not a.of(PresenceDown)


def test_an_unacknowledged_answer_outlives_the_rest() -> None:
    world = World()
    a, b = world.add("a", idle_timeout_s=LONG_S), world.add("b", idle_timeout_s=LONG_S)
    answering(world, b)
    world.up(a, b)
    world.net.drop = lambda source, target, data: source == b.address and bool(b.entries)
    a.peers.send(b.key, 0, b"ask", world.now)
    world.run(0.05)
    assert b.entries
    assert not a.entries
    assert not b.peers._context.by_key[a.key].lane.resting, "its answer may be wanted again"
    world.net.drop = None
    world.run(3.0)
    assert a.entries == [(b.key, 0, b"re: ask")]
    assert b.entries == [(a.key, 0, b"ask")]


def test_a_replay_is_refused_after_a_rest_too() -> None:
    world = World()
    a, b = world.add("a", idle_timeout_s=LONG_S), world.add("b", idle_timeout_s=LONG_S)
    world.up(a, b)
    for number in range(100):
        a.peers.send(b.key, 1, b"%d" % number, world.now)
        world.run(0.05)
    recorded = [data for data, _ in b.received if kind_of(data) is None]
    world.run(5.0)
    assert resting(b, a)
    events, sent = len(b.events), len(b.sent)
    for data in recorded:
        b.peers.receive_datagrams([(data, ("10.9.9.9", 9))], world.now)
    world.run(0.5)
    assert (len(b.events), len(b.sent)) == (events, sent)


def test_a_peer_that_moved_while_all_was_at_rest_is_followed() -> None:
    world = World()
    a, b = world.add("a", idle_timeout_s=LONG_S), world.add("b", idle_timeout_s=LONG_S)
    world.up(a, b)
    world.run(5.0)
    assert resting(a, b)
    world.move(b, ("10.0.7.7", 7))
    b.peers.send(a.key, 1, b"here now", world.now)
    world.run(5.0)
    assert a.of(PathMoved) == [PathMoved(b.key, ("10.0.7.7", 7))]
    assert [entry for _, _, entry in a.entries] == [b"here now"]
    world.run(20.0)
    assert resting(a, b)
    assert presence_of(a, b).address == ("10.0.7.7", 7)


def test_who_is_at_rest_is_probed_once_it_is_wanted_and_expires_if_it_is_not() -> None:
    world = World()
    a, b = world.add("a", idle_timeout_s=30.0), world.add("b", idle_timeout_s=LONG_S)
    c = world.add("c", idle_timeout_s=LONG_S)
    world.up(a, b)
    world.up(a, c)
    world.run(10.0)
    a.peers.keep(b.key, True)
    del world.sides[b.address]
    world.run(10.0)
    assert [event.peer for event in a.of(Silent)] == [b.key]
    assert not a.of(Heard)
    world.run(15.0)
    assert [(event.peer, event.reason) for event in a.of(PresenceDown)] == [(c.key, Reason.IDLE)]
    assert [event.reason for event in c.of(PresenceDown)] == [Reason.IDLE]


@pytest.mark.parametrize("seed", range(3))
def test_lossy_worlds_with_pauses_deliver_everything_once(seed: int) -> None:
    world = World(seed)
    draw = random.Random(seed)
    a, b = world.add("a", idle_timeout_s=LONG_S), world.add("b", idle_timeout_s=LONG_S)
    world.up(a, b)
    world.net.loss, world.net.duplicates, world.net.jitter_s = 0.3, 0.2, 0.02
    sent: dict[str, list[bytes]] = {"a": [], "b": []}
    rests = 0
    for number in range(60):
        for one, other in ((a, b), (b, a)):
            if draw.random() < 0.6:
                entry = b"%d" % number
                one.peers.send(other.key, 1, entry, world.now)
                sent[one.name].append(entry)
        world.run(draw.choice([0.0, 0.1, 12.0]))
        rests += resting(a, b)
    world.net.loss = 0.0
    world.run(20.0)
    assert [entry for _, _, entry in b.entries] == sent["a"]
    assert [entry for _, _, entry in a.entries] == sent["b"]
    assert rests > 5


def test_a_presence_at_rest_holds_neither_halves_nor_windows_and_asks_for_no_time() -> None:
    world = World()
    a, b = world.add("a", idle_timeout_s=LONG_S), world.add("b", idle_timeout_s=LONG_S)
    world.up(a, b)
    world.run(5.0)
    wakes = 0
    now = world.now
    while (due := a.peers.next_timeout()) is not None and due < world.now + 1_000.0:
        now = max(now, due)
        a.peers.handle_timeout(now)
        assert a.peers.poll_transmits() == []
        wakes += 1
    assert wakes < 30, "the responder's own timer, nothing for the presence"
    assert resting(a, b)
