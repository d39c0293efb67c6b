"""0-RTT: a second presence to a known peer costs one round trip, and what happens if it cannot."""

from __future__ import annotations

import pytest

from tests.support.pair.pair import Side, World, answering, kind_of
from transport.core.constants import (
    KIND_ACCEPT,
    KIND_CHALLENGE,
    KIND_HELLO,
    KIND_INITIATE,
    KIND_INITIATE_KNOWN,
    TRANSIENT_LIFE_S,
)
from transport.core.events import PresenceDown, PresenceUp
from transport.core.handshake.negotiation import HandshakeConfig


def meet_and_part(world: World, a: Side, b: Side) -> None:
    world.up(a, b)
    a.peers.close(b.key, 1, world.now)
    world.run(15.0)
    assert len(b.of(PresenceDown)) == 1
    for side in (a, b):
        side.sent.clear()


def ask(world: World, a: Side, b: Side) -> float:
    """Connect, ask, and how long the answer took."""
    start = world.now
    world.connect(a, b, timeout_s=20.0)
    a.peers.send(b.key, 0, b"again", world.now)
    world.run_until(lambda: bool(a.entries))
    assert a.entries == [(b.key, 0, b"re: again")]
    assert b.entries == [(a.key, 0, b"again")]
    return world.now - start


def kinds(side: Side) -> list[int | None]:
    return [kind for t in side.sent if (kind := kind_of(t.data)) is not None]


def test_a_request_to_a_known_peer_is_answered_in_one_round_trip() -> None:
    world = World()
    world.net.delay_s = 0.1
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    meet_and_part(world, a, b)
    assert ask(world, a, b) == pytest.approx(0.2)
    assert kinds(a) == [KIND_INITIATE_KNOWN]
    assert kinds(b) == [KIND_ACCEPT]
    world.run(1.0)
    assert len(a.of(PresenceUp)) == len(b.of(PresenceUp)) == 2


def test_a_deferred_one_falls_back_to_the_challenge() -> None:
    world = World()
    a = world.add("a")
    b = world.add("b", handshake=HandshakeConfig(known_per_s_max=1e-9))
    answering(world, b)
    c = world.add("c")
    meet_and_part(world, a, b)
    # The bucket holds one: somebody else takes it.
    world.up(c, b)
    c.peers.close(b.key, 1, world.now)
    world.run(15.0)
    world.connect(c, b)
    world.run(1.0)
    b.sent.clear()
    assert ask(world, a, b) == pytest.approx(4 * world.net.delay_s), "no worse than a stranger"
    assert kinds(a) == [KIND_INITIATE_KNOWN, KIND_INITIATE]
    assert kinds(b) == [KIND_CHALLENGE, KIND_ACCEPT]


def test_a_restarted_responder_defers_what_it_cannot_open() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    meet_and_part(world, a, b)
    b = world.add("b")
    answering(world, b)
    assert ask(world, a, b) == pytest.approx(4 * world.net.delay_s)
    assert kinds(a) == [KIND_INITIATE_KNOWN, KIND_INITIATE]


def test_where_neither_p4_nor_p2_comes_it_begins_as_with_a_stranger() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    meet_and_part(world, a, b)
    world.net.drop = lambda source, target, data: kind_of(data) == KIND_INITIATE_KNOWN
    ask(world, a, b)
    assert kinds(a)[-2:] == [KIND_HELLO, KIND_INITIATE]
    assert kinds(a).count(KIND_INITIATE_KNOWN) == 2


@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_p4_hands_nothing_up_twice(times: int) -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    meet_and_part(world, a, b)
    lost: list[bytes] = []

    def drop(source: object, target: object, data: bytes) -> bool:
        if kind_of(data) == KIND_ACCEPT and len(lost) < times:
            lost.append(data)
            return True
        return False

    world.net.drop = drop
    ask(world, a, b)
    assert len(lost) == times


def test_a_recorded_one_is_worth_nothing_to_who_replays_it() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    meet_and_part(world, a, b)
    ask(world, a, b)
    world.run(1.0)
    (recorded,) = [t.data for t in a.sent if kind_of(t.data) == KIND_INITIATE_KNOWN]
    thief = ("10.6.6.6", 6)
    for _ in range(100):
        world.inject(thief, b.address, recorded)
    before, ups = len(b.entries), len(b.of(PresenceUp))
    world.run(2.0)
    assert (len(b.entries), len(b.of(PresenceUp))) == (before, ups)
    spent = sum(len(t.data) for t in b.sent if t.address == thief)
    assert spent <= 3 * 100 * len(recorded)


def test_a_transient_is_forgotten_when_it_is_over_and_the_memory_is_bounded() -> None:
    world = World()
    a = world.add("a", known_max=3)
    others = [world.add(f"b{number}") for number in range(5)]
    for other in others:
        meet_and_part(world, a, other)
    assert len(a.peers._context.known) == 3
    world.run(TRANSIENT_LIFE_S)
    answering(world, others[4])
    ask(world, a, others[4])
    assert kinds(a) == [KIND_HELLO, KIND_INITIATE]
