"""The responder's transient, its record, and who may believe it: docs/protocol/handshake.md, 1."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.pair.handshake import NOW, Pair, seeded
from transport.core.constants import TRANSIENT_LIFE_S, TRANSIENT_PERIOD_S
from transport.core.crypto.keys import Identity, verify
from transport.core.errors import WireError
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.transient import (
    KnownTransient,
    Transient,
    Transients,
    details_hash,
    verify_transient_untrusted,
)
from transport.core.handshake.wire import TRANSIENT_PART, TransientPart

IDENTITY = Identity.generate(seeded(1))
CONFIG = HandshakeConfig(addresses=(("192.0.2.1", 4001), ("2001:db8::1", 4002)))


def transient(seed: int = 1, now: float = NOW) -> Transient:
    return Transient(IDENTITY, CONFIG, seeded(seed), 5, now)


def part_of(one: Transient) -> TransientPart:
    return TransientPart(*TRANSIENT_PART.unpack(one.part))


def test_the_record_is_signed_and_verifies() -> None:
    one = transient()
    assert len(one.record) == 108
    assert verify(IDENTITY.key, b"quorate transient record", one.record, one.signature)
    assert verify_transient_untrusted(IDENTITY.key, part_of(one), one.clock(NOW)) == one.record


@pytest.mark.parametrize("field", TransientPart._fields)
def test_every_field_is_covered(field: str) -> None:
    one = transient()
    part = part_of(one)
    value = getattr(part, field)
    changed = value ^ 1 if isinstance(value, int) else value[:-1] + bytes([value[-1] ^ 1])
    values: dict[str, Any] = {**part._asdict(), field: changed}
    with pytest.raises(WireError):
        verify_transient_untrusted(IDENTITY.key, TransientPart(**values), one.clock(NOW + 1))


def test_it_covers_its_life_and_no_more() -> None:
    one = transient()
    part = part_of(one)
    for age in (0.0, TRANSIENT_PERIOD_S, TRANSIENT_LIFE_S):
        verify_transient_untrusted(IDENTITY.key, part, one.clock(NOW + age))
    for age in (-1.0, TRANSIENT_LIFE_S + 1.0):
        with pytest.raises(WireError):
            verify_transient_untrusted(IDENTITY.key, part, one.clock(NOW + age))
    other = Identity.generate(seeded(2))
    with pytest.raises(WireError):
        verify_transient_untrusted(other.key, part, one.clock(NOW))


def test_details_are_unambiguous() -> None:
    lists = CONFIG.refusal_lists
    hashes = {
        details_hash((), lists),
        details_hash((("a", 1),), lists),
        details_hash((("a", 1), ("b", 1)), lists),
        details_hash((("b", 1), ("a", 1)), lists),
        details_hash((), ((1,), (1,))),
    }
    assert len(hashes) == 5


def test_two_processes_with_one_key_share_no_transient() -> None:
    pair = [Transients(IDENTITY, CONFIG, seeded(seed), NOW) for seed in (1, 2)]
    assert pair[0].current.tid != pair[1].current.tid
    assert pair[0].current.pair.public != pair[1].current.pair.public
    assert pair[0].find_untrusted(pair[1].current.tid, NOW) is None


def test_the_one_before_is_found_and_the_one_before_that_is_not() -> None:
    transients = Transients(IDENTITY, CONFIG, seeded(1), 0.0)
    tids = [transients.current.tid]
    for period in range(1, 4):
        now = period * TRANSIENT_PERIOD_S
        transients.rotate(now)
        tids.append(transients.current.tid)
        found = [transients.find_untrusted(tid, now) is not None for tid in tids]
        assert found == [False] * (period - 1) + [True, True]
        assert len(transients._accepted) == 2
    assert len(set(tids)) == 4


def test_a_transient_past_its_life_is_not_found_though_nothing_replaced_it() -> None:
    transients = Transients(IDENTITY, CONFIG, seeded(1), 0.0)
    tid = transients.current.tid
    assert transients.find_untrusted(tid, TRANSIENT_LIFE_S - 0.1) is transients.current
    assert transients.find_untrusted(tid, TRANSIENT_LIFE_S) is None


@pytest.mark.parametrize("tid", [b"\1\0\0\0", b"\x80\1\0\0", b"\x80\x80\x80\x80", b"\xff" * 4])
def test_what_cannot_be_a_tid(tid: bytes) -> None:
    transients = Transients(IDENTITY, CONFIG, seeded(1), 0.0)
    with pytest.raises(WireError):
        transients.find_untrusted(tid, 0.0)


def test_clear_times_wrap() -> None:
    one = transient()
    one._clock_origin = 2**32 - 10
    time = one.clock(NOW)
    assert one.clock(NOW + 1.0) == 65536 - 10
    assert one.age_s(time, NOW + 1.0) == 1.0
    assert one.age_s(time, NOW + 30.0) == 30.0
    assert one.age_s(time, NOW + 30.1) is None
    assert one.age_s(one.clock(NOW + 1.0), NOW) is None


def test_a_known_transient_is_usable_while_it_is_accepted() -> None:
    one = transient()
    known = KnownTransient(IDENTITY.key, 2, part_of(one), one.clock(NOW + 10.0), 5.0)
    assert known.clock(5.0) == one.clock(NOW + 10.0)
    assert known.clock(6.5) == one.clock(NOW + 11.5)
    assert known.is_usable(5.0)
    assert known.is_usable(5.0 + TRANSIENT_LIFE_S - 11.0)
    assert not known.is_usable(5.0 + TRANSIENT_LIFE_S - 9.0)
    assert not known.is_usable(5.0 + 3 * TRANSIENT_LIFE_S)
    assert not known.is_usable(4.0)


def test_nothing_of_a_transient_survives_it() -> None:
    pair = Pair(now=0.0)
    pair.accept(pair.admit(pair.to_p3(pair.initiator())))
    first = pair.responder._transients.current
    assert len(first.burnt) == len(first.ephemerals) == len(first.answered) == 1
    for period in (1, 2, 3):
        pair.responder.handle_timeout(period * TRANSIENT_PERIOD_S)
    assert first not in pair.responder._transients._accepted.values()
