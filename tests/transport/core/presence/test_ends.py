"""How presences end and renew their keys, and what neither side can do to the other."""

from __future__ import annotations

import pytest

from tests.support.pair.pair import Net, World, answering, presence_of
from transport.core import frames
from transport.core.config import TransportConfig
from transport.core.constants import (
    SEALED_SIZE_MAX,
    SUITE_AEGIS256,
)
from transport.core.errors import LaneFull, LocalError, UnknownPeer
from transport.core.establish import key_update
from transport.core.events import (
    BulkPlane,
    LaneRelieved,
    PathMoved,
    PresenceDown,
    PresenceUp,
    Reason,
)
from transport.core.handshake.negotiation import HandshakeConfig


def test_a_full_lane_is_told_to_the_caller_and_its_relief_later() -> None:
    world = World()
    a, b = world.add("a", lane_backlog_entries_max=50), world.add("b")
    world.up(a, b)
    for _ in range(50):
        a.peers.send(b.key, 1, b"x", world.now)
    with pytest.raises(LaneFull):
        a.peers.send(b.key, 1, b"x", world.now)
    world.run(1.0)
    assert [event.peer for event in a.of(LaneRelieved)] == [b.key]
    assert len(b.entries) == 50


def test_what_the_caller_cannot_do() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    with pytest.raises(UnknownPeer):
        a.peers.send(b.key, 1, b"x", world.now)
    for bad in (a.key, b"short"):
        with pytest.raises(LocalError):
            a.peers.connect(bad, [b.address], world.now)
    with pytest.raises(LocalError):
        a.peers.connect(b.key, [], world.now)
    with pytest.raises(LocalError):
        a.peers.connect(b"\xff" * 32, [b.address], world.now)
    assert a.peers.status(b"\xff" * 32) is None
    world.up(a, b)
    with pytest.raises(LocalError):
        a.peers.close(b.key, 128, world.now)
    with pytest.raises(LocalError):
        TransportConfig(rto_min_s=0.01)


def test_close_tells_the_other_side_why() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    a.peers.close(b.key, 7, world.now)
    world.run(1.0)
    assert [event.reason for event in a.of(PresenceDown)] == [7]
    assert [event.reason for event in b.of(PresenceDown)] == [7]
    assert b.peers.status(a.key) is None
    with pytest.raises(UnknownPeer):
        a.peers.send(b.key, 1, b"x", world.now)
    world.run(15.0)
    assert a.peers.status(b.key) is None
    world.up(a, b)
    assert [event.restarted for event in a.of(PresenceUp)] == [False, False]


def test_a_lost_close_is_said_again() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    world.net.drop = lambda source, target, data: source == a.address
    a.peers.close(b.key, 7, world.now)
    world.run(0.1)
    world.net.drop = None
    b.peers.send(a.key, 1, b"are you there", world.now)
    world.run(0.5)
    assert [event.reason for event in b.of(PresenceDown)] == [7]
    assert a.entries == []


def test_forget_ends_everything() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.keep(b.key, True)
    world.up(a, b)
    a.peers.forget(b.key)
    world.run(1.0)
    assert [event.reason for event in b.of(PresenceDown)] == [Reason.FORGOTTEN]
    world.run(15.0)
    assert a.peers.status(b.key) is None


def test_unknown_frames_end_the_row_and_what_came_before_counts() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    before = len(b.sent)
    presence = presence_of(a, b)
    for tail in (b"\x3f\xff\xff", b"\x00\x05\x07", b"\xff\x05\x07"):
        datagram = presence.sealer.seal(frames.ping(77) + tail)
        b.peers.receive_datagrams([(datagram, a.address)], world.now)
        world.drain(b)
    assert len(b.sent) == before + 3
    assert not b.of(PresenceDown)


@pytest.mark.parametrize(
    "payload",
    [b"\x01\x00", b"\x40\x00", b"\x40\x00\x00\x00\x00\x05", b"\x50\x00\x00\x00\x63\x00"],
    ids=["ping", "packet", "entry", "ack of nothing"],
)
def test_a_peer_that_breaks_the_rules_is_left(payload: bytes) -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    datagram = presence_of(a, b).sealer.seal(payload)
    b.peers.receive_datagrams([(datagram, a.address)], world.now)
    world.run(1.0)
    assert [event.reason for event in b.of(PresenceDown)] == [Reason.PROTOCOL]
    assert [event.reason for event in a.of(PresenceDown)] == [Reason.PROTOCOL]


