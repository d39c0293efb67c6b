"""What strangers, and who holds datagrams back, cannot do to the admission of others."""

from __future__ import annotations

import os

import pytest

from tests.support.pair.pair import Side, World, kind_of, presence_of
from transport.core import frames
from transport.core.config import TransportConfig
from transport.core.constants import (
    KIND_ACCEPT,
    KIND_INITIATE,
    KIND_INITIATE_KNOWN,
)
from transport.core.crypto.keys import Identity
from transport.core.dispatch.places import SPARE_AFTER_S
from transport.core.events import (
    BulkPlane,
    ConnectFailed,
    EntriesReceived,
    PresenceDown,
    PresenceUp,
    Reason,
)
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.transient import KnownTransient, decode_record_untrusted
from transport.core.initiator.initiator import Initiator
from transport.core.lane.receiver import LaneReceiver
from transport.core.lane.tombstones import Evidence, Tombstone, Tombstones
from transport.core.peers import Peers
from transport.core.types import Address

ELSEWHERE = ("203.0.113.66", 666)


@pytest.mark.parametrize("how", ["close", "forget"])
def test_what_arrived_is_remembered_once_and_on_its_evidence(how: str) -> None:
    """Who showed its address keeps its place among those when the relation is dropped while another
    attempt to reach it is under way: its lane ends once."""
    here, there = ("192.0.2.1", 1), ("192.0.2.2", 2)
    a, b = (
        Peers(Identity.generate(os.urandom), TransportConfig(), os.urandom, 0.0, life)
        for life in (1, 2)
    )
    now, of_a, of_b = 1.0, a._context.identity.key, b._context.identity.key
    b.connect(of_a, [ELSEWHERE], now, timeout_s=30.0)
    b.poll_transmits()
    a.connect(of_b, [there], now)
    a.send(of_b, 7, b"entry", now)
    for _ in range(2):
        b.receive_datagrams([(each.data, here) for each in a.poll_transmits()], now)
        answers = [each for each in b.poll_transmits() if each.address == here]
        a.receive_datagrams([(each.data, there) for each in answers], now)
    assert any(type(event) is EntriesReceived for event in b.poll_events())
    # Nothing confirms it: it lapses, and the attempt goes on.
    while not any(type(event) is PresenceDown for event in b.poll_events()):
        now += 0.1
        b.handle_timeout(now)
        b.poll_transmits()
    assert b._context.by_key[of_a].attempt is not None
    if how == "close":
        b.close(of_a, 5, now)
    else:
        b.forget(of_a)
    assert of_a not in b._context.by_key
    assert [len(part) for part in b._context.tombstones._parts] == [0, 1, 0]


def known_of(world: World, victim: Side) -> KnownTransient:
    """The victim's transient, as anybody learns it."""
    record = victim.peers._responder.published(world.now)
    return decode_record_untrusted(victim.key, record, 2, world.now)


def forge(world: World, victim: Side, known: KnownTransient, count: int) -> None:
    """0-RTT P3s of peers that do not exist, from addresses nobody has."""
    draw = world.random.randbytes
    for number in range(count):
        initiator = Initiator(
            Identity.generate(draw),
            victim.key,
            HandshakeConfig(),
            draw,
            message_cid=draw(8),
            bulk_cid=draw(8),
            incarnation=1,
        )
        data = initiator.initiate_known(known, frames.lane_open(5, 0), world.now)
        world.inject((f"203.0.113.{number % 250}", 1000 + number), victim.address, data)


def test_spoofed_0_rtt_fills_its_own_share_and_keeps_nobody_out() -> None:
    world = World()
    v = world.add("v", unconfirmed_max=32, unproven_max=8)
    c = world.add("c")
    known = known_of(world, v)
    forge(world, v, known, 60)
    world.run(0.1)
    context = v.peers._context
    assert (len(context.unproven), len(context.validated)) == (8, 0)
    # More than the share gets a challenge, as who is not known.
    assert sum(kind_of(each.data) == KIND_ACCEPT for each in v.sent) < 60
    world.connect(c, v)
    forge(world, v, known, 20)
    world.run(1.0)
    assert len(c.of(PresenceUp)) == 1
    assert not c.of(ConnectFailed)
    assert context.unconfirmed <= 8
    world.run(20.0)
    assert context.unconfirmed == 0
    assert len(v.of(PresenceUp)) == len(v.of(PresenceDown)) + 1


def test_a_deferred_0_rtt_is_up_all_the_same() -> None:
    world = World()
    v, c = world.add("v", unproven_max=4), world.add("c")
    world.up(c, v)
    c.peers.close(v.key, 1, world.now)
    world.run(15.0)
    forge(world, v, known_of(world, v), 8)
    world.run(0.1)
    assert v.peers._context.crowded
    before = len(c.sent)
    world.connect(c, v)
    world.run(1.0)
    kinds = [kind_of(each.data) for each in c.sent[before:]]
    assert KIND_INITIATE_KNOWN in kinds
    assert KIND_INITIATE in kinds, "it was deferred"
    assert presence_of(v, c).confirmed


