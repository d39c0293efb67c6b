"""0-RTT to a known transient, and its deferral: docs/protocol/handshake.md, section 6."""

from __future__ import annotations

import pytest

from tests.support.pair.handshake import AWAY, HOME, NOW, Pair, agree, counted_primitives, flip
from transport.core.constants import AMPLIFICATION_MAX, COOKIE_LIFE_S, TRANSIENT_PERIOD_S
from transport.core.errors import LocalError
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.transient import KnownTransient
from transport.core.handshake.wire import INITIATE_KNOWN_SIZE_MIN, KNOWN_KX_AT
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply


def learn(pair: Pair) -> KnownTransient:
    initiator = pair.initiator()
    there = pair.accept(pair.admit(pair.to_p3(initiator)))
    assert initiator.learned is None
    assert initiator.receive_accept_untrusted(there.datagram, pair.now) is not None
    assert initiator.learned is not None
    return initiator.learned


def test_one_round_trip() -> None:
    pair = Pair()
    known = learn(pair)
    pair.now += 5.0
    initiator = pair.initiator()
    p3 = initiator.initiate_known(known, b"at once", pair.now)
    admitted = pair.admit(p3)
    assert (admitted.peer, admitted.first_data) == (pair.here.key, b"at once")
    assert not admitted.address_validated
    there = pair.accept(admitted)
    assert there.rtt_s is None
    assert len(there.datagram) <= AMPLIFICATION_MAX * len(p3)
    here = initiator.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert agree(here, there)


def test_the_reply_is_bounded_by_what_came() -> None:
    pair = Pair()
    p3 = pair.initiator().initiate_known(learn(pair), b"", pair.now)
    admitted = pair.admit(p3)
    assert admitted.reply_size_max < 1024
    with pytest.raises(LocalError):
        pair.accept(admitted, bytes(admitted.reply_size_max + 1))
    p4 = pair.accept(admitted, bytes(admitted.reply_size_max)).datagram
    assert len(p4) <= AMPLIFICATION_MAX * len(p3)


def test_at_most_once() -> None:
    pair = Pair()
    known = learn(pair)
    p3 = pair.initiator().initiate_known(known, b"once", pair.now)
    admitted = pair.admit(p3)
    with counted_primitives() as counts:
        assert pair.give(p3) is None
        p4 = pair.accept(admitted).datagram
        assert pair.give(p3) == Reply(p4)
        # Later its time is too old; the answer is a challenge, and nothing is delivered.
        pair.now += COOKIE_LIFE_S + 1
        assert isinstance(pair.give(p3), Reply)
    assert counts.diffie_hellman == 1
    # Neither after a restart: the transient was in memory only.
    again = Pair(seed=1)
    again.responder = type(pair.responder)(pair.there, pair.config, pair.random, pair.now)
    assert isinstance(again.give(p3), Reply)


def test_beyond_the_allowance_it_is_deferred() -> None:
    config = HandshakeConfig(known_per_s_max=20.0)
    pair = Pair(config=config)
    known = learn(pair)
    initiators = [pair.initiator() for _ in range(4)]
    answers = [pair.give(i.initiate_known(known, b"now", pair.now)) for i in initiators]
    assert [isinstance(answer, Admitted) for answer in answers] == [True, True, False, False]
    deferred, challenge = initiators[2], answers[2]
    assert isinstance(challenge, Reply)
    assert len(challenge.data) <= INITIATE_KNOWN_SIZE_MIN
    assert deferred.receive_challenge_untrusted(challenge.data, pair.now)
    p3 = deferred.initiate(b"then so", pair.now)
    admitted = pair.admit(p3)
    assert admitted.first_data == b"then so"
    assert admitted.address_validated
    there = pair.accept(admitted)
    here = deferred.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert agree(here, there)
    pair.now += 0.06
    late = pair.initiator().initiate_known(known, b"", pair.now)
    assert isinstance(pair.give(late), Admitted)


def test_an_unknown_transient_is_deferred_too() -> None:
    pair = Pair()
    known = learn(pair)
    initiator = pair.initiator()
    p3 = initiator.initiate_known(known, b"x", pair.now)
    pair.responder = type(pair.responder)(pair.there, pair.config, pair.random, pair.now)
    answer = pair.give(p3)
    assert isinstance(answer, Reply)
    assert initiator.receive_challenge_untrusted(answer.data, pair.now)
    assert pair.admit(initiator.initiate(b"x", pair.now)).first_data == b"x"


def test_any_bit() -> None:
    pair = Pair(config=HandshakeConfig(handshakes_burst=10_000, known_per_s_max=1e6))
    known = learn(pair)
    size = len(pair.initiator().initiate_known(known, b"x", pair.now))
    for bit in [*range(8 * KNOWN_KX_AT), *range(8 * KNOWN_KX_AT, 8 * size, 7)]:
        initiator = pair.initiator()
        p3 = initiator.initiate_known(known, b"x", pair.now)
        answer = pair.give(flip(p3, bit))
        assert not isinstance(answer, Admitted)
        if isinstance(answer, Reply):
            assert not initiator.receive_challenge_untrusted(answer.data, pair.now)
        assert isinstance(pair.give(p3), Admitted), f"bit {bit}"


def test_the_same_ephemeral_from_another_address() -> None:
    pair = Pair()
    known = learn(pair)
    p3 = pair.initiator().initiate_known(known, b"x", pair.now)
    assert isinstance(pair.give(p3, HOME), Admitted)
    assert pair.give(p3, AWAY) is None


def test_what_cannot_be_done() -> None:
    pair, other = Pair(seed=1), Pair(seed=2)
    known, foreign = learn(pair), learn(other)
    with pytest.raises(LocalError):
        pair.initiator().initiate_known(foreign, b"", NOW)
    with pytest.raises(LocalError):
        pair.initiator().initiate_known(known, bytes(897), NOW)
    with pytest.raises(LocalError):
        pair.initiator().initiate_known(known, b"", NOW + 2 * TRANSIENT_PERIOD_S + 1)
    with pytest.raises(LocalError):
        pair.initiator(config=HandshakeConfig(handshakes=(1,))).initiate_known(known, b"", NOW)
    begun = pair.initiator()
    begun.hello(NOW)
    with pytest.raises(LocalError):
        begun.initiate_known(known, b"", NOW)
