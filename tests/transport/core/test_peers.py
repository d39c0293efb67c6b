"""The table of peers in seeded worlds: meeting, loss, replay, what an exchange costs."""

from __future__ import annotations

import pytest

from tests.support.pair.pair import Net, World, answering, drop_first, kind_of, presence_of
from transport.core.constants import (
    KIND_ACCEPT,
    KIND_CHALLENGE,
    KIND_HELLO,
    KIND_INITIATE,
    MAGIC,
    SEALED_SIZE_MAX,
)
from transport.core.errors import UnknownPeer
from transport.core.events import (
    BulkPlane,
    PresenceDown,
    PresenceUp,
)
from transport.core.types import Address


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