def test_who_showed_its_address_takes_the_place_of_who_did_not() -> None:
    world = World()
    v = world.add("v", unconfirmed_max=6, unproven_max=4)
    forge(world, v, known_of(world, v), 4)
    world.run(0.1)
    world.net.drop = lambda source, target, data: (
        source == v.address and (kind_of(data) == KIND_ACCEPT)
    )
    for number in range(4):
        world.connect(world.add(f"i{number}"), v)
    world.run(0.5)
    context = v.peers._context
    assert (len(context.validated), len(context.unproven)) == (4, 2)
    world.run(30.0)
    assert (context.unconfirmed, context.by_key) == (0, {})


def test_a_table_that_fills_with_shown_addresses_raises_the_effort() -> None:
    world = World()
    v = world.add("v", unconfirmed_max=8)
    world.net.drop = lambda source, target, data: (
        source == v.address and (kind_of(data) == KIND_ACCEPT)
    )
    for number in range(12):
        world.connect(world.add(f"i{number}"), v)
    world.run(0.5)
    assert len(v.peers._context.validated) == 8
    world.run(1.0)
    assert v.peers._responder.effort > 0
    world.run(60.0)
    assert v.peers._responder.effort == 0


def test_unconfirmed_strangers_do_not_keep_keys_from_being_renewed() -> None:
    world = World()
    v = world.add("v", rekey_s=4.0, unconfirmed_max=2)
    a = world.add("a", rekey_s=4.0)
    world.up(a, v)
    world.net.drop = lambda source, target, data: (
        source == v.address and (kind_of(data) == KIND_ACCEPT)
    )
    fullest = 0
    for second in range(24):
        if second % 5 == 0:
            for number in range(3):
                world.connect(world.add(f"{second} {number}"), v)
        a.peers.send(v.key, 1, b"x", world.now)
        world.run(1.0)
        fullest = max(fullest, v.peers._context.unconfirmed)
    assert fullest == 2
    assert not a.of(PresenceDown)
    assert len(a.of(BulkPlane)) >= 4


@pytest.mark.parametrize("kept", [True, False])
def test_a_delayed_p3_does_not_cut_off_who_came_again(kept: bool) -> None:
    world = World()
    v, a = world.add("v"), world.add("a")
    v.peers.keep(a.key, kept)
    held: list[bytes] = []

    def hold(source: Address, target: Address, data: bytes) -> bool:
        if source == a.address and kind_of(data) in (KIND_INITIATE, KIND_INITIATE_KNOWN):
            held.append(data)
            return True
        return False

    world.net.drop = hold
    world.connect(a, v, timeout_s=2.0)
    world.run(3.0)
    world.net.drop = None
    a = world.add("a")  # restarted
    world.connect(a, v)
    a.peers.send(v.key, 1, b"new life", world.now)
    world.run_until(lambda: v.entries != [])
    world.inject(a.address, v.address, held[0])
    world.run(3.0)
    for number in range(10):
        a.peers.send(v.key, 1, b"%d" % number, world.now)
        world.run(0.5)
    assert [entry for _, _, entry in v.entries] == [b"new life", *(b"%d" % n for n in range(10))]
    for side in (a, v):
        assert not side.of(PresenceDown)
        assert [event.restarted for event in side.of(PresenceUp)] == [False]


def test_a_later_life_is_believed_once_a_datagram_opens_though_the_earlier_is_unconfirmed() -> None:
    world = World()
    v, a = world.add("v"), world.add("a")
    world.net.drop = lambda source, target, data: kind_of(data) == KIND_ACCEPT
    world.connect(a, v)
    a.peers.send(v.key, 1, b"earlier", world.now)
    world.run(0.5)
    world.net.drop = None
    a = world.add("a")
    world.connect(a, v)
    a.peers.send(v.key, 1, b"later", world.now)
    world.run(1.0)
    assert [entry for _, _, entry in v.entries] == [b"earlier", b"later"]
    assert [event.restarted for event in v.of(PresenceUp)] == [False, True]
    assert [event.reason for event in v.of(PresenceDown)] == [Reason.RESTARTED]
    a.peers.send(v.key, 1, b"and on", world.now)
    world.run(1.0)
    assert v.entries[-1][2] == b"and on"


def test_a_presence_of_a_life_that_is_over_is_told_so() -> None:
    world = World()
    v, a = world.add("v"), world.add("a")
    caught: list[bytes] = []

    def drop(source: Address, target: Address, data: bytes) -> bool:
        if source == a.address and kind_of(data) is None:
            caught.append(data)
            return True
        return False

    world.net.drop = drop
    world.connect(a, v)
    world.run(0.2)
    context = v.peers._context
    peer = context.by_key[a.key]
    assert len(peer.unconfirmed) == 1
    peer.lane = peer.new_lane(context.config, context.random)  # as if another life had begun
    world.net.drop = None
    world.inject(a.address, v.address, caught[0])
    world.run(0.1)
    assert [event.reason for event in a.of(PresenceDown)] == [Reason.RESTARTED]


