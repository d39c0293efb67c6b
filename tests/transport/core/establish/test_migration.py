"""Deliberate moves: what an observer of both networks sees, and what a peer can do with them."""

from __future__ import annotations

import pytest

from tests.support.pair.handshake import flip
from tests.support.pair.pair import Net, Side, World, answering, kind_of, presence_of
from transport.core import frames
from transport.core.constants import AMPLIFICATION_MAX
from transport.core.errors import LocalError, UnknownPeer
from transport.core.establish import migration
from transport.core.events import BulkPlane, PathMoved, PresenceDown, PresenceUp
from transport.core.peer import teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.presence.spare_epochs import SPARES
from transport.core.types import Address

OLD_ADDRESS, NEW_ADDRESS = ("10.0.0.1", 4000), ("203.0.113.5", 777)


def roaming(seed: int = 1, net: Net | None = None) -> tuple[World, Side, Side]:
    """Two that have talked; the first may move."""
    world = World(seed, net)
    a, b = world.add("a", roams=True), world.add("b")
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.up(a, b)
    a.peers.send(b.key, 1, b"before", world.now)
    world.run(1.0)
    return world, a, b


def go(world: World, side: Side, peer: Side, address: Address = NEW_ADDRESS) -> None:
    """Move on purpose."""
    side.peers.move(peer.key, world.now)
    world.move(side, address)


def ids_at(side: Side, peer: Side, address: Address) -> tuple[set[bytes], set[bytes]]:
    """Connection ids seen at an address: of what came from there, and of what went there."""
    came = {data[:8] for data, source in peer.received if source == address}
    went = {sent.data[:8] for sent in peer.sent if sent.address == address}
    return (
        {each for each in came if kind_of(each) is None},
        {each for each in went if kind_of(each) is None},
    )


def linked(side: Side, peer: Side) -> bool:
    """Whether the datagrams at the two addresses have an id in common."""
    old, new = ids_at(side, peer, OLD_ADDRESS), ids_at(side, peer, NEW_ADDRESS)
    assert all(old)
    assert all(new)
    return bool((old[0] | old[1]) & (new[0] | new[1]))


@pytest.mark.parametrize("seed", range(5))
def test_nothing_links_the_addresses_and_nothing_is_lost(seed: int) -> None:
    world, a, b = roaming(seed, Net(loss=0.1 if seed else 0.0))
    a.peers.send(b.key, 1, b"under way", world.now)
    b.peers.send(a.key, 1, b"too", world.now)
    for side in (a, b):
        world.drain(side)
    go(world, a, b)
    a.peers.send(b.key, 1, b"after", world.now)
    world.run(20.0)
    assert not linked(a, b)
    assert [entry for _, _, entry in b.entries] == [b"before", b"under way", b"after"]
    assert [entry for _, _, entry in a.entries] == [b"too"]
    assert [event.address for event in b.of(PathMoved)] == [NEW_ADDRESS]
    for side in (a, b):
        assert len(side.of(PresenceUp)) == 1
        assert not side.of(PresenceDown)
    # Bulk followed, under keys that both have, and then new ones were made.
    planes = [[event.plane for event in side.of(BulkPlane)] for side in (a, b)]
    for mine, theirs in zip(*planes, strict=True):
        assert mine.send_key == theirs.receive_key
        assert mine.send_cid == theirs.receive_cid
    assert len(planes[0]) == 3
    assert len({plane.send_cid for plane in planes[0]}) == 3
    assert presence_of(a, b).address == b.address
    assert presence_of(b, a).address == NEW_ADDRESS
    assert a.peers._context.moved == {}


def test_without_it_the_addresses_are_linked() -> None:
    world, a, b = roaming()
    world.move(a, NEW_ADDRESS)
    a.peers.send(b.key, 1, b"after", world.now)
    world.run(5.0)
    assert linked(a, b)


def test_both_ways_in_turn_and_again_and_again() -> None:
    world = World()
    a, b = world.add("a", roams=True), world.add("b", roams=True)
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.up(a, b)
    answering(world, b)
    for number in range(6):
        mover, other = ((a, b), (b, a))[number % 2]
        go(world, mover, other, (f"203.0.113.{number}", 1))
        a.peers.send(b.key, 0, b"%d" % number, world.now)
        world.run(3.0)
    assert [entry for _, _, entry in a.entries] == [b"re: %d" % n for n in range(6)]
    assert not a.of(PresenceDown)


def test_as_many_moves_as_there_are_spares_until_the_peer_is_heard() -> None:
    world, a, b = roaming()
    world.net.drop = lambda source, target, data: True
    for number in range(SPARES):
        go(world, a, b, (f"203.0.113.{number}", 1))
        world.run(0.2)
    with pytest.raises(LocalError):
        a.peers.move(b.key, world.now)
    world.net.drop = None
    a.peers.send(b.key, 1, b"after", world.now)
    world.run(3.0)
    assert [entry for _, _, entry in b.entries] == [b"before", b"after"]
    a.peers.move(b.key, world.now)


def test_what_it_needs() -> None:
    world = World()
    a, b, c = world.add("a", roams=True), world.add("b"), world.add("c")
    with pytest.raises(UnknownPeer):
        a.peers.move(b.key, world.now)
    a.peers.keep(b.key, True)
    with pytest.raises(UnknownPeer):
        a.peers.move(b.key, world.now)
    world.net.drop = lambda source, target, data: kind_of(data) is None
    world.connect(a, b)
    world.run(0.2)
    with pytest.raises(LocalError):
        a.peers.move(b.key, world.now)
    world.net.drop = None
    world.up(c, b)
    with pytest.raises(LocalError):
        c.peers.move(b.key, world.now)


