"""Everything at once: loss, partitions, moves, restarts, closes, and what must hold then."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from tests.support.pair.pair import Net, Side, World
from transport.core.errors import LaneFull, LocalError, UnknownPeer
from transport.core.events import (
    EntriesReceived,
    LinkCut,
    LinkHealed,
    MessageReceived,
    PresenceDown,
    PresenceUp,
)
from transport.core.peers import Peers
from transport.core.types import Delivery, Message, Outcome

TUNING = {"rekey_s": 7.0, "idle_timeout_s": 8.0, "silence_max_s": 6.0, "drain_s": 3.0}


def check_events(side: Side) -> None:
    """Up and Down alternate for each peer; entries arrive only between them, once, in order."""
    up: dict[bytes, int] = {}
    seen: dict[tuple[bytes, int], int] = {}
    names: set[bytes] = set()
    for event in side.events:
        if isinstance(event, PresenceUp):
            assert event.peer not in up
            up[event.peer] = event.incarnation
        elif isinstance(event, PresenceDown):
            assert up.pop(event.peer) == event.incarnation
        elif isinstance(event, MessageReceived):
            assert up[event.peer] == event.incarnation
            assert event.name not in names, "a message came twice"
            names.add(event.name)
        elif isinstance(event, LinkCut | LinkHealed):
            assert up[event.peer] == event.incarnation
        elif isinstance(event, EntriesReceived):
            assert up[event.peer] == event.incarnation
            for _, entry in event.entries:
                number = int.from_bytes(entry[:4], "big")
                key = event.peer, event.incarnation
                assert number > seen.get(key, -1), "an entry came twice or out of order"
                seen[key] = number


def run_chaos(seed: int, turns: int = 60) -> None:
    draw = random.Random(seed)
    world = World(seed, Net(delay_s=0.01))
    names = ["a", "b", "c"]
    for name in names:
        world.add(name, **TUNING)
    lives: list[Side] = list(world.names.values())
    number = 0
    deliveries: list[tuple[Peers, Delivery]] = []
    cut: set[tuple[str, str]] = set()
    world.net.drop = lambda source, target, _: (
        source in world.sides
        and target in world.sides
        and (world.sides[source].name, world.sides[target].name) in cut
    )
    for _ in range(turns):
        one, other = (world.names[name] for name in draw.sample(names, 2))
        (third,) = (world.names[name] for name in names if name not in (one.name, other.name))
        act = draw.randrange(16)
        with suppress(UnknownPeer, LaneFull, LocalError):
            if act < 3:
                one.peers.connect(other.key, [other.address], world.now, draw.choice([0.3, 3.0]))
            elif act < 8:
                for _ in range(draw.choice([1, 1, 20])):
                    number += 1
                    body = number.to_bytes(4, "big") + bytes(draw.choice([0, 50, 3_000]))
                    one.peers.send(other.key, draw.choice([0, 5]), body, world.now)
            elif act == 8:
                wanted = draw.random() < 0.7
                one.peers.keep(other.key, wanted)
            elif act == 9:
                one.peers.watch(other.key, draw.random() < 0.5, world.now)
            elif act == 10:
                pair = one.name, other.name
                cut.symmetric_difference_update({pair})
            elif act == 11 and draw.random() < 0.5:
                if draw.random() < 0.5:
                    one.peers.close(other.key, 3, world.now)
                else:
                    one.peers.forget(other.key)
            elif act == 13:
                one.peers.relays(other.key, draw.choice([[], [third.key], [third.key]]))
            elif act > 13:
                message = Message(draw.randrange(9), number.to_bytes(4, "big"))
                timeout_s = draw.choice([None, 0.1, 3.0])
                send = one.peers.send_message
                deliveries.append(
                    (one.peers, send(other.key, message, world.now, timeout_s=timeout_s))
                )
            elif act == 12 and draw.random() < 0.6:
                if draw.random() < 0.5:
                    lives.append(world.add(one.name, **TUNING))
                else:
                    world.move(one, (f"10.3.0.{number % 250}", draw.randrange(1, 9_999)))
        world.net.loss = draw.choice([0.0, 0.0, 0.2, 0.5])
        world.net.jitter_s = draw.choice([0.0, 0.02])
        world.net.duplicates = draw.choice([0.0, 0.3])
        world.run(draw.choice([0.0, 0.01, 0.05, 0.5, 3.0]))
    for side in lives:
        check_events(side)
    # Heal: then everybody reaches everybody, and new entries pass.
    cut.clear()
    world.net.loss = world.net.jitter_s = world.net.duplicates = 0.0
    world.run(30.0)
    sides = list(world.names.values())
    for one in sides:
        for other in sides:
            if one is not other:
                one.peers.keep(other.key, True)
                world.connect(one, other)
    world.run(8.0)
    marks: list[tuple[Side, Side, bytes]] = []
    for one in sides:
        for other in sides:
            if one is not other:
                number += 1
                mark = number.to_bytes(4, "big") + b"healed"
                one.peers.send(other.key, 1, mark, world.now)
                marks.append((one, other, mark))
    world.run(10.0)
    for one, other, mark in marks:
        assert (one.key, 1, mark) in other.entries, f"seed {seed}: {one.name} to {other.name}"
    for side in lives:
        check_events(side)
    for side in sides:
        for peer in [one.key for one in sides if one is not side]:
            side.peers.forget(peer)
    world.run(90.0)
    for side in sides:
        context = side.peers._context
        assert (context.by_key, context.by_cid, context.by_echo) == ({}, {}, {})
        assert (context.attempts, context.unconfirmed) == (0, 0)
        assert context.mail == {}
        mine = [delivery for peers, delivery in deliveries if peers is side.peers]
        assert all(delivery.outcome is not Outcome.PENDING for delivery in mine)
        assert len(context.timers) == 0


@pytest.mark.parametrize("seed", range(12))
def test_what_holds_whatever_happens(seed: int) -> None:
    run_chaos(seed)
