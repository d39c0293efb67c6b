"""Relays: what a cut link costs, what a relay can do, and what it is kept from doing."""

from __future__ import annotations

import pytest

from tests.support.pair.pair import Side, World, kind_of, presence_of
from transport.core import frames
from transport.core.constants import DATAGRAM_SIZE_MAX
from transport.core.errors import LocalError
from transport.core.events import EntriesReceived, LinkCut, LinkHealed, PresenceDown, Silent
from transport.core.peer.relay import RELAYS_MAX
from transport.core.types import Address


class Mesh:
    """Sides that keep each other and may relay for each other; links can be cut one way."""

    def __init__(self, names: str = "abc", seed: int = 1, **tuning: float) -> None:
        self.world = World(seed)
        self.world.net.drop = self._drop
        self.cut: set[tuple[Address, Address]] = set()
        self.sides = [self.world.add(name, **tuning) for name in names]
        for one in self.sides:
            for other in self.sides:
                if one is not other:
                    one.peers.keep(other.key, True)
        for number, one in enumerate(self.sides):
            for other in self.sides[number + 1 :]:
                self.world.connect(one, other)
        self.world.run(1.0)
        for one in self.sides:
            for other in self.sides:
                if one is not other:
                    via = [side.key for side in self.sides if side not in (one, other)]
                    one.peers.relays(other.key, via)
        for side in self.sides:
            side.sent.clear()

    def _drop(self, source: Address, target: Address, data: bytes) -> bool:
        return (source, target) in self.cut

    def sever(self, one: Side, other: Side, both: bool = True) -> None:
        self.cut.add((one.address, other.address))
        if both:
            self.cut.add((other.address, one.address))

    def talk(self, one: Side, other: Side, seconds: float, mark: int) -> list[bytes]:
        """Entries both ways all that time; returns what was sent each way."""
        sent = []
        until = self.world.now + seconds
        while self.world.now < until:
            entry = b"%d-%d" % (mark, len(sent))
            one.peers.send(other.key, 1, entry, self.world.now)
            other.peers.send(one.key, 1, entry, self.world.now)
            sent.append(entry)
            self.world.run(0.1)
        return sent


def got(side: Side, other: Side) -> list[bytes]:
    return [entry for key, _, entry in side.entries if key == other.key]


def none_silent(mesh: Mesh) -> bool:
    return not any(side.of(Silent) or side.of(PresenceDown) for side in mesh.sides)


def to(side: Side, other: Side) -> int:
    return sum(t.address == other.address for t in side.sent)


@pytest.mark.parametrize("both", [True, False], ids=["both ways", "one way"])
@pytest.mark.parametrize("awaited", [True, False], ids=["awaited", "kept"])
def test_a_cut_link_is_relayed_and_nobody_is_silent(both: bool, awaited: bool) -> None:
    mesh = Mesh()
    a, b, _ = mesh.sides
    for one, other in ((a, b), (b, a)):
        one.peers.watch(other.key, awaited, mesh.world.now)
    mesh.world.run(0.5)
    mesh.sever(a, b, both)
    sent = mesh.talk(a, b, 30.0, 1)
    assert none_silent(mesh)
    for one, other in ((a, b), (b, a)):
        assert len(one.of(LinkCut)) == 1, "for as long as it takes"
        status = one.peers.status(other.key)
        assert status is not None
        assert status.relayed
        assert not status.silent
    mesh.cut.clear()
    sent += mesh.talk(a, b, 3.0, 2)
    for one, other in ((a, b), (b, a)):
        assert [event.peer for event in one.of(LinkHealed)] == [other.key]
        assert len(one.of(LinkCut)) == 1, "it does not flap"
        assert got(one, other) == sent, "once and in order, through the cut and its end"
    mesh.world.run(1.0)
    for side in mesh.sides:
        side.sent.clear()
    mesh.talk(a, b, 1.0, 3)
    assert to(a, b) >= 10
    assert all(len(t.data) < 70 for t in mesh.sides[2].sent), "nothing is relayed any more"


def test_a_relay_is_used_soon_enough_for_who_waits() -> None:
    mesh = Mesh()
    a, b, _ = mesh.sides
    a.peers.watch(b.key, True, mesh.world.now)
    mesh.world.run(0.5)
    mesh.sever(a, b)
    start = mesh.world.now
    a.peers.send(b.key, 1, b"through", mesh.world.now)
    mesh.world.run_until(lambda: bool(b.entries))
    assert mesh.world.now - start < a.peers._context.config.suspicion_s