def first_under_spare(world: World, a: Side, b: Side) -> bytes:
    """What `a` sends first from its new address; it does not arrive."""
    world.net.drop = lambda source, target, data: source == NEW_ADDRESS
    before = len(a.sent)
    go(world, a, b)
    world.run(0.05)
    return a.sent[before].data


def test_forged_datagrams_under_a_spare_id_change_nothing() -> None:
    world, a, b = roaming()
    true = first_under_spare(world, a, b)
    context = b.peers._context
    peer = context.by_key[a.key]
    before = (peer.current, peer.former, set(context.by_cid), set(context.spares))
    assert len(context.spares) == SPARES
    for bit in range(64, 8 * len(true), 5):
        world.inject(NEW_ADDRESS, b.address, flip(true, bit))
    world.inject(NEW_ADDRESS, b.address, true[:8])
    world.run(0.02)
    assert before == (peer.current, peer.former, set(context.by_cid), set(context.spares))
    assert all(sent.address != NEW_ADDRESS for sent in b.sent)
    world.inject(NEW_ADDRESS, b.address, true)
    world.run(0.02)
    assert peer.current is not before[0]


def test_a_recording_is_not_opened_again() -> None:
    world, a, b = roaming()
    true = first_under_spare(world, a, b)
    world.net.drop = None
    world.inject(NEW_ADDRESS, b.address, true)
    world.run(3.0)
    planes = len(b.of(BulkPlane))
    context = b.peers._context
    assert true[:8] not in context.spares
    world.inject(("198.51.100.9", 9), b.address, true)
    world.run(1.0)
    # Also once that presence is gone and its parent is not.
    peer = context.by_key[a.key]
    for presence in peer.former:
        teardown.discard(context, peer, presence)
    world.inject(("198.51.100.9", 9), b.address, true)
    world.run(1.0)
    assert len(b.of(BulkPlane)) == planes
    assert all(sent.address != ("198.51.100.9", 9) for sent in b.sent)


def test_who_names_a_victims_address_gets_it_no_more_than_three_times_what_came() -> None:
    world, a, b = roaming()
    for _ in range(40):
        b.peers.send(a.key, 1, bytes(1000), world.now)
    world.drain(b)
    victim = ("198.51.100.77", 53)
    a.peers.move(b.key, world.now)
    before = len(b.sent)
    spoofed = 0
    for number in range(20):
        b.peers.send(a.key, 1, b"more for it", world.now)
        datagram = presence_of(a, b).sealer.seal(frames.ping(number))
        spoofed += len(datagram)
        world.inject(victim, b.address, datagram)
        world.run(0.3)
        to_it = [sent for sent in b.sent[before:] if sent.address == victim]
        assert sum(len(sent.data) for sent in to_it) <= AMPLIFICATION_MAX * spoofed
    assert to_it, "it was asked to echo a challenge"
    # Nor is it told to the bulk path.
    assert all(event.address != victim for event in b.of(PathMoved))
    assert all(event.plane.address != victim for event in b.of(BulkPlane))


def test_they_go_with_the_presence() -> None:
    world, a, b = roaming()
    assert len(b.peers._context.spares) == SPARES
    assert a.peers._context.spares == {}
    a.peers.keep(b.key, False)
    b.peers.keep(a.key, False)
    b.peers.close(a.key, 1, world.now)
    world.run(15.0)
    assert b.peers._context.spares == {}
    assert b.peers._context.by_key == {}


def test_new_keys_bring_new_spares() -> None:
    world = World()
    a, b = world.add("a", roams=True, rekey_s=2.0), world.add("b", rekey_s=2.0)
    a.peers.keep(b.key, True)
    world.up(a, b)
    seen = set(b.peers._context.spares)
    for number in range(60):
        a.peers.send(b.key, 1, b"%d" % number, world.now)
        world.run(0.5)
        seen |= set(b.peers._context.spares)
        # Of the current epoch, and of one or two that drain.
        assert len(b.peers._context.spares) <= 4 * SPARES
    assert len(seen) >= 8 * SPARES


def test_a_secret_does_not_show() -> None:
    world, a, b = roaming()
    world.net.drop = lambda source, target, data: True
    go(world, a, b)
    (origin,) = a.peers._context.moved.values()
    assert origin.secret.hex() not in repr(a.peers._context.moved)
    assert repr(origin.secret) not in repr(a.peers._context.moved)


def test_one_word_of_it_in_a_datagram_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    world, a, b = roaming()
    expected: list[int] = []
    expect = migration.expect

    def counted(context: Context, peer: Peer, presence: Presence) -> None:
        expected.append(1)
        expect(context, peer, presence)

    monkeypatch.setattr(migration, "expect", counted)
    datagram = presence_of(a, b).sealer.seal(bytes((frames.MOVABLE,)) * 1000)
    b.peers.receive_datagrams([(datagram, a.address)], world.now)
    assert len(expected) == 1
    assert len(b.peers._context.spares) == SPARES


def test_presences_that_have_ended_answer_nobody_any_more() -> None:
    world, a, b = roaming()
    c = world.add("c")
    world.up(a, c)
    late = presence_of(c, a).sealer.seal(frames.ping(1))
    a.peers.close(c.key, 1, world.now)
    world.drain(a)
    go(world, a, b)
    sent = len(a.sent)
    world.inject(c.address, NEW_ADDRESS, late)
    world.run(0.5)
    assert all(each.address != c.address for each in a.sent[sent:])
