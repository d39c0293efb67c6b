"""NNpsk0 through the presence: docs/protocol/handshake.md, section 4, "Rekeying"."""

from __future__ import annotations

import pytest

from tests.support.pair.handshake import Pair, agree, flip, seeded
from tests.support.pair.pair import Side, World, kind_of, presence_of
from transport.core.constants import KIND_INITIATE, KIND_INITIATE_KNOWN
from transport.core.errors import LocalError, WireError
from transport.core.events import ConnectFailed, PresenceDown, PresenceUp, Reason
from transport.core.handshake.negotiation import EpochKeys, Established
from transport.core.handshake.rekey import (
    REKEY_OVERHEAD,
    REKEY_PAYLOAD_SIZE_MAX,
    Rekeyed,
    Rekeying,
    answer_rekeying_untrusted,
)


def established() -> tuple[Established, Established]:
    return Pair().run()


def start(here: Established, payload: bytes = b"new ids") -> Rekeying:
    return Rekeying(here.keys, here.handshake_hash, here.suite, payload, seeded(1))


def answer(there: Established, message: bytes, payload: bytes = b"their ids") -> Rekeyed:
    return answer_rekeying_untrusted(
        message, there.keys, there.handshake_hash, there.suite, payload, seeded(2)
    )


def test_a_new_epoch() -> None:
    here, there = established()
    rekeying = start(here)
    assert len(rekeying.message) == REKEY_OVERHEAD + len(b"new ids")
    theirs = answer(there, rekeying.message)
    ours = rekeying.finish_untrusted(theirs.message)
    assert (theirs.payload, ours.payload) == (b"new ids", b"their ids")
    assert ours.handshake_hash == theirs.handshake_hash != here.handshake_hash
    assert ours.keys.message_send == theirs.keys.message_receive
    assert ours.keys.bulk_receive_header == theirs.keys.bulk_send_header
    assert ours.keys.rekey == theirs.keys.rekey
    old = {getattr(here.keys, name) for name in EpochKeys.__slots__}
    assert not old & {getattr(ours.keys, name) for name in EpochKeys.__slots__}
    # And on from there.
    again = Rekeying(ours.keys, ours.handshake_hash, here.suite, b"", seeded(3))
    next_theirs = answer_rekeying_untrusted(
        again.message, theirs.keys, theirs.handshake_hash, there.suite, b"", seeded(4)
    )
    assert again.finish_untrusted(next_theirs.message).keys.rekey == next_theirs.keys.rekey


def test_forgeries_do_no_harm() -> None:
    here, there = established()
    rekeying = start(here)
    for bit in range(0, 8 * len(rekeying.message), 3):
        with pytest.raises(WireError):
            answer(there, flip(rekeying.message, bit))
    theirs = answer(there, rekeying.message)
    for bit in range(0, 8 * len(theirs.message), 3):
        with pytest.raises(WireError):
            rekeying.finish_untrusted(flip(theirs.message, bit))
    with pytest.raises(WireError):
        rekeying.finish_untrusted(b"")
    assert rekeying.finish_untrusted(theirs.message).keys.rekey == theirs.keys.rekey


def test_it_needs_the_old_epoch() -> None:
    here, there = established()
    other, _ = Pair(seed=2).run()
    message = start(here).message
    with pytest.raises(WireError):
        answer_rekeying_untrusted(
            message, other.keys, there.handshake_hash, there.suite, b"", seeded(2)
        )
    with pytest.raises(WireError):
        answer_rekeying_untrusted(
            message, there.keys, other.handshake_hash, there.suite, b"", seeded(2)
        )


def test_payloads_are_bounded() -> None:
    here, there = established()
    with pytest.raises(LocalError):
        start(here, bytes(REKEY_PAYLOAD_SIZE_MAX + 1))
    full = start(here, bytes(REKEY_PAYLOAD_SIZE_MAX))
    with pytest.raises(LocalError):
        answer(there, full.message, bytes(REKEY_PAYLOAD_SIZE_MAX + 1))
    assert answer(there, full.message).payload == bytes(REKEY_PAYLOAD_SIZE_MAX)


def test_no_secret_in_a_repr() -> None:
    here, there = established()
    rekeying = start(here)
    theirs = answer(there, rekeying.message)
    shown = repr(rekeying) + repr(theirs)
    for name in EpochKeys.__slots__:
        assert repr(getattr(theirs.keys, name)) not in shown
    assert agree(here, there)


# --- a handshake with static keys once a day ------------------------------------------------------


def in_use(world: World, one: Side, other: Side, seconds: int) -> None:
    """One entry each way in each second."""
    for number in range(seconds):
        one.peers.send(other.key, 1, b"%d" % number, world.now)
        other.peers.send(one.key, 1, b"%d" % number, world.now)
        world.run(1.0)


def initiated(side: Side) -> int:
    """How many different P3s it has sent."""
    kinds = (KIND_INITIATE, KIND_INITIATE_KNOWN)
    return len({sent.data for sent in side.sent if kind_of(sent.data) in kinds})


def daily(**tuning: float) -> tuple[World, Side, Side]:
    world = World()
    a, b = (world.add(name, rekey_s=4.0, full_s=30.0, **tuning) for name in "ab")
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.up(a, b)
    return world, a, b


def test_static_keys_have_a_part_again_in_time() -> None:
    world, a, b = daily()
    assert initiated(a) == 1
    in_use(world, a, b, 100)
    assert 3 <= initiated(a) <= 4
    assert initiated(b) == 0, "the initiator of the presence begins it"
    for one, other in ((a, b), (b, a)):
        assert [entry for _, _, entry in one.entries] == [b"%d" % n for n in range(100)]
        assert len(one.of(PresenceUp)) == 1
        assert not one.of(PresenceDown)
        assert world.now - presence_of(one, other).root.made_at <= 36.0


def test_what_cannot_have_one_closes_at_three_times_the_age() -> None:
    world, a, b = daily()
    world.net.drop = lambda source, target, data: kind_of(data) is not None
    in_use(world, a, b, 100)
    for side in (a, b):
        assert [event.reason for event in side.of(PresenceDown)] == [Reason.LIMIT]
    assert not a.of(ConnectFailed), "nobody asked for the attempts"


def test_idle_ones_are_left_alone() -> None:
    world, a, b = daily()
    world.run(200.0)
    assert initiated(a) == 1
    # And not closed when they are used again, but given one.
    in_use(world, a, b, 10)
    assert initiated(a) == 2
    assert not a.of(PresenceDown)
