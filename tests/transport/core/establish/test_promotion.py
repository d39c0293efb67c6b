"""How presences come about: replacement, restart, crossing, attempts, and their bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.pair.pair import Net, World, kind_of, presence_of
from transport.core.constants import (
    KIND_ACCEPT,
    KIND_HELLO,
    KIND_INITIATE,
)
from transport.core.errors import LocalError, UnknownPeer
from transport.core.events import (
    BulkClosed,
    BulkPlane,
    ConnectFailed,
    PresenceDown,
    PresenceUp,
    Reason,
)
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.types import Address


def test_a_replaced_presence_carries_the_lane_on() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.keep(b.key, True)
    b.peers.keep(a.key, True)
    world.up(a, b)
    a.peers.send(b.key, 1, b"before", world.now)
    world.run(0.5)
    world.net.drop = lambda *_: True
    for number in range(30):
        a.peers.send(b.key, 1, b"during %d" % number + bytes(500), world.now)
        b.peers.send(a.key, 2, b"back %d" % number, world.now)
    world.run(10.0)
    old = presence_of(a, b)
    world.net.drop = None
    # Only the handshake passes for the old presence: B has forgotten its address, say.
    world.net.drop = lambda s, t, data: data[:8] == presence_of(b, a).message_cid
    world.connect(a, b)
    assert a.peers._context.by_key[b.key].attempt is not None, "a silent peer is tried again"
    old_cid = presence_of(b, a).message_cid
    world.net.drop = lambda s, t, data: data[:8] == old_cid
    world.run(5.0)
    assert presence_of(a, b) is not old
    expected = [b"before", *(b"during %d" % n + bytes(500) for n in range(30))]
    assert [entry for _, _, entry in b.entries] == expected
    assert [entry for _, _, entry in a.entries] == [b"back %d" % n for n in range(30)]
    for side in (a, b):
        assert len(side.of(PresenceUp)) == 1, "the same lane goes on: nothing to tell"
        assert not side.of(PresenceDown)
        assert len(side.of(BulkPlane)) == 2


def test_who_has_begun_anew_is_known_to_have_when_it_begins_anew_once_more() -> None:
    """B's P3 speaks of a life of A's that is over; then B itself starts again as the same life."""
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    again = world.add("a")
    b.peers.connect(again.key, [again.address], world.now, anew=True)
    world.run(2.0)
    assert b.of(PresenceUp)[-1].restarted
    lanes = [side.peers._context.by_key[key].lane for side, key in ((again, b.key), (b, a.key))]
    assert lanes[0].peer_id == lanes[1].id, "B has not told its new id, and A knows it"
    assert lanes[1].peer_id == lanes[0].id
    life = b.peers._context.incarnation
    later = world.add("b", life=life)
    later.peers.connect(again.key, [again.address], world.now)
    world.run(2.0)
    ups = again.of(PresenceUp)
    assert [(up.incarnation, up.restarted) for up in ups] == [(life, False), (life, True)]


def test_both_may_speak_of_lives_that_are_over() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    for side, other in ((a, b), (b, a)):  # Each has lost its lane, and has another.
        context = side.peers._context
        peer = context.by_key[other.key]
        peer.lane = peer.new_lane(context.config, context.random)
        peer.lane.peer_id = 1
    a.peers.connect(b.key, [b.address], world.now, anew=True)
    b.peers.connect(a.key, [a.address], world.now, anew=True)
    world.run(3.0)
    lanes = [side.peers._context.by_key[key].lane for side, key in ((a, b.key), (b, a.key))]
    assert (lanes[0].peer_id, lanes[1].peer_id) == (lanes[1].id, lanes[0].id)
    a.peers.send(b.key, 1, b"there", world.now)
    b.peers.send(a.key, 1, b"back", world.now)
    world.run(1.0)
    assert [entry for _, _, entry in (*b.entries, *a.entries)] == [b"there", b"back"]


def test_a_lane_that_is_kept_outlives_a_long_silence() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.keep(b.key, True)
    b.peers.keep(a.key, True)
    world.up(a, b)
    world.net.drop = lambda *_: True
    a.peers.send(b.key, 1, b"late", world.now)
    world.run(60.0)
    assert [event.reason for event in a.of(PresenceDown)] == [Reason.SILENT]
    assert [event.reason for event in b.of(PresenceDown)] == [Reason.SILENT]
    assert len(a.of(BulkClosed)) == 1
    a.peers.send(b.key, 1, b"later", world.now)
    world.net.drop = None
    world.connect(b, a)
    world.run(2.0)
    assert [entry for _, _, entry in b.entries] == [b"late", b"later"]
    assert [event.restarted for event in a.of(PresenceUp)] == [False, False]
    assert [event.restarted for event in b.of(PresenceUp)] == [False, False]


def test_a_restarted_peer_begins_the_lane_anew() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.keep(b.key, True)
    world.up(a, b)
    old_incarnation = a.of(PresenceUp)[0].incarnation
    b = world.add("b")
    a.peers.send(b.key, 1, b"to the dead", world.now)
    world.run(0.2)
    world.connect(b, a)
    b.peers.send(a.key, 1, b"I am back", world.now)
    world.run(2.0)
    assert [(e.incarnation, e.reason) for e in a.of(PresenceDown)] == [
        (old_incarnation, Reason.RESTARTED)
    ]
    assert len(a.of(BulkClosed)) == 1, "channels to the earlier life fail"
    up = a.of(PresenceUp)[-1]
    assert up.restarted
    assert up.incarnation != old_incarnation
    assert a.entries == [(b.key, 1, b"I am back")]
    a.peers.send(b.key, 1, b"welcome", world.now)
    world.run(1.0)
    assert b.entries == [(a.key, 1, b"welcome")]


def test_a_restart_found_by_the_other_side() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.keep(b.key, True)
    world.up(a, b)
    b = world.add("b")
    a.peers.send(b.key, 1, b"to the dead", world.now)
    a.peers.watch(b.key, True, world.now)
    world.run(3.0)
    world.connect(a, b)
    world.run(2.0)
    a.peers.send(b.key, 1, b"to the living", world.now)
    world.run(1.0)
    assert a.of(PresenceUp)[-1].restarted
    assert b.entries == [(a.key, 1, b"to the living")]


def test_a_delayed_p3_of_an_earlier_life_replaces_nothing() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    held: list[bytes] = []

    def drop(source: Address, target: Address, data: bytes) -> bool:
        if kind_of(data) == KIND_INITIATE and source == a.address:
            held.append(data)
            return True
        return False

    world.net.drop = drop
    world.connect(a, b)
    a.peers.send(b.key, 1, b"from the past", world.now)
    world.run(0.1)
    world.net.drop = None
    a = world.add("a")
    world.up(a, b)
    b.peers.send(a.key, 1, b"one", world.now)
    world.run(0.5)
    before = len(b.events)
    assert held
    world.inject(a.address, b.address, held[0])
    world.run(0.5)
    assert len(b.events) == before, "nothing is handed up before a datagram opens"
    assert b.peers._context.unconfirmed == 1
    b.peers.send(a.key, 1, b"two", world.now)
    world.run(15.0)
    assert [entry for _, _, entry in a.entries] == [b"one", b"two"]
    assert not b.of(PresenceDown)
    assert b.peers._context.unconfirmed == 0


@pytest.mark.parametrize("seed", range(8))
def test_crossed_handshakes_agree_on_one_presence(seed: int) -> None:
    world = World(seed, Net(delay_s=0.02, jitter_s=0.02 * (seed % 3)))
    a, b = world.add("a"), world.add("b")
    world.connect(a, b)
    a.peers.send(b.key, 1, b"from a", world.now)
    world.run(0.001 * (seed * 7 % 50))
    world.connect(b, a)
    b.peers.send(a.key, 1, b"from b", world.now)
    world.run(1.0)
    assert b.entries == [(a.key, 1, b"from a")]
    assert a.entries == [(b.key, 1, b"from b")]
    assert presence_of(a, b).initiator != presence_of(b, a).initiator, "the same one on both sides"
    for side in (a, b):
        assert len(side.of(PresenceUp)) == 1
        assert not side.of(PresenceDown)
        assert not side.of(ConnectFailed)
    world.run(20.0)  # the other one has drained
    a.peers.send(b.key, 1, b"more", world.now)
    world.run(1.0)
    assert b.entries[-1] == (a.key, 1, b"more")
    assert all(not side.peers._context.by_key[o.key].former for side, o in ((a, b), (b, a)))


def test_both_at_once_use_the_presence_whose_responder_has_the_larger_key() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.connect(a, b)
    world.connect(b, a)
    world.run(1.0)
    for one, other in ((a, b), (b, a)):
        assert presence_of(one, other).responder_key == max(a.key, b.key)


def test_an_initiator_that_vanishes_leaves_nothing() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.net.drop = lambda source, target, data: (
        source == b.address and kind_of(data) == KIND_ACCEPT
    )
    world.connect(a, b, timeout_s=0.4)
    a.peers.send(b.key, 1, b"first", world.now)
    world.run(5.0)
    assert b.entries == [(a.key, 1, b"first")]
    assert [event.reason for event in a.of(ConnectFailed)] == [Reason.NO_ANSWER]
    world.run(10.0)
    assert [event.reason for event in b.of(PresenceDown)] == [Reason.UNCONFIRMED]
    for side in (a, b):
        assert side.peers.status(a.key) is None
        assert side.peers.status(b.key) is None
        assert side.peers._context.by_cid == {}


def test_unconfirmed_presences_are_bounded() -> None:
    world = World()
    b = world.add("b", unconfirmed_max=3)
    world.net.drop = lambda source, target, data: kind_of(data) == KIND_ACCEPT
    for number in range(6):
        world.connect(world.add(f"i{number}"), b)
    world.run(1.0)
    assert b.peers._context.unconfirmed == 3
    assert len(b.peers._context.by_cid) == 3
    assert len(b.peers._context.by_key) == 3
    assert len(b.of(PresenceUp)) - len(b.of(PresenceDown)) == 3
    world.run(30.0)
    assert b.peers._context.by_key == {}
    assert len(b.of(PresenceUp)) == len(b.of(PresenceDown))


def test_p3s_that_had_to_wait_are_accepted_where_they_came_from() -> None:
    world = World()
    handshake = HandshakeConfig(handshakes_per_s_max=5.0, handshakes_burst=1)
    b = world.add("b", handshake=handshake)
    others = [world.add(f"i{number}") for number in range(6)]
    for number, other in enumerate(others):
        world.connect(other, b)
        other.peers.send(b.key, 1, b"%d" % number, world.now)
    world.run(0.1)
    assert b.peers._responder.waiting > 0
    world.run(4.0)
    assert sorted(entry for _, _, entry in b.entries) == [b"%d" % n for n in range(6)]
    for other in others:
        assert presence_of(b, other).path.address == other.address
        assert presence_of(other, b).confirmed


def test_the_table_of_peers_is_bounded_for_strangers_and_for_the_caller() -> None:
    world = World()
    b = world.add("b", peers_max=3)
    others = [world.add(f"i{number}") for number in range(5)]
    for other in others:
        world.connect(other, b)
    world.run(1.0)
    assert len(b.peers._context.by_key) == 3
    refused = [other for other in others if not other.of(PresenceUp)]
    assert len(refused) == 2
    with pytest.raises(LocalError):
        world.connect(b, refused[0])
    with pytest.raises(LocalError):
        b.peers.keep(refused[0].key, True)


def test_attempts_and_their_addresses_are_bounded() -> None:
    world = World()
    a, b, c = world.add("a", attempts_max=1, candidates_max=2), world.add("b"), world.add("c")
    dead = [(f"10.1.1.{number}", 9) for number in range(5)]
    a.peers.connect(b.key, dead, world.now)
    with pytest.raises(LocalError):
        world.connect(a, c)
    assert a.peers.status(c.key) is None
    a.peers.connect(b.key, dead[::-1], world.now)
    world.run(0.1)
    assert {t.address for t in a.sent} == set(dead[:2])


def test_several_addresses_are_tried_and_the_one_that_answers_is_used() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.connect(b.key, [("10.7.7.7", 1), b.address, ("10.7.7.8", 1)], world.now)
    world.run(1.0)
    assert a.of(PresenceUp)[0].address == b.address
    assert all(t.address == b.address for t in a.sent if kind_of(t.data) != KIND_HELLO)


def test_an_attempt_ends_in_time_and_retransmits_ever_more_slowly() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.net.drop = lambda *_: True
    start = world.now
    times: list[float] = []
    world.net.drop = lambda *_: bool(times.append(world.now)) or True
    world.connect(a, b, timeout_s=20.0)
    a.peers.send(b.key, 1, b"x", world.now)
    world.run_until(lambda: bool(a.of(ConnectFailed)))
    assert world.now - start == pytest.approx(20.0)
    assert len({t.data for t in a.sent}) == 1, "P1 is the same bytes each time"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    expected = [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert len(gaps) in (len(expected) - 1, len(expected))
    for gap, base in zip(gaps, expected, strict=False):
        assert base <= gap <= base * 1.25
    with pytest.raises(UnknownPeer):
        a.peers.send(b.key, 1, b"x", world.now)


@pytest.mark.parametrize("who_retries", ["sender", "receiver"])
def test_a_retry_after_an_unconfirmed_presence_brings_nothing_twice(who_retries: str) -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.keep(b.key, True)
    world.net.drop = lambda source, target, data: kind_of(data) == KIND_ACCEPT
    world.connect(a, b, timeout_s=1.0)
    a.peers.send(b.key, 1, b"once", world.now)
    world.run(20.0)
    assert [event.reason for event in b.of(PresenceDown)] == [Reason.UNCONFIRMED]
    assert b.peers.status(a.key) is None
    world.net.drop = None
    a.peers.send(b.key, 1, b"and then this", world.now)
    world.connect(*((a, b) if who_retries == "sender" else (b, a)))
    world.run(2.0)
    assert [entry for _, _, entry in b.entries] == [b"once", b"and then this"]


def test_what_is_remembered_of_unconfirmed_lanes_is_bounded() -> None:
    world = World()
    b = world.add("b", tombstones_max=3)
    world.net.drop = lambda source, target, data: kind_of(data) == KIND_ACCEPT
    for number in range(6):
        other = world.add(f"i{number}")
        world.connect(other, b)
        other.peers.send(b.key, 1, b"x", world.now)
    world.run(30.0)
    assert len(b.entries) == 6
    assert len(b.peers._context.tombstones) == 3
    assert b.peers._context.by_key == {}


def test_sides_that_judged_a_crossing_differently_find_together() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.connect(a, b)
    world.connect(b, a)
    world.run(1.0)
    peer = a.peers._context.by_key[b.key]
    wanted, (other_one,) = peer.current, peer.former
    assert wanted is not None
    # As if A had found the two more than the crossing time apart.
    peer.former = (wanted,)
    peer.current = other_one
    wanted.expires_at = world.now + 10.0
    for number in range(100):
        a.peers.send(b.key, 1, b"%d" % number, world.now)
        b.peers.send(a.key, 1, b"%d" % number, world.now)
        world.run(0.2)
    # It is back on the wanted one, and has renewed its keys, since those for bulk were told once.
    ours, theirs = presence_of(a, b), presence_of(b, a)
    assert ours is not other_one
    assert ours.initiator is wanted.initiator is not theirs.initiator
    assert ours.plane.send_key == theirs.plane.receive_key
    for one in (a, b):
        assert [entry for _, _, entry in one.entries] == [b"%d" % n for n in range(100)]
        assert not one.of(PresenceDown)