def test_the_heap_of_timers_does_not_grow_with_traffic() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    a.peers.keep(b.key, True)
    world.up(a, b)
    for number in range(300):
        a.peers.send(b.key, number % 2, b"x", world.now)
        world.run(0.03)
    assert len(a.peers._context.timers) < 10
    assert len(b.peers._context.timers) < 10


def test_no_secret_shows_in_a_repr() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    plane = a.of(BulkPlane)[0].plane
    shown = repr(a.events) + repr(presence_of(a, b)) + repr(plane)
    for secret in (plane.send_key, plane.receive_key, plane.send_header_key):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    assert "send_key" not in repr(plane)


def test_a_run_is_a_function_of_its_seed() -> None:
    def trace(seed: int) -> list[bytes]:
        world = World(seed, Net(loss=0.2, jitter_s=0.02))
        a, b = world.add("a"), world.add("b")
        answering(world, b)
        world.connect(a, b)
        for number in range(10):
            if a.peers.status(b.key):
                a.peers.send(b.key, 0, b"%d" % number, world.now)
            world.run(0.2)
        return [t.data for t in (*a.sent, *b.sent)]

    assert trace(5) == trace(5)
    assert trace(5) != trace(6)


def test_keys_are_renewed_every_two_minutes_of_use_and_nobody_notices() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    keep = [(a, b), (b, a)]
    for one, other in keep:
        one.peers.keep(other.key, True)
    world.up(a, b)
    first = presence_of(a, b).message_cid
    sent = 0
    for number in range(300):
        a.peers.send(b.key, 1, b"%d" % number, world.now)
        b.peers.send(a.key, 1, b"%d" % number, world.now)
        world.run(1.0)
        sent += 1
    assert presence_of(a, b).message_cid != first
    for one, other in keep:
        assert [entry for _, _, entry in one.entries] == [b"%d" % n for n in range(sent)]
        planes = [event.plane for event in one.of(BulkPlane)]
        assert len(planes) == 3
        assert len({plane.send_key for plane in planes}) == 3
        assert len({plane.send_cid for plane in planes}) == 3
        assert len(one.of(PresenceUp)) == 1
        assert not one.of(PresenceDown)
        assert presence_of(one, other).confirmed
    assert a.of(BulkPlane)[2].plane.send_key == b.of(BulkPlane)[2].plane.receive_key
    world.run(20.0)
    for one, other in keep:
        assert list(one.peers._context.by_cid) == [presence_of(one, other).message_cid]
        assert one.peers._context.unconfirmed == 0


@pytest.mark.parametrize("seed", range(4))
def test_keys_are_renewed_under_loss(seed: int) -> None:
    world = World(seed, Net(jitter_s=0.02))
    a, b = world.add("a", rekey_s=5.0), world.add("b", rekey_s=5.0)
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.up(a, b)
    world.net.loss, world.net.duplicates = 0.3, 0.3
    for number in range(200):
        a.peers.send(b.key, 1, b"%d" % number, world.now)
        b.peers.send(a.key, 1, b"%d" % number, world.now)
        world.run(0.25)
    world.net.loss = 0.0
    world.run(20.0)
    for one in (a, b):
        assert [entry for _, _, entry in one.entries] == [b"%d" % n for n in range(200)]
        assert len(one.of(BulkPlane)) >= 5
        assert not one.of(PresenceDown)


def test_an_idle_presence_keeps_its_keys() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    a.peers.keep(b.key, True)
    world.up(a, b)
    world.run(500.0)
    assert len(a.of(BulkPlane)) == 1


def test_keys_that_were_idle_for_long_are_renewed_and_not_given_up() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.up(a, b)
    world.run(4_000.0)
    assert len(a.of(BulkPlane)) == 1
    for number in range(20):
        (a if number % 2 else b).peers.send((b if number % 2 else a).key, 1, b"x", world.now)
        world.run(0.5)
    assert len(a.of(BulkPlane)) == len(b.of(BulkPlane)) == 2
    assert len(a.entries) == len(b.entries) == 10
    assert not a.of(PresenceDown)


