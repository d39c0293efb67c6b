"""An initiator that keeps its name to itself (`KN`), where the service allows it."""

from __future__ import annotations

import pytest

from tests.support.pair.handshake import NOW, Pair, agree, counted_primitives, flip, seeded
from transport.core.constants import KIND_INITIATE, KIND_INITIATE_ANONYMOUS, SEQUENCE_TRIES_EFFORT
from transport.core.crypto.keys import Identity, static_of_key_untrusted
from transport.core.errors import LocalError, WireError
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.wire import HEADER_SIZE, KX_AT
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply

ALLOWED = HandshakeConfig(anonymous=True)


@pytest.mark.parametrize("effort", [0, 30])
def test_it_gets_in_without_a_name(effort: int) -> None:
    pair = Pair(config=HandshakeConfig(anonymous=True, effort_min=effort))
    initiator = pair.initiator(anonymous=True)
    p3 = pair.to_p3(initiator)
    admitted = pair.admit(p3)
    assert admitted.first_data == b"first"
    there = pair.accept(admitted)
    here = initiator.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert agree(here, there)
    assert here.peer == pair.there.key, "the responder has proved who it is"


def test_its_handle_is_no_name_and_another_one_each_time() -> None:
    pair = Pair(config=ALLOWED)
    handles = set()
    for _ in range(20):
        handle = pair.admit(pair.to_p3(pair.initiator(anonymous=True))).peer
        with pytest.raises(WireError):
            static_of_key_untrusted(handle)
        handles.add(handle)
    assert len(handles) == 20
    assert {len(handle) for handle in handles} == {32}


def test_nothing_in_it_depends_on_the_identity() -> None:
    # Two people, the same randomness: the same bytes. Whatever links them is not in the handshake.
    datagrams = []
    for who in (0, 1):
        pair = Pair(config=ALLOWED)
        people = [pair.here, Identity.generate(seeded(9))]
        initiator = pair.initiator(people[who], anonymous=True)
        datagrams.append(pair.to_p3(initiator))
    assert datagrams[0] == datagrams[1]


def test_it_is_refused_in_silence_where_names_are_wanted() -> None:
    pair = Pair()
    with counted_primitives() as counts:
        initiator = pair.initiator(anonymous=True)
        p2 = pair.challenge(initiator.hello(NOW))
        assert initiator.receive_challenge_untrusted(p2, NOW)
        p3 = initiator.initiate(b"x", NOW)
        spent = counts.diffie_hellman
        assert pair.give(p3) is None
        assert counts.diffie_hellman == spent


def test_neither_variant_passes_for_the_other() -> None:
    pair = Pair(config=ALLOWED)
    for anonymous, kind in ((True, KIND_INITIATE), (False, KIND_INITIATE_ANONYMOUS)):
        p3 = pair.to_p3(pair.initiator(anonymous=anonymous))
        assert not isinstance(pair.give(p3[:3] + bytes([kind]) + p3[4:]), Admitted)
        assert isinstance(pair.give(p3), Admitted)


def test_any_bit_of_p3() -> None:
    pair = Pair(config=HandshakeConfig(anonymous=True, effort_min=SEQUENCE_TRIES_EFFORT))
    p3 = pair.to_p3(pair.initiator(anonymous=True))
    for bit in range(0, len(p3) * 8, 5):
        if HEADER_SIZE <= bit // 8 < KX_AT:
            continue  # it may hit another solution of the same P3, which changes nothing
        assert not isinstance(pair.give(flip(p3, bit)), Admitted)
    assert isinstance(pair.give(p3), Admitted)


@pytest.mark.parametrize("effort", [1, 8, 16, SEQUENCE_TRIES_EFFORT - 1])
def test_a_damaged_copy_does_not_lock_out_the_true_one(effort: int) -> None:
    # Of a puzzle this easy a changed P3 is often another instance that is solved too.
    config = HandshakeConfig(effort_min=effort, handshakes_burst=10_000)
    for byte in range(KX_AT, KX_AT + 40, 8):
        pair = Pair(config=config)
        p3 = pair.to_p3(pair.initiator())
        for bit in (0, 7):
            assert not isinstance(pair.give(flip(p3, byte * 8 + bit)), Admitted)
        assert isinstance(pair.give(p3), Admitted)


def test_it_is_challenged_again_like_any_stranger() -> None:
    pair = Pair(config=ALLOWED)
    initiator = pair.initiator(anonymous=True)
    p3 = pair.to_p3(initiator)
    pair.responder._admission.controller.effort = 20
    answer = pair.give(p3)
    assert isinstance(answer, Reply)
    assert len(answer.data) <= len(p3)
    assert initiator.receive_challenge_untrusted(answer.data, NOW)
    assert isinstance(pair.give(initiator.initiate(b"y", NOW)), Admitted)


def test_it_begins_with_a_hello() -> None:
    pair = Pair(config=ALLOWED)
    named = pair.initiator()
    p3 = pair.to_p3(named)
    assert named.receive_accept_untrusted(pair.accept(pair.admit(p3)).datagram, NOW) is not None
    assert named.learned is not None
    with pytest.raises(LocalError):
        pair.initiator(anonymous=True).initiate_known(named.learned, b"", NOW)
