"""What strangers leave behind and what they get, measured: memory, bytes, and what they can tell.

`test_handshake_stranger` has the same of the bare responder, datagram by datagram.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.pair.handshake import counted_primitives, flip, seeded
from tests.support.pair.pair import Side, World
from transport.core import frames
from transport.core.constants import AMPLIFICATION_MAX
from transport.core.crypto.keys import Identity
from transport.core.events import EntriesReceived, Event
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.transient import decode_record_untrusted
from transport.core.handshake.wire import HEADER_SIZE, KX_AT
from transport.core.initiator.initiator import Initiator
from transport.core.types import Address

KEPT_MAX = 16_384
"""Bytes that a thousand hostile datagrams may leave: nothing of it grows with their number."""


def initiator(world: World, victim: Side) -> Initiator:
    draw = world.random.randbytes
    config, identity = HandshakeConfig(), Identity.generate(draw)
    cids = {"message_cid": draw(8), "bulk_cid": draw(8)}
    return Initiator(identity, victim.key, config, draw, incarnation=1, **cids)


def hellos(world: World, victim: Side) -> Iterator[bytes]:
    while True:
        yield initiator(world, victim).hello(world.now)


def garbage(world: World, victim: Side) -> Iterator[bytes]:
    draw, prefix = seeded(3), b"\xf1\x9a\x71"
    while True:
        kind = draw(1)
        yield draw(1 + kind[0] * 4)
        yield prefix + kind + draw(kind[0] * 4)


def wrong_cookies(world: World, victim: Side) -> Iterator[bytes]:
    attempt = initiator(world, victim)
    answer = victim.peers._responder.receive_untrusted(
        attempt.hello(world.now), ("192.0.2.9", 9), world.now
    )
    assert answer is not None
    assert attempt.receive_challenge_untrusted(answer.data, world.now)  # type: ignore[union-attr]
    p3 = attempt.initiate(b"", world.now)
    while True:
        for bit in range(8 * (HEADER_SIZE - 16), 8 * KX_AT):
            yield flip(p3, bit)


@pytest.mark.parametrize("kind", [hellos, garbage, wrong_cookies])
def test_nothing_is_kept_and_nothing_computed(kind) -> None:  # type: ignore[no-untyped-def]
    world = World()
    victim = world.add("v")
    source = kind(world, victim)
    context = victim.peers._context

    def hostile(count: int) -> None:
        batch = [(next(source), (f"198.51.{n % 100}.{n % 250}", 1 + n)) for n in range(count)]
        victim.peers.receive_datagrams(batch, world.now)
        victim.peers.poll_transmits()
        victim.peers.poll_events()

    hostile(1_000)  # fills what is made once: caches, and tables of a fixed size
    batches = [[(next(source), (f"203.0.{n % 100}.{n % 250}", 1 + n)) for n in range(1_000)]
               for _ in range(3)]  # fmt: skip
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with counted_primitives() as counts:
            for batch in batches:
                victim.peers.receive_datagrams(batch, world.now)
                victim.peers.poll_transmits()
                victim.peers.poll_events()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert (counts.diffie_hellman, counts.base, counts.signatures) == (0, 0, 0)
    assert grown < KEPT_MAX
    assert (context.by_key, context.by_cid, context.by_echo) == ({}, {}, {})


def bytes_by_address(side: Side) -> tuple[Counter[Address], Counter[Address]]:
    """What came from each address, and what went there."""
    came: Counter[Address] = Counter()
    went: Counter[Address] = Counter()
    for data, source in side.received:
        came[source] += len(data)
    for sent in side.sent:
        went[sent.address] += len(sent.data)
    return came, went


@pytest.mark.parametrize("seed", range(3))
def test_no_address_gets_more_than_three_times_what_came_from_it(seed: int) -> None:
    """Whatever comes from addresses that nothing has proved: all kinds, replayed and changed."""
    world = World(seed)
    victim = world.add("v")

    def answer(event: Event) -> None:
        if isinstance(event, EntriesReceived):
            for _ in range(3):
                victim.peers.send(event.peer, 0, bytes(1000), world.now)

    victim.on_event = answer
    record = victim.peers.introductions.published(world.now)
    known = decode_record_untrusted(victim.key, record, 2, world.now)
    draw = world.random
    pool = []
    for number in range(8):
        attempt = initiator(world, victim)
        asked = frames.lane_open(5 + number, 0) + bytes((0x40, 0, 0, 0, 0, 0x00, 40)) + bytes(40)
        pool += [attempt.initiate_known(known, asked, world.now), initiator(world, victim).hello(0)]
    for data in list(pool):
        pool += [flip(data, draw.randrange(8 * len(data))) for _ in range(3)]
        pool.append(data[: draw.randrange(len(data))])
    addresses = [(f"198.51.100.{n}", 53) for n in range(12)]
    for number in range(0, 16, 2):
        for _ in range(4):
            world.inject((f"198.51.100.{number}", 54), victim.address, pool[number])
            world.run(0.05)
    for _ in range(400):
        world.inject(draw.choice(addresses), victim.address, draw.choice(pool))
        world.run(draw.choice([0.0, 0.01, 0.2]))
        came, went = bytes_by_address(victim)
        assert all(went[each] <= AMPLIFICATION_MAX * came[each] for each in went)
    world.run(60.0)
    came, went = bytes_by_address(victim)
    assert all(went[each] <= AMPLIFICATION_MAX * came[each] for each in went)
    # Those that sent nothing but the genuine ones, and those again, got near the bound.
    fresh = [each for each in went if each[1] == 54]
    assert any(went[each] > 2 * came[each] for each in fresh)
    assert victim.entries, "some of it was genuine"
    assert victim.peers._context.by_key == {}
