"""Planes, handles, keys and the rest of the pump, in memory."""

from __future__ import annotations

import random

import pytest

from tests.utp_native.helpers import MIB, A, B, Link, Transfer, key_pair, seeded
from tests.utp_native.raw import STATE, RawPeer
from utp_native import EventKind, NativeError, Pump, PumpConfig, Reason, UnknownHandle


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def test_removing_a_plane_frees_everything() -> None:
    link = Link()
    pairs = [link.connect() for _ in range(5)]
    for a, _ in pairs:
        link.a.write(a, bytes(200_000))
    link.b.close_channel(pairs[0][1])
    link.run_for(0.05)
    link.b.remove_plane(link.plane_b)
    events = link.b.poll_events()
    failed = [e for e in events if e.kind is EventKind.FAILED]
    assert {e.channel for e in failed} == {b for _, b in pairs[1:]}
    assert {e.reason for e in failed} == {Reason.PLANE_REMOVED}
    counters = link.b.counters()
    assert counters["channels"] == counters["planes"] == counters["buffered"] == 0
    for handle in (pairs[1][1], link.plane_b, -1, 1 << 60):
        for use in (
            link.b.finish,
            link.b.channel_figures,
            link.b.close_channel,
            link.b.remove_plane,
            link.b.open_channel,
            link.b.plane_figures,
        ):
            with pytest.raises(UnknownHandle):
                use(handle)
    # A plane in the same place is another plane.
    again = link.b.add_plane(link.keys[1])
    assert again != link.plane_b
    # Its datagrams are control again for whoever has no plane for them.
    link.b.remove_plane(again)
    link.a.open_channel(link.plane_a)
    link.collect()
    late = [(data, A) for _, _, source, _, data in link.flying if source == A]
    assert late
    assert link.b.inject(late, link.now) == late


def test_handles_of_closed_channels_stay_dead() -> None:
    link = Link()
    seen = set()
    for _ in range(50):
        channel = link.a.open_channel(link.plane_a)
        assert channel not in seen
        seen.add(channel)
        link.a.close_channel(channel)
        with pytest.raises(UnknownHandle):
            link.a.read(channel, 1)
    assert link.a.counters()["channels"] == 0


@pytest.mark.parametrize("initiator_first", [True, False])
def test_rekeying_in_the_middle_of_a_transfer(initiator_first: bool) -> None:
    link = Link(loss=0.01)
    a, b = link.connect()
    transfer = Transfer(link, (link.a, a), (link.b, b), random_bytes(2 * MIB))
    for epoch in range(1, 4):
        for _ in range(20):
            transfer.go()
            link.step()
        keys_a, keys_b = key_pair(epoch=str(epoch))
        # The responder has the new keys first and goes on under the old ones.
        link.b.rekey_plane(link.plane_b, keys_b, send_now=False, retire_s=2)
        link.run_for(0.02)
        link.a.rekey_plane(link.plane_a, keys_a, send_now=initiator_first, retire_s=2)
        if not initiator_first:
            link.a.switch_plane(link.plane_a)
        link.run_for(3)
    link.run(transfer.go)
    assert link.a.plane_figures(link.plane_a)["sealed"] < link.a.counters()["bulk_sealed"]


def test_old_keys_open_nothing_after_they_retire() -> None:
    peer = RawPeer()
    peer.connect()
    old = [peer.datagram(STATE, seq=5, ack=5) for _ in range(2)]
    peer.pump.rekey_plane(peer.plane, key_pair(epoch="new")[1], send_now=False, retire_s=5)
    before = peer.pump.counters()["bulk_opened"]
    assert peer.pump.inject([(old[0], A)], peer.now) == []
    assert peer.pump.counters()["bulk_opened"] == before + 1
    peer.pump.collect()
    peer.wait(1)
    peer.pump.handle_timeout(peer.now + 5)
    # The connection id is forgotten, so this is no bulk datagram any more.
    assert peer.pump.inject([(old[1], A)], peer.now + 5) == [(old[1], A)]


