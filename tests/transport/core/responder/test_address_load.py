"""Load by address range: docs/protocol/handshake.md, section 6, "Puzzle"."""

from __future__ import annotations

import pytest

from tests.support.pair.handshake import NOW, Pair
from transport.core.constants import (
    ADDRESS_LOAD_COUNTED_MIN,
    ADDRESS_LOAD_RANGES_MAX,
    EFFORT_INTERVAL_S,
    EFFORT_MAX,
)
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.responder.address_load import LEVEL_MAX, AddressLoad, ranges_of
from transport.core.responder.effort import WaitingRoom


def test_ranges() -> None:
    assert ranges_of(("192.0.2.7", 1)) == ((4, 32, 0xC0000207), (4, 24, 0xC00002))
    assert ranges_of(("2001:db8:1:2345::1", 1)) == (
        (6, 64, 0x20010DB800012345),
        (6, 56, 0x20010DB8000123),
        (6, 48, 0x20010DB80001),
    )
    assert ranges_of(("fe80::1%eth0", 1))[0] == (6, 64, 0xFE80000000000000)
    for nonsense in ("", "host", "1.2.3", "1.2.3.4.5", "a.b.c.d", "::1::"):
        assert ranges_of((nonsense, 1)) == ()


def counted(*loads: tuple[str, int]) -> AddressLoad:
    address_load = AddressLoad()
    for host, times in loads:
        for _ in range(times):
            address_load.count((host, 1))
    return address_load


def test_levels_follow_the_share() -> None:
    address_load = counted(("10.0.0.1", 50), ("10.1.0.1", 25), ("10.2.0.1", 12), ("10.3.0.1", 8))
    for number in range(5):
        address_load.count((f"10.9.{number}.1", 1))
    levels = [address_load.level((f"10.{n}.0.1", 9)) for n in range(4)]
    assert levels == [4, 3, 1, 1]
    assert address_load.level(("10.9.0.1", 1)) == 0
    assert address_load.level(("203.0.113.1", 1)) == 0
    # Neighbours of the worst share its range, and are let off two levels.
    assert address_load.level(("10.0.0.2", 1)) == 2
    assert counted(("10.0.0.1", 100)).level(("10.0.0.1", 1)) == LEVEL_MAX == 5


def test_a_range_is_no_way_out() -> None:
    address_load = AddressLoad()
    for number in range(200):
        address_load.count((f"10.0.0.{number}", 1))
        address_load.count((f"2001:db8:0:{number:x}::1", 1))
    assert address_load.level(("10.0.0.250", 1)) == 2
    assert address_load.level(("2001:db8:0:ff::1", 1)) == 3
    assert address_load.level(("2001:db8:1:1::1", 1)) == 0


def test_few_are_no_load_and_it_wears_off() -> None:
    assert counted(("10.0.0.1", ADDRESS_LOAD_COUNTED_MIN - 1)).level(("10.0.0.1", 1)) == 0
    address_load = counted(("10.0.0.1", ADDRESS_LOAD_COUNTED_MIN))
    assert address_load.level(("10.0.0.1", 1)) == 5
    for _ in range(10):
        address_load.halve()
    assert address_load.level(("10.0.0.1", 1)) == 0
    assert len(address_load) == 0


def test_the_table_is_bounded() -> None:
    address_load = AddressLoad()
    for number in range(ADDRESS_LOAD_RANGES_MAX + 100):
        address_load.count((f"10.{number >> 8 & 255}.{number & 255}.1", 1))
    assert len(address_load) == ADDRESS_LOAD_RANGES_MAX
    address_load.count(("10.0.0.1", 1))
    assert len(address_load) == ADDRESS_LOAD_RANGES_MAX


def test_loaded_ranges_wait_behind_others_whatever_their_effort() -> None:
    room: WaitingRoom[str] = WaitingRoom(4)
    assert room.push(1000, "heavy", load=2) == []
    assert room.push(10, "light") == []
    assert room.push(20, "lighter") == []
    assert room.push(500, "middling", load=1) == []
    assert room.push(0, "idle") == ["idle", "middling", "heavy"]
    assert [room.pop(), room.pop()] == ["lighter", "light"]


@pytest.mark.parametrize("effort", [0, 100])
def test_a_loaded_range_is_asked_for_more_work(effort: int) -> None:
    config = HandshakeConfig(handshakes_burst=1000, effort_min=effort)
    pair = Pair(config=config)
    heavy, light = ("198.51.100.1", 1), ("203.0.113.9", 1)
    for _ in range(40):
        pair.admit(pair.to_p3(pair.initiator(), address=heavy), heavy)
    assert pair.responder.effort_for(heavy) == effort << LEVEL_MAX
    assert pair.responder.effort_for(light) == effort
    challenge = pair.challenge(pair.initiator().hello(NOW), heavy)
    assert int.from_bytes(challenge[161:165], "big") == effort << LEVEL_MAX
    pair.responder._admission.controller.effort = EFFORT_MAX
    assert pair.responder.effort_for(heavy) == EFFORT_MAX
    pair.responder._admission.controller.effort = effort
    for _ in range(6):
        pair.now += EFFORT_INTERVAL_S
        pair.challenge(pair.initiator().hello(NOW), light)
    assert pair.responder.effort_for(heavy) == effort


def test_what_no_cookie_proves_blames_nobody() -> None:
    pair = Pair(config=HandshakeConfig(handshakes_burst=1000, known_per_s_max=10_000.0))
    first = pair.initiator()
    there = pair.accept(pair.admit(pair.to_p3(first)))
    first.receive_accept_untrusted(there.datagram, NOW)
    known = first.learned
    assert known is not None
    for _ in range(50):
        pair.admit(pair.initiator().initiate_known(known, b"", NOW), ("198.51.100.1", 1))
    assert pair.responder._admission.address_load.level(("198.51.100.1", 1)) == 0
