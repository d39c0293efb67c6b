"""How a message may travel, and how long its presence is kept for it."""

from __future__ import annotations

import pytest

from tests.support.pair.pair import Side, World
from transport.core.errors import LocalError
from transport.core.events import DeliveryKnown, LinkCut, MessageReceived, PresenceDown
from transport.core.types import Message, Outcome, Ways


def three() -> tuple[World, Side, Side, Side]:
    """Two that have a third in common, which relays for them."""
    world = World()
    a, b, c = (world.add(name) for name in "abc")
    for one in (a, b, c):
        for other in (a, b, c):
            if other is not one:
                one.peers.keep(other.key, True)
                if one.address < other.address:
                    world.up(one, other)
    a.peers.relays(b.key, [c.key])
    b.peers.relays(a.key, [c.key])
    return world, a, b, c


def cut(world: World, a: Side, b: Side) -> None:
    """No datagram between the two; both find out."""
    pair = {a.address, b.address}
    world.net.drop = lambda source, target, data: {source, target} == pair
    a.peers.watch(b.key, True, world.now)
    world.run(2.0)
    assert a.of(LinkCut)


def bodies(side: Side) -> list[bytes]:
    return [event.message.body for event in side.of(MessageReceived)]


@pytest.mark.parametrize(
    ("ways", "whole", "severed"),
    [
        (Ways.ANY, True, True),
        (Ways.DIRECT | Ways.RETRANSMIT, True, False),
        (Ways.RELAYED | Ways.RETRANSMIT, True, True),
    ],
)
def test_only_by_the_ways_that_are_named(ways: Ways, whole: bool, severed: bool) -> None:
    world, a, b, c = three()
    before = len(c.received)
    a.peers.send_message(b.key, Message(1, bytes(500)), world.now, ways=ways)
    world.run(1.0)
    assert bool(bodies(b)) is whole
    large = [d for d, source in c.received[before:] if source == a.address and len(d) > 500]
    assert bool(large) is (Ways.DIRECT not in ways), "it went by the relay only if it had to"
    cut(world, a, b)
    delivery = a.peers.send_message(b.key, Message(1, b"cut"), world.now, ways=ways, timeout_s=3.0)
    world.run(5.0)
    assert (b"cut" in bodies(b)) is severed
    # What never left has failed; nothing is uncertain about it.
    assert delivery.outcome is (Outcome.SUCCEEDED if severed else Outcome.FAILED)


def test_without_a_relay_what_wants_one_waits_and_fails() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    ways = Ways.RELAYED | Ways.RETRANSMIT
    delivery = a.peers.send_message(b.key, Message(1, b"x"), world.now, ways=ways)
    world.run(6.0)
    assert (delivery.outcome, bodies(b)) == (Outcome.FAILED, [])
    with pytest.raises(LocalError):
        a.peers.send_message(b.key, Message(1, b"x"), world.now, ways=Ways.RETRANSMIT)


@pytest.mark.parametrize("lost", [False, True])
def test_once_means_once(lost: bool) -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    seen: list[int] = []

    def drop(source: object, target: object, data: bytes) -> bool:
        if len(data) > 500:
            seen.append(len(data))
        return lost and len(data) > 500

    world.net.drop = drop
    start = world.now
    once = a.peers.send_message(
        b.key, Message(1, bytes(500)), world.now, ways=Ways.DIRECT, timeout_s=None
    )
    after = a.peers.send_message(b.key, Message(1, b"next"), world.now)
    world.run_until(lambda: after.outcome is not Outcome.PENDING)
    assert len(seen) == 1
    assert once.outcome is (Outcome.UNKNOWN if lost else Outcome.SUCCEEDED)
    assert after.outcome is Outcome.SUCCEEDED
    assert world.now - start < 3.0
    assert len([e for e in a.of(DeliveryKnown) if e.delivery is once]) == 1


def test_a_presence_is_kept_as_long_as_a_message_says() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    a.peers.send_message(b.key, Message(1, b"x"), world.now, idle_s=200.0)
    a.peers.send_message(b.key, Message(1, b"y"), world.now, idle_s=10.0)
    world.run(195.0)
    assert not a.of(PresenceDown)
    assert not b.of(PresenceDown)
    world.run(80.0)
    assert a.of(PresenceDown)
    assert a.peers._context.lingering == {}