def test_keys_that_were_installed_are_refused_also_after_they_retire() -> None:
    peer = RawPeer()
    peer.connect()
    first, new = key_pair()[1], key_pair(epoch="new")[1]
    peer.pump.rekey_plane(peer.plane, new, send_now=True, retire_s=1)
    peer.pump.handle_timeout(peer.now + 5)
    for keys in (first, new):
        with pytest.raises(NativeError):
            peer.pump.rekey_plane(peer.plane, keys, send_now=True, retire_s=1)
    for number in range(100):
        keys = key_pair(epoch=f"later {number}")[1]
        peer.pump.rekey_plane(peer.plane, keys, send_now=True, retire_s=0)
        peer.pump.handle_timeout(peer.now + 6 + number)
    with pytest.raises(NativeError):
        peer.pump.rekey_plane(peer.plane, key_pair(epoch="later 40")[1], send_now=True, retire_s=1)


def test_moving_a_plane_moves_its_datagrams() -> None:
    link = Link()
    a, _ = link.connect()
    elsewhere = ("2001:db8::7", 777)
    link.a.move_plane(link.plane_a, elsewhere)
    link.a.write(a, b"to the new address")
    assert {t.address for t in link.a.collect()} == {elsewhere}
    assert link.a.channel_figures(a)["rtt_ms"] == 0


def test_what_went_to_the_old_address_is_sent_to_the_new_one_at_once() -> None:
    link = Link()
    a, b = link.connect()
    data = random_bytes(5000)
    link.a.write(a, data)
    assert len(link.a.collect()) == 5  # lost, all of them
    elsewhere = ("192.0.2.7", 777)
    link.a.move_plane(link.plane_a, elsewhere)
    again = link.a.collect()
    assert {t.address for t in again} == {elsewhere}
    link.b.inject([(t.data, A) for t in again], link.now)
    assert link.b.read(b, 10_000) == data
    assert link.a.collect() == []  # once


def test_channels_that_are_over_do_not_stand_in_the_way_of_others() -> None:
    bound = 2
    link = Link(config_b=PumpConfig(incoming_max=bound), delay_s=0.0005)

    def short() -> None:
        a, b = link.connect()
        for pump, channel in ((link.a, a), (link.b, b)):
            pump.finish(channel)
        link.run_for(0.01)
        link.a.close_channel(a)
        link.b.close_channel(b)

    started = link.now
    for _ in range(16 * bound):
        short()
    assert link.now - started < 2, "all of them still answer repeated last packets"
    assert link.b.counters()["channels"] == 16 * bound
    assert link.b.counters()["refused_channels"] == 0
    link.a.open_channel(link.plane_a)
    link.run_for(0.01)
    assert link.b.counters()["refused_channels"] == 1, "and they are bounded too"
    link.run_for(4)
    assert link.b.counters()["channels"] == 1, "the SYN was repeated when they had gone"


def test_reading_into_a_buffer_and_in_pieces() -> None:
    link = Link()
    a, b = link.connect()
    data = random_bytes(100_000)
    link.a.write(a, memoryview(bytearray(data)))
    link.run_for(2)
    buffer = bytearray(40_000)
    assert link.b.read_into(b, buffer) == 40_000
    assert link.b.read_into(b, memoryview(buffer)[:10]) == 10
    assert link.b.read(b, 5) == data[40_010:40_015]
    with pytest.raises(BufferError):
        link.b.read_into(b, bytes(5))  # type: ignore[arg-type]
    assert link.b.read(b, 1 << 40) == data[40_015:]
    assert link.b.read(b, 10) == b""


def test_a_closed_pump_and_wrong_arguments() -> None:
    pump = Pump(None, random=seeded(1))
    with pytest.raises(NativeError):
        pump.receive(1.0)
    with pytest.raises(ValueError, match="numeric"):
        pump.send([(b"x", ("localhost", 1))])
    with pytest.raises(ValueError, match="port"):
        pump.send([(b"x", ("127.0.0.1", 65536))])
    keys = key_pair()[0]
    pump.add_plane(keys)
    with pytest.raises(NativeError, match="in use"):
        pump.add_plane(keys)
    with pytest.raises(NativeError, match="suite"):
        pump.add_plane(key_pair(suite=9, epoch="x")[0])
    assert pump.send([(b"control", B)]) == 1
    assert pump.collect() == [(b"control", B)]
    pump.close()
    pump.close()
    with pytest.raises(NativeError, match="closed"):
        pump.poll_events()
    with pytest.raises(ValueError):
        Pump(None, random=lambda size: b"short")
    for wrong in (
        {"sealed_size_max": 100},
        {"receive_budget": 1},
        {"planes_max": 0},
        {"incoming_max": -1},
        {"output_max": -1},
        {"datagram_size_max": 1 << 17},
        {"send_buffer": 1},
    ):
        with pytest.raises(ValueError):
            PumpConfig(**wrong)  # type: ignore[arg-type]