def test_a_copy_of_p4_from_elsewhere_gets_neither_the_path_nor_the_word() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    copied: list[bytes] = []

    def copy(source: Address, target: Address, data: bytes) -> bool:
        if source == b.address and kind_of(data) == KIND_ACCEPT and not copied:
            copied.append(data)
            world.inject(ELSEWHERE, a.address, data)
            return True
        if target == ELSEWHERE:  # it passes on what it gets, from its own address
            world.inject(ELSEWHERE, b.address if source == a.address else a.address, data)
            return True
        return False

    world.net.drop = copy
    world.connect(a, b)
    world.run(0.1)
    assert copied
    assert [event.address for event in a.of(PresenceUp)] == [b.address]
    a.peers.keep(b.key, True)
    b.peers.keep(a.key, True)
    for _ in range(10):
        a.peers.send(b.key, 1, b"x", world.now)
        world.run(0.5)
    assert presence_of(a, b).path.address == b.address
    assert presence_of(b, a).path.address == a.address
    assert len(b.entries) == 10


def test_who_answers_from_another_address_of_its_own_is_reached_there() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    there = ("10.0.0.77", 4000)
    world.sides[there] = b

    def renamed(source: Address, target: Address, data: bytes) -> bool:
        if source == b.address and kind_of(data) in (KIND_ACCEPT, None):
            world.inject(there, target, data)
            return True
        # What goes to the old address is lost from P4 on.
        return target == b.address and kind_of(data) is None

    world.net.drop = renamed
    world.connect(a, b)
    world.run(3.0)
    a.peers.send(b.key, 1, b"x", world.now)
    world.run(3.0)
    assert presence_of(a, b).path.address == there
    assert len(b.entries) == 1


def test_each_kind_of_evidence_pushes_out_its_own_only() -> None:
    tombstones = Tombstones(3)
    names = {kind: b"first of %d" % kind for kind in Evidence}
    for kind, name in names.items():
        tombstones.remember(name, Tombstone(kind, 1, LaneReceiver(None, None)), kind)  # type: ignore[arg-type]
    for kind in (Evidence.NONE, Evidence.ADDRESS):
        for number in range(10):
            tombstone = Tombstone(99, 1, LaneReceiver(None, None))  # type: ignore[arg-type]
            tombstones.remember(b"%d %d" % (kind, number), tombstone, kind)
        assert tombstones.take(names[kind]) is None
        assert kind == Evidence.ADDRESS or tombstones.take(names[Evidence.ADDRESS]) is not None
    assert tombstones.take(names[Evidence.OURS]) is not None
    assert len(tombstones) == 6


@pytest.mark.parametrize("with_cookie", [True, False])
def test_strangers_turn_over_nothing_of_a_peer_that_is_known(with_cookie: bool) -> None:
    world = World()
    v, a = world.add("v", tombstones_max=4, unproven_max=64), world.add("a")
    world.up(v, a)  # v has connected to a before, so it knows a's transient
    v.peers.close(a.key, 1, world.now)
    world.run(15.0)
    a.peers.keep(v.key, True)
    world.net.drop = lambda source, target, data: (
        source == v.address and (kind_of(data) == KIND_ACCEPT)
    )
    world.connect(a, v, timeout_s=0.4)
    a.peers.send(v.key, 1, b"pay 100", world.now)
    world.run(14.0)
    if with_cookie:
        for number in range(6):
            other = world.add(f"m{number}")
            world.connect(other, v, timeout_s=0.4)
            other.peers.send(v.key, 1, b"x", world.now)
    else:
        forge(world, v, known_of(world, v), 6)
    world.run(14.0)
    world.net.drop = None
    world.connect(a, v)
    world.run(3.0)
    assert [entry for peer, _, entry in v.entries if peer == a.key] == [b"pay 100"]


def test_strangers_that_only_probe_give_their_places_up_and_never_take_the_reserved_ones() -> None:
    world = World()
    v, g = world.add("v", peers_max=16), world.add("g")
    others = [world.add(f"m{number}") for number in range(14)]
    for other in others:
        other.peers.keep(v.key, True)  # so it probes for ever
        world.connect(other, v)
    world.run(1.0)
    context = v.peers._context
    assert len(context.by_key) == 14
    late = world.add("late")
    world.connect(late, v, timeout_s=2.0)
    world.run(3.0)
    assert late.of(ConnectFailed), "nobody can be spared yet, and the last two are reserved"
    world.connect(v, g)
    world.run(1.0)
    assert v.peers.status(g.key) is not None
    world.run(SPARE_AFTER_S)
    others[0].peers.send(v.key, 1, b"of use", world.now)
    v.peers.keep(others[1].key, True)
    world.run(1.0)
    for number in range(6):
        world.connect(world.add(f"n{number}"), v)
        world.run(0.5)
    assert [v.peers.status(world.names[f"n{number}"].key) is not None for number in range(6)] == [
        True
    ] * 6
    assert {event.reason for event in v.of(PresenceDown)} == {Reason.IDLE}
    assert v.peers.status(others[0].key) is not None
    assert v.peers.status(others[1].key) is not None
    assert len(context.by_key) <= 16
    assert {presence.key for presence in context.by_cid.values()} <= set(context.by_key)