def test_bulk_counts_toward_the_age_and_the_limit_of_keys_and_against_idling() -> None:
    world = World()
    a, b = world.add("a", rekey_datagrams=1_000), world.add("b", rekey_datagrams=1_000)
    world.up(a, b)
    for side, other in ((a, b), (b, a)):
        side.peers.bulk_passed(b"?" * 32, 1, world.now)
        side.peers.bulk_passed(other.key, 0, world.now)
    for _ in range(5):
        world.run(50.0)
        for side, other in ((a, b), (b, a)):
            side.peers.bulk_passed(other.key, 1, world.now)
    assert len(a.of(BulkPlane)) == len(b.of(BulkPlane)) >= 2, "by age"
    epochs = len(a.of(BulkPlane))
    b.peers.bulk_passed(a.key, 900 * 1_024, world.now)
    world.run(1.0)
    assert len(a.of(BulkPlane)) == epochs
    b.peers.bulk_passed(a.key, 200 * 1_024, world.now)
    world.run(1.0)
    assert len(a.of(BulkPlane)) == len(b.of(BulkPlane)) == epochs + 1, "by volume: B asked for it"
    a.peers.bulk_passed(b.key, 1_100 * 1_024, world.now)
    world.run(1.0)
    assert len(a.of(BulkPlane)) == len(b.of(BulkPlane)) == epochs + 2
    assert not a.of(PresenceDown)
    world.run(70.0)
    assert {event.reason for event in a.of(PresenceDown)} == {Reason.IDLE}


def test_bulk_from_elsewhere_has_both_addresses_asked_and_moves_nothing_by_itself() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    b.peers.poll_transmits()
    elsewhere, size = ("198.51.100.9", 9), 60
    b.peers.bulk_heard(b"?" * 32, elsewhere, size, world.now)
    b.peers.bulk_heard(a.key, elsewhere, size, world.now)
    asked: dict[object, int] = {}
    for data, address in b.peers.poll_transmits():
        asked[address] = asked.get(address, 0) + len(data)
    assert set(asked) == {elsewhere, a.address}
    assert asked[elsewhere] <= 3 * size
    world.run(20.0)
    assert not b.of(PathMoved)


def test_keys_that_cannot_be_renewed_are_given_up_at_three_times_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    a, b = world.add("a", rekey_s=5.0), world.add("b", rekey_s=5.0)
    world.up(a, b)
    # A peer that never answers message 1.
    monkeypatch.setattr(key_update, "_answer_untrusted", lambda *arguments: None)
    for _ in range(100):
        if a.of(PresenceDown):
            break
        a.peers.send(b.key, 1, b"x", world.now)
        world.run(0.5)
    assert {event.reason for event in (*a.of(PresenceDown), *b.of(PresenceDown))} == {Reason.LIMIT}


def test_a_flood_of_probes_gets_few_answers_and_every_datagram_fits() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    sealer = presence_of(a, b).sealer
    flood = [(sealer.seal(b"".join(frames.ping(n) for n in range(200))), a.address)] * 1
    flood += [(sealer.seal(frames.ping(n) + frames.challenge(n)), a.address) for n in range(50)]
    for _ in range(20):
        b.peers.send(a.key, 1, bytes(1_022), world.now)
    before = len(b.sent)
    b.peers.receive_datagrams(flood, world.now)
    world.drain(b)
    assert len(b.sent) - before <= 10 + 1 + 8 + 1
    assert all(len(t.data) <= SEALED_SIZE_MAX for t in b.sent[before:])
    world.run(2.0)
    assert len(a.entries) == 20


def test_with_aegis_on_both_sides_everything_is_the_same() -> None:
    world = World()
    handshake = HandshakeConfig(aegis=True)
    a, b = world.add("a", handshake=handshake), world.add("b", handshake=handshake)
    world.up(a, b)
    assert a.of(BulkPlane)[0].plane.suite == SUITE_AEGIS256
    for _ in range(5):
        a.peers.send(b.key, 1, bytes(5_000), world.now)
    world.run(2.0)
    assert len(b.entries) == 5
    assert max(len(t.data) for t in a.sent) <= SEALED_SIZE_MAX
