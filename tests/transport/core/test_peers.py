"""The table of peers in seeded worlds: meeting, loss, replay, replacement, restart, bounds."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.pair import Net, Side, World
from transport.core import frames
from transport.core.agreement import HandshakeConfig
from transport.core.config import TransportConfig
from transport.core.constants import (
    KIND_ACCEPT,
    KIND_CHALLENGE,
    KIND_HELLO,
    KIND_INITIATE,
    MAGIC,
    SEALED_SIZE_MAX,
)
from transport.core.errors import LaneFull, LocalError, UnknownPeer
from transport.core.events import (
    BulkClosed,
    BulkPlane,
    ConnectFailed,
    EntriesReceived,
    Event,
    LaneRelieved,
    PresenceDown,
    PresenceUp,
    Reason,
)
from transport.core.presence import Presence
from transport.core.types import Address


def kind_of(data: bytes) -> int | None:
    return data[3] if data[:3] == MAGIC else None


def drop_first(world: World, kind: int, times: int) -> list[int]:
    """Lose the first `times` handshake datagrams of `kind`; the list counts them."""
    seen: list[int] = []

    def drop(source: Address, target: Address, data: bytes) -> bool:
        if kind_of(data) != kind:
            return False
        seen.append(1)
        return len(seen) <= times

    world.net.drop = drop
    return seen


def presence_of(side: Side, other: Side) -> Presence:
    presence = side.peers._table.relations[other.key].current
    assert presence is not None
    return presence


def answering(world: World, side: Side) -> None:
    """Answer every entry for group 0 at once."""

    def answer(event: Event) -> None:
        if isinstance(event, EntriesReceived):
            for group, entry in event.entries:
                if group == 0:
                    side.peers.send(event.peer, 0, b"re: " + entry, world.now)

    side.on_event = answer


def test_a_request_to_a_stranger_rides_on_the_handshake() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    start = world.now
    world.connect(a, b)
    a.peers.send(b.key, 0, b"hello", world.now)
    world.run_until(lambda: bool(a.entries))
    assert world.now - start == pytest.approx(4 * world.net.delay_s), "two round trips"
    assert b.entries == [(a.key, 0, b"hello")]
    assert a.entries == [(b.key, 0, b"re: hello")]
    world.run(2.0)
    assert [kind_of(t.data) for t in a.sent] == [KIND_HELLO, KIND_INITIATE, None]
    assert [kind_of(t.data) for t in b.sent] == [KIND_CHALLENGE, KIND_ACCEPT, None]


def test_both_sides_learn_of_the_presence_and_its_bulk_plane() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    (up_a,), (up_b,) = a.of(PresenceUp), b.of(PresenceUp)
    assert (up_a.initiator, up_b.initiator) == (True, False)
    assert (up_a.restarted, up_b.restarted) == (False, False)
    assert (up_a.address, up_b.address) == (b.address, a.address)
    plane_a, plane_b = a.of(BulkPlane)[0].plane, b.of(BulkPlane)[0].plane
    assert plane_a.send_key == plane_b.receive_key
    assert plane_a.receive_key == plane_b.send_key
    assert plane_a.send_header_key == plane_b.receive_header_key
    assert plane_a.receive_cid == plane_b.send_cid
    assert plane_a.send_cid == plane_b.receive_cid
    status = a.peers.status(b.key)
    assert status is not None
    assert status.up
    assert status.rtt_s == pytest.approx(2 * world.net.delay_s)


@pytest.mark.parametrize("kind", [KIND_HELLO, KIND_CHALLENGE, KIND_INITIATE, KIND_ACCEPT])
@pytest.mark.parametrize("times", [1, 2])
def test_the_loss_of_any_handshake_datagram_is_survived(kind: int, times: int) -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    seen = drop_first(world, kind, times)
    world.connect(a, b, timeout_s=10.0)
    a.peers.send(b.key, 0, b"hello", world.now)
    world.run(8.0)
    assert len(seen) == times + 1
    assert a.entries == [(b.key, 0, b"re: hello")]
    assert b.entries == [(a.key, 0, b"hello")]
    assert not b.of(PresenceDown)
    assert len(b.of(PresenceUp)) == 1


def test_the_loss_of_the_first_sealed_datagrams_is_survived() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    lost: list[bytes] = []

    def drop(source: Address, target: Address, data: bytes) -> bool:
        if kind_of(data) is None and len(lost) < 3:
            lost.append(data)
            return True
        return False

    world.net.drop = drop
    world.connect(a, b)
    world.run(12.0)
    assert len(lost) == 3
    assert presence_of(b, a).confirmed
    assert presence_of(a, b).confirmed
    assert not b.of(PresenceDown)


@pytest.mark.parametrize("seed", range(6))
def test_lossy_worlds_deliver_everything_once_and_in_order(seed: int) -> None:
    net = Net(delay_s=0.02, jitter_s=0.03, loss=0.25, duplicates=0.2)
    world = World(seed, net)
    a, b, c = world.add("a"), world.add("b"), world.add("c")
    pairs = [(a, b), (b, c), (a, c)]
    for left, right in pairs:
        left.peers.keep(right.key, True)
        right.peers.keep(left.key, True)
        world.connect(left, right, timeout_s=60.0)
    if seed % 2:
        world.connect(b, a, timeout_s=60.0)
    wanted: dict[tuple[str, str], list[tuple[bytes, int, bytes]]] = {}
    for number in range(40):
        for one, other in [*pairs, *((y, x) for x, y in pairs)]:
            entry = f"{one.name}{other.name}{number}".encode() + bytes(number * 37 % 2_500)
            try:
                one.peers.send(other.key, number % 3, entry, world.now)
            except UnknownPeer:
                raise AssertionError("kept peers take entries") from None
            wanted.setdefault((one.name, other.name), []).append((one.key, number % 3, entry))
        world.run(0.05)
    net.loss = net.duplicates = 0.0
    world.run(60.0)
    for (one_name, other_name), entries in wanted.items():
        one = world.names[one_name]
        got = [entry for entry in world.names[other_name].entries if entry[0] == one.key]
        assert got == entries, f"seed {seed}: {one_name} to {other_name}"
    for side in (a, b, c):
        assert all(len(t.data) <= 1200 for t in side.sent)
        assert all(len(t.data) <= SEALED_SIZE_MAX for t in side.sent if kind_of(t.data) is None)


def test_an_ask_on_a_warm_presence_is_one_datagram_each_way() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    world.up(a, b)
    for number in range(3):
        before = len(a.sent), len(b.sent)
        a.peers.send(b.key, 0, b"ask %d" % number, world.now)
        world.run(1.0)
        assert (len(a.sent), len(b.sent)) == (before[0] + 1, before[1] + 1)
        assert a.entries[-1] == (b.key, 0, b"re: ask %d" % number)
    # cid 8, counter 1, tag 16; kind, number, upto, delay 10; entry's head 2
    assert len(a.sent[-1].data) == 8 + 1 + 16 + 10 + 2 + len(b"ask 2")


def test_a_hundred_entries_of_fifty_bytes_pack_into_six_datagrams() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    before = len(a.sent)
    for number in range(100):
        a.peers.send(b.key, 9, b"%050d" % number, world.now)
    world.run(1.0)
    assert len(a.sent) - before == 6
    assert [entry for _, _, entry in b.entries] == [b"%050d" % number for number in range(100)]


def test_replayed_datagrams_are_silence() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    answering(world, b)
    world.connect(a, b)
    for number in range(100):
        a.peers.send(b.key, 0, b"ask %d" % number, world.now)
        world.run(0.1)
    world.run(1.0)
    recorded = [(data, source) for data, source in b.received if kind_of(data) is None]
    events, sent, entries = len(b.events), len(b.sent), len(b.entries)
    stranger = ("10.9.9.9", 1)
    for data, source in recorded:
        world.inject(source, b.address, data)
        world.inject(stranger, b.address, data)
    world.run(0.2)
    assert (len(b.events), len(b.sent), len(b.entries)) == (events, sent, entries)


def test_altered_and_cut_datagrams_are_silence() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    good: list[bytes] = []

    def capture(source: Address, target: Address, data: bytes) -> bool:
        if source == a.address:
            good.append(data)
        return True

    world.net.drop = capture
    a.peers.send(b.key, 1, b"entry", world.now)
    world.drain(a)
    (datagram,) = good
    events, sent = len(b.events), len(b.sent)
    for bit in range(len(datagram) * 8):
        bad = bytearray(datagram)
        bad[bit // 8] ^= 1 << bit % 8
        b.peers.receive_datagrams([(bytes(bad), a.address)], world.now)
    for size in range(len(datagram)):
        b.peers.receive_datagrams([(datagram[:size], a.address)], world.now)
    b.peers.receive_datagrams([(datagram + b"x", a.address)], world.now)
    world.drain(b)
    assert (len(b.events), len(b.sent)) == (events, sent)
    b.peers.receive_datagrams([(datagram, a.address)], world.now)
    world.drain(b)
    assert b.entries == [(a.key, 1, b"entry")]


def test_altered_handshakes_bring_no_presence_and_raise_nothing() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    fresh = world.add("c")
    for data, source in [*b.received, *a.received]:
        for at in range(0, len(data), 5):
            bad = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
            fresh.peers.receive_datagrams([(bad, source), (data[:at], source)], world.now)
            a.peers.receive_datagrams([(bad, b.address)], world.now)
    world.run(0.1)
    assert fresh.events == []
    for size in range(0, 1300, 7):
        for head in (b"", MAGIC, presence_of(b, a).message_cid):
            noise = head + world.random.randbytes(size)
            b.peers.receive_datagrams([(noise, a.address)], world.now)
    assert not b.of(PresenceDown)


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
    assert a.peers._table.relations[b.key].attempt is not None, "a silent peer is tried again"
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
    assert b.peers._table.unconfirmed == 1
    b.peers.send(a.key, 1, b"two", world.now)
    world.run(15.0)
    assert [entry for _, _, entry in a.entries] == [b"one", b"two"]
    assert not b.of(PresenceDown)
    assert b.peers._table.unconfirmed == 0


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
    assert all(not side.peers._table.relations[o.key].former for side, o in ((a, b), (b, a)))


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
        assert side.peers._table.by_cid == {}


def test_unconfirmed_presences_are_bounded() -> None:
    world = World()
    b = world.add("b", unconfirmed_max=3)
    world.net.drop = lambda source, target, data: kind_of(data) == KIND_ACCEPT
    for number in range(6):
        world.connect(world.add(f"i{number}"), b)
    world.run(1.0)
    assert b.peers._table.unconfirmed == 3
    assert len(b.peers._table.by_cid) == 3
    assert len(b.peers._table.relations) == 3
    assert len(b.of(PresenceUp)) - len(b.of(PresenceDown)) == 3
    world.run(30.0)
    assert b.peers._table.relations == {}
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
    assert len(b.peers._table.waiting) > 0
    world.run(4.0)
    assert sorted(entry for _, _, entry in b.entries) == [b"%d" % n for n in range(6)]
    for other in others:
        assert presence_of(b, other).path.address == other.address
        assert presence_of(other, b).confirmed
    assert b.peers._table.waiting == {}


def test_the_memory_of_waiting_p3s_is_bounded() -> None:
    world = World()
    table = world.add("b", handshake=HandshakeConfig(waiting_max=2)).peers._table
    for number in range(100):
        table.remember_waiting(b"%08d" % number, ("10.0.0.9", number))
    assert list(table.waiting) == [b"%08d" % number for number in range(92, 100)]


def test_the_table_of_peers_is_bounded_for_strangers_and_for_the_caller() -> None:
    world = World()
    b = world.add("b", peers_max=3)
    others = [world.add(f"i{number}") for number in range(5)]
    for other in others:
        world.connect(other, b)
    world.run(1.0)
    assert len(b.peers._table.relations) == 3
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
    assert len(a.peers._table.timers) < 10
    assert len(b.peers._table.timers) < 10


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


# -- new keys through the presence


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
        assert list(one.peers._table.by_cid) == [presence_of(one, other).message_cid]
        assert one.peers._table.unconfirmed == 0


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


def test_keys_that_cannot_be_renewed_are_given_up_at_three_times_the_limit() -> None:
    world = World()
    a, b = world.add("a", rekey_s=5.0), world.add("b", rekey_s=5.0)
    world.up(a, b)
    # A peer that never answers: its own clock says that there is time.
    b.peers._table.relations[a.key].current.renewed = None  # type: ignore[union-attr]
    b.peers._table.unconfirmed = b.peers._table.config.unconfirmed_max
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