def test_a_dead_relay_is_replaced_by_another() -> None:
    mesh = Mesh("abcd")
    a, b, c, d = mesh.sides
    mesh.sever(a, b)
    first = mesh.talk(a, b, 5.0, 1)
    used = c if to(c, b) > to(d, b) else d
    mesh.sever(used, a)
    mesh.sever(used, b)
    first += mesh.talk(a, b, 20.0, 2)
    mesh.world.run(5.0)
    for one, other in ((a, b), (b, a)):
        assert [event.peer for event in one.of(Silent) if event.peer == other.key] == []
        assert got(one, other) == first


def test_without_a_relay_that_is_heard_the_peer_is_silent() -> None:
    mesh = Mesh()
    a, b, c = mesh.sides
    mesh.sever(a, b)
    mesh.talk(a, b, 3.0, 1)
    assert none_silent(mesh)
    mesh.sever(c, a)
    mesh.world.run(6.0)
    assert {event.peer for event in a.of(Silent)} == {b.key, c.key}
    assert {event.peer for event in b.of(Silent)} == {a.key}
    mesh.cut.clear()
    mesh.world.run(8.0)
    assert all(not side.peers.status(other.key).silent  # type: ignore[union-attr]
               for side in mesh.sides for other in mesh.sides if side is not other)  # fmt: skip


def test_nothing_is_relayed_twice_and_nothing_goes_round() -> None:
    mesh = Mesh("abcd")
    a, b, c, d = mesh.sides
    for other in (a, c, d):
        mesh.sever(other, b)
    mesh.world.run(10.0)
    assert [event.peer for side in (a, c, d) for event in side.of(Silent)] == [b.key] * 3
    for side in mesh.sides:
        side.sent.clear()
    mesh.world.run(10.0)
    for side in (a, c, d):
        assert len(side.sent) < 150, "probes and their answers"
    mesh.cut.clear()
    mesh.world.run(4.0)
    assert all(mesh.world.names[n].peers.status(b.key).relayed is False for n in "acd")  # type: ignore[union-attr]