def test_output_is_bounded() -> None:
    pump = Pump(None, random=seeded(1), config=PumpConfig(output_max=10))
    assert pump.send([(b"x", B)] * 20) == 10
    plane = pump.add_plane(key_pair()[0])
    pump.open_channel(plane)
    assert pump.counters()["dropped_sends"] == 1
    assert len(pump.collect()) == 10


def test_addresses_of_both_families_cross_the_border() -> None:
    pump = Pump(None, random=seeded(1))
    batch = [
        (bytes([i]), address)
        for i, address in enumerate(
            [A, ("::1", 1), ("2001:db8::ffff", 65535), ("255.255.255.255", 0), A]
        )
    ]
    assert pump.inject(batch, 1.0) == batch
    assert pump.inject([(b"m", ("::ffff:1.2.3.4", 5))], 1.0) == [(b"m", ("1.2.3.4", 5))]


def test_secrets_do_not_show() -> None:
    link = Link()
    for text in (repr(link.a), repr(link.a.counters()), repr(link.a.plane_figures(link.plane_a))):
        assert link.keys[0].send_key.hex() not in text
        assert repr(link.keys[0].send_key) not in text


def deliver(link: Link, source: tuple[str, int]) -> None:
    """Everything `a` has sent, to `b`, as if from `source`."""
    link.b.inject([(data, source) for data, _ in link.a.collect()], link.now)


def test_a_new_address_of_the_peer_is_reported_once() -> None:
    link = Link()
    a, _ = link.connect()
    link.run_for(0.5)
    link.a.write(a, b"from the old address")
    deliver(link, A)
    assert link.b.poll_paths() == []
    link.a.write(a, b"held up")
    held_up = link.a.collect()
    new = ("192.0.2.7", 4321)
    for _ in range(3):
        link.now += 0.01
        link.b.handle_timeout(link.now)
        link.a.write(a, b"from the new address")
        deliver(link, new)
    size = 12 + 4 + 20 + len(b"from the new address") + 16
    assert link.b.poll_paths() == [(link.plane_b, new, size)]
    assert link.b.poll_paths() == []
    # What was held up on the old path opens late and does not lead back.
    link.b.inject([(t.data, A) for t in held_up], link.now)
    assert link.b.poll_paths() == []
    # Nothing goes there until the address has been validated and the plane moved.
    assert {address for _, address in link.b.collect()} == {A}
    link.b.move_plane(link.plane_b, new)
    link.a.write(a, b"again")
    deliver(link, new)
    assert link.b.poll_paths() == []
    assert {address for _, address in link.b.collect()} == {new}


def test_a_forged_or_repeated_datagram_moves_nothing() -> None:
    link = Link()
    a, _ = link.connect()
    link.a.write(a, b"x")
    (sealed,) = link.a.collect()
    link.b.inject([(sealed.data, A)], link.now)
    forged = sealed.data[:-1] + bytes([sealed.data[-1] ^ 1])
    link.b.inject([(sealed.data, ("192.0.2.1", 1)), (forged, ("192.0.2.1", 1))], link.now)
    assert link.b.poll_paths() == []


def test_reported_paths_are_one_for_each_plane_and_go_with_it() -> None:
    link = Link()
    a, _ = link.connect()
    for port in range(1, 6):
        link.a.write(a, b"x")
        deliver(link, ("192.0.2.1", port))
    assert [path[:2] for path in link.b.poll_paths()] == [(link.plane_b, ("192.0.2.1", 5))]
    link.a.write(a, b"x")
    deliver(link, ("192.0.2.1", 6))
    link.b.remove_plane(link.plane_b)
    assert link.b.poll_paths() == []