def test_what_a_relay_alters_repeats_or_invents_is_silence() -> None:
    mesh = Mesh()
    a, b, c = mesh.sides
    mesh.sever(a, b)
    mesh.talk(a, b, 3.0, 1)
    before = list(b.entries)
    inner = presence_of(a, b).seal(b"\x01\x00\x00\x00\x09").data
    sealer = presence_of(c, b).sealer
    sent = len(b.sent)
    for bit in range(0, len(inner) * 8, 7):
        bad = bytearray(inner)
        bad[bit // 8] ^= 1 << bit % 8
        frame = frames.relayed(a.key, bytes(bad))
        b.peers.receive_datagrams([(sealer.seal(frame), c.address)], mesh.world.now)
    wrong = [(c.key, inner), (b.key, inner), (bytes(32), inner), (a.key, b""), (a.key, inner[:9])]
    for key, data in wrong:
        frame = frames.relayed(key, data)
        b.peers.receive_datagrams([(sealer.seal(frame), c.address)], mesh.world.now)
    mesh.world.drain(b)
    assert len(b.sent) == sent
    frame = frames.relayed(a.key, inner)
    for _ in range(5):
        b.peers.receive_datagrams([(sealer.seal(frame), c.address)], mesh.world.now)
        mesh.world.drain(b)
    assert len(b.sent) == sent + 1, "the true one is answered, once"
    assert b.entries == before
    assert presence_of(b, a).address == a.address
    assert presence_of(b, a).path.candidate is None


def test_only_who_was_named_relays() -> None:
    mesh = Mesh("abcd")
    a, b, c, d = mesh.sides
    for one, other in ((a, b), (b, a)):
        one.peers.relays(other.key, [c.key])
    inner = presence_of(a, b).seal(frames.ping(7)).data
    for relay, answers in ((d, 0), (c, 1)):
        sent = len(b.sent)
        frame = frames.relayed(a.key, inner)
        datagram = presence_of(relay, b).sealer.seal(frame)
        b.peers.receive_datagrams([(datagram, relay.address)], mesh.world.now)
        mesh.world.drain(b)
        assert len(b.sent) - sent >= answers
        assert bool(b.of(LinkCut)) == bool(answers)


def test_a_node_relays_between_those_it_keeps_and_nothing_that_was_relayed() -> None:
    mesh = Mesh()
    a, b, c = mesh.sides

    def passed(frame: bytes) -> int:
        before = to(c, b)
        datagram = presence_of(a, c).sealer.seal(frame)
        c.peers.receive_datagrams([(datagram, a.address)], mesh.world.now)
        mesh.world.drain(c)
        return to(c, b) - before

    ask = frames.relay(b.key, bytes(100))
    assert passed(ask) == 1
    assert passed(frames.relay(b.key, b"")) == 0
    assert passed(frames.relay(a.key, bytes(100))) == 0
    assert passed(frames.relay(c.key, bytes(100))) == 0
    assert passed(frames.relay(bytes(32), bytes(100))) == 0
    for key in (a.key, b.key):
        c.peers.keep(key, False)
        assert passed(ask) == 0
        c.peers.keep(key, True)
    assert passed(ask) == 1
    # A's datagram to C, brought by B, asks C to relay to B: it was relayed already.
    for relaying in (ask, frames.relayed(b.key, presence_of(b, c).seal(frames.ping(1)).data)):
        inner = presence_of(a, c).seal(relaying).data
        outer = presence_of(b, c).sealer.seal(frames.relayed(a.key, inner)[:1100])
        before = len(c.sent)
        c.peers.receive_datagrams([(outer, b.address)], mesh.world.now)
        mesh.world.drain(c)
        assert len(c.sent) == before


def test_what_one_peer_has_relayed_is_bounded_in_time() -> None:
    mesh = Mesh(relay_bytes_per_s=10_000.0, relay_burst_bytes=5_000.0)
    a, b, c = mesh.sides
    sealer = presence_of(a, c).sealer
    passed = 0
    for _ in range(300):
        flood = [(sealer.seal(frames.relay(b.key, bytes(1_000))), a.address) for _ in range(10)]
        before = to(c, b)
        c.peers.receive_datagrams(flood, mesh.world.now)
        mesh.world.drain(c)
        passed += to(c, b) - before
        mesh.world.run(0.01)
    assert 20 <= passed <= 5 + 30 + 3
    assert c.peers._context.by_key[b.key].detour is None or not c.of(LinkCut)


def test_full_packets_fit_through_a_relay() -> None:
    mesh = Mesh()
    a, b, _ = mesh.sides
    mesh.sever(a, b)
    mesh.talk(a, b, 3.0, 1)
    for _ in range(10):
        a.peers.send(b.key, 2**62, bytes(60_000), mesh.world.now)
    mesh.world.run(20.0)
    assert got(b, a)[-10:] == [bytes(60_000)] * 10
    sizes = [len(t.data) for side in mesh.sides for t in side.sent if kind_of(t.data) is None]
    assert 1_100 < max(sizes) <= DATAGRAM_SIZE_MAX


def test_relays_are_withdrawn_and_bounded() -> None:
    mesh = Mesh()
    a, b, c = mesh.sides
    mesh.sever(a, b)
    mesh.talk(a, b, 3.0, 1)
    for one, other in ((a, b), (b, a)):
        one.peers.relays(other.key, [])
        assert one.peers.status(other.key).relayed is False  # type: ignore[union-attr]
    mesh.world.run(6.0)
    assert {event.peer for event in a.of(Silent)} == {b.key}
    keys = [bytes([number]) * 32 for number in range(RELAYS_MAX + 1)]
    for bad in (keys, [a.key], [b.key], [b"short"]):
        with pytest.raises(LocalError):
            a.peers.relays(b.key, bad)
    a.peers.relays(b.key, keys[:RELAYS_MAX])
    a.peers.relays(bytes(32), [c.key])


@pytest.mark.parametrize("seed", range(4))
def test_links_that_come_and_go_lose_nothing(seed: int) -> None:
    mesh = Mesh("abcd", seed)
    draw = mesh.world.random
    mesh.world.net.loss = 0.1
    sent: dict[tuple[str, str], list[bytes]] = {}
    pairs = [(one, other) for one in mesh.sides for other in mesh.sides if one is not other]
    for number in range(150):
        if number % 10 == 0:
            mesh.cut.clear()
            # Any one member's links but one may fail, one way or both.
            victim, friend = draw.sample(mesh.sides, 2)
            for other in mesh.sides:
                if other not in (victim, friend):
                    mesh.sever(victim, other, draw.random() < 0.5)
        one, other = draw.choice(pairs)
        entry = b"%d" % number
        one.peers.send(other.key, 1, entry, mesh.world.now)
        sent.setdefault((one.name, other.name), []).append(entry)
        mesh.world.run(0.2)
    mesh.cut.clear()
    mesh.world.net.loss = 0.0
    mesh.world.run(15.0)
    for one, other in pairs:
        assert got(other, one) == sent.get((one.name, other.name), [])
        assert not one.peers.status(other.key).relayed  # type: ignore[union-attr]
    assert not any(side.of(PresenceDown) for side in mesh.sides)
    assert any(side.of(EntriesReceived) for side in mesh.sides)
