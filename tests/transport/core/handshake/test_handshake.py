"""First contact, P1 to P4, as it should go: docs/protocol/handshake.md, sections 2 to 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import (
    AWAY,
    BULK_CID,
    HOME,
    MESSAGE_CID,
    NOW,
    RESPONDER_BULK_CID,
    RESPONDER_MESSAGE_CID,
    Pair,
    agree,
    flip,
    seeded,
)
from transport.core.constants import (
    COOKIE_LIFE_S,
    DATAGRAM_SIZE_MAX,
    FIRST_DATA_SIZE_MAX,
    MAGIC,
    TRANSIENT_PERIOD_S,
)
from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError
from transport.core.handshake.negotiation import EpochKeys, HandshakeConfig
from transport.core.handshake.wire import REPLY_SIZE_MAX, echo_of_untrusted
from transport.core.initiator.initiator import Initiator
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder


@pytest.mark.parametrize("effort", [0, 1, 7, 800])
def test_first_contact(effort: int) -> None:
    pair = Pair(config=HandshakeConfig(effort_min=effort))
    initiator = pair.initiator()
    hello = initiator.hello(pair.now)
    assert initiator.hello(pair.now + 1) == hello
    challenge = pair.challenge(hello)
    assert echo_of_untrusted(challenge) == initiator.echo
    assert not initiator.ready
    assert initiator.receive_challenge_untrusted(challenge, pair.now)
    assert initiator.ready
    p3 = initiator.initiate(b"first data", pair.now)
    admitted = pair.admit(p3)
    assert admitted.peer == pair.here.key
    assert admitted.incarnation == 11
    assert admitted.first_data == b"first data"
    assert (admitted.message_cid, admitted.bulk_cid) == (MESSAGE_CID, BULK_CID)
    assert admitted.address == HOME
    assert admitted.address_validated
    there = pair.accept(admitted, b"the reply")
    assert echo_of_untrusted(there.datagram) == initiator.echo
    here = initiator.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert agree(here, there)
    assert (here.peer, here.incarnation, here.reply) == (pair.there.key, 22, b"the reply")
    assert (there.peer, there.incarnation, there.reply) == (pair.here.key, 11, b"")
    assert (here.message_cid, here.bulk_cid) == (RESPONDER_MESSAGE_CID, RESPONDER_BULK_CID)
    assert (there.message_cid, there.bulk_cid) == (MESSAGE_CID, BULK_CID)
    assert here.datagram == b""


def test_every_key_of_an_epoch_is_another_one() -> None:
    here, there = Pair().run()
    keys = [getattr(here.keys, name) for name in EpochKeys.__slots__]
    assert len(keys) == 9
    assert len(set(keys)) == 9
    assert {len(key) for key in keys} == {32}
    assert agree(here, there)


def test_two_handshakes_share_nothing() -> None:
    pair = Pair()
    one, _ = pair.run()
    two, _ = pair.run()
    assert one.handshake_hash != two.handshake_hash
    first = {getattr(one.keys, name) for name in EpochKeys.__slots__}
    assert not first & {getattr(two.keys, name) for name in EpochKeys.__slots__}


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.binary(max_size=FIRST_DATA_SIZE_MAX),
    st.binary(max_size=REPLY_SIZE_MAX),
)
def test_any_data(seed: int, first_data: bytes, reply: bytes) -> None:
    pair = Pair(seed=seed)
    initiator = pair.initiator()
    admitted = pair.admit(pair.to_p3(initiator, first_data))
    assert admitted.first_data == first_data
    there = pair.accept(admitted, reply)
    here = initiator.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert here.reply == reply


def test_data_that_is_too_long() -> None:
    pair = Pair()
    initiator = pair.initiator()
    initiator.receive_challenge_untrusted(pair.challenge(initiator.hello(NOW)), NOW)
    with pytest.raises(LocalError):
        initiator.initiate(bytes(FIRST_DATA_SIZE_MAX + 1), NOW)
    p3 = initiator.initiate(bytes(FIRST_DATA_SIZE_MAX), NOW)
    assert len(p3) <= DATAGRAM_SIZE_MAX
    admitted = pair.admit(p3)
    assert admitted.reply_size_max == REPLY_SIZE_MAX
    with pytest.raises(LocalError):
        pair.accept(admitted, bytes(REPLY_SIZE_MAX + 1))
    assert len(pair.accept(admitted, bytes(REPLY_SIZE_MAX)).datagram) <= DATAGRAM_SIZE_MAX
    with pytest.raises(LocalError):
        pair.accept(admitted, b"")


def test_nothing_is_delivered_before_its_time() -> None:
    initiator = Pair().initiator()
    with pytest.raises(LocalError):
        initiator.initiate(b"", NOW)
    with pytest.raises(LocalError):
        initiator.work(1)
    assert initiator.receive_accept_untrusted(bytes(200), NOW) is None
    assert not initiator.receive_challenge_untrusted(bytes(185), NOW)


@pytest.mark.parametrize(
    ("message_cid", "bulk_cid"),
    [
        (b"a" * 8, b"a" * 8),
        (b"a" * 7, b"b" * 8),
        (MAGIC + b"aaaaa", b"b" * 8),
        (b"a" * 8, MAGIC + b"aaaaa"),
    ],
)
def test_connection_ids_that_cannot_be(message_cid: bytes, bulk_cid: bytes) -> None:
    pair = Pair()
    with pytest.raises(LocalError):
        Initiator(
            pair.here,
            pair.there.key,
            pair.config,
            pair.random,
            message_cid=message_cid,
            bulk_cid=bulk_cid,
            incarnation=1,
        )
    admitted = pair.admit(pair.to_p3(pair.initiator()))
    with pytest.raises(LocalError):
        admitted.accept(b"", message_cid, bulk_cid, 1, NOW)


def test_a_node_refuses_its_own_key() -> None:
    pair = Pair()
    with pytest.raises(LocalError):
        pair.initiator(identity=pair.there)
    # And when somebody who has the key comes to itself without asking first.
    twin = pair.initiator()
    twin._writer._static = pair.there.static_pair()
    assert pair.give(pair.to_p3(twin)) is None


def test_a_name_that_is_none_is_refused() -> None:
    pair = Pair()
    with pytest.raises(LocalError):
        Initiator(
            pair.here,
            b"\xff" * 32,
            pair.config,
            pair.random,
            message_cid=MESSAGE_CID,
            bulk_cid=BULK_CID,
            incarnation=1,
        )


def test_a_challenge_of_another_key() -> None:
    pair, other = Pair(seed=1), Pair(seed=2)
    initiator = pair.initiator()
    challenge = other.challenge(initiator.hello(NOW))
    assert not initiator.receive_challenge_untrusted(challenge, NOW)
    assert initiator.receive_challenge_untrusted(pair.challenge(initiator.hello(NOW)), NOW)


def test_crossed_handshakes_both_complete() -> None:
    one, two = Pair(seed=1), Pair(seed=2)
    two.here, one_key = one.there, two.there
    one.here = one_key
    # Now each side's initiator is the other side's responder.
    first, second = one.initiator(), two.initiator()
    p3_first, p3_second = one.to_p3(first), two.to_p3(second)
    there_first = one.accept(one.admit(p3_first))
    there_second = two.accept(two.admit(p3_second))
    here_first = first.receive_accept_untrusted(there_first.datagram, NOW)
    here_second = second.receive_accept_untrusted(there_second.datagram, NOW)
    assert here_first is not None
    assert here_second is not None
    assert agree(here_first, there_first)
    assert agree(here_second, there_second)
    assert here_first.handshake_hash != here_second.handshake_hash
    assert here_first.peer == one.there.key == there_second.peer


def test_roles_cannot_be_reflected() -> None:
    # What an initiator sent is nothing to an initiator, and the same for responders.
    pair = Pair()
    initiator = pair.initiator()
    hello = initiator.hello(NOW)
    challenge = pair.challenge(hello)
    p3 = pair.to_p3(initiator)
    p4 = pair.accept(pair.admit(p3)).datagram
    for datagram in (hello, p3):
        assert not initiator.receive_challenge_untrusted(datagram, NOW)
        assert initiator.receive_accept_untrusted(datagram, NOW) is None
    for datagram in (challenge, p4):
        assert pair.give(datagram) is None


def test_round_trip_and_offset() -> None:
    pair = Pair()
    initiator = pair.initiator()
    p1 = initiator.hello(NOW)
    pair.now = NOW + 500.0 + 0.030  # the responder's clock is 500 s ahead; 30 ms each way
    pair.responder.handle_timeout(pair.now)
    p2 = pair.challenge(p1)
    assert initiator.receive_challenge_untrusted(p2, NOW + 0.060)
    p3 = initiator.initiate(b"", NOW + 0.160)  # 100 ms of thinking
    pair.now = NOW + 500.0 + 0.190
    admitted = pair.admit(p3)
    pair.now += 0.020  # 20 ms until the reply was ready
    there = pair.accept(admitted)
    here = initiator.receive_accept_untrusted(there.datagram, NOW + 0.240)
    assert here is not None
    assert here.rtt_s == pytest.approx(0.060, abs=1e-3)
    assert there.rtt_s == pytest.approx(0.060, abs=1e-3)
    assert here.clock_offset_s == pytest.approx(500.0, abs=1e-3)
    assert there.clock_offset_s == pytest.approx(-500.0, abs=1e-3)


def test_a_late_retransmission_does_not_pass_for_a_round_trip() -> None:
    pair = Pair()
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator)  # P1 and P2 at once: a round trip of 0 s, sent once
    there = pair.accept(pair.admit(p3))
    here = initiator.receive_accept_untrusted(there.datagram, NOW + 3.0)
    assert here is not None
    assert here.rtt_s == 0.0


def test_clear_times_have_random_origins() -> None:
    pair = Pair()
    times = {pair.initiator().hello(NOW)[13:17] for _ in range(8)}
    assert len(times) == 8
    origins = {Pair(seed=seed).challenge(pair.initiator().hello(NOW))[13:17] for seed in range(8)}
    assert len(origins) == 8


def test_the_transient_lives_two_periods() -> None:
    pair = Pair(now=0.0)
    first = pair.challenge(pair.initiator().hello(0.0))[17:49]
    waiting = pair.initiator()
    pair.now = TRANSIENT_PERIOD_S - 1
    p3_old = pair.to_p3(waiting)
    assert pair.responder.next_timeout() == TRANSIENT_PERIOD_S
    pair.now = TRANSIENT_PERIOD_S
    pair.responder.handle_timeout(pair.now)
    second = pair.challenge(pair.initiator().hello(0.0))[17:49]
    assert second != first
    # One that was begun under the first is still admitted.
    assert isinstance(pair.give(p3_old), Admitted)
    late = pair.initiator()
    pair.now = 2 * TRANSIENT_PERIOD_S - 1
    p3_late = pair.to_p3(late)
    # Two periods on, its transient is unknown, and the answer is a challenge under the new one.
    pair.now = 3 * TRANSIENT_PERIOD_S + 1
    pair.responder.handle_timeout(pair.now)
    pair.now = 4 * TRANSIENT_PERIOD_S + 2
    pair.responder.handle_timeout(pair.now)
    answer = pair.give(p3_late)
    assert isinstance(answer, Reply)
    assert late.receive_challenge_untrusted(answer.data, pair.now)
    assert isinstance(pair.give(late.initiate(b"again", pair.now)), Admitted)


def test_a_late_timer_replaces_the_transient_anyway() -> None:
    pair = Pair(now=0.0)
    first = pair.challenge(pair.initiator().hello(0.0))[17:49]
    pair.now = 10 * TRANSIENT_PERIOD_S
    assert pair.challenge(pair.initiator().hello(0.0))[17:49] != first


def test_an_old_challenge_is_not_accepted() -> None:
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    pair.now += COOKIE_LIFE_S + 0.001
    assert pair.give(p3) is None
    pair.now -= 0.002
    assert isinstance(pair.give(p3), Admitted)


def test_a_challenge_from_the_future_is_not_accepted() -> None:
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    pair.now -= 0.5
    assert pair.give(p3) is None


def test_the_cookie_binds_address_and_port() -> None:
    pair = Pair()
    p3 = pair.to_p3(pair.initiator(), address=HOME)
    for other in (AWAY, (HOME[0], HOME[1] + 1), (AWAY[0], HOME[1]), ("2001:db8::1", HOME[1])):
        assert pair.give(p3, other) is None
    assert isinstance(pair.give(p3, HOME), Admitted)


def test_ipv6_addresses() -> None:
    pair = Pair()
    address = ("fe80::1%eth0", 4001)
    assert isinstance(pair.give(pair.to_p3(pair.initiator(), address=address), address), Admitted)


def test_no_secret_in_a_repr() -> None:
    pair = Pair()
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator, b"private words")
    admitted = pair.admit(p3)
    there = pair.accept(admitted, b"private answer")
    here = initiator.receive_accept_untrusted(there.datagram, NOW)
    assert here is not None
    known = initiator.learned
    things: list[Any] = [pair.responder, initiator, admitted, here, there, known, here.keys]
    things += [pair.responder._transients.current, pair.here, pair.there]
    shown = " ".join(repr(thing) for thing in things)
    secrets = [pair.here.seed, pair.there.seed, pair.here.static_pair().secret]
    secrets += [getattr(here.keys, name) for name in EpochKeys.__slots__]
    transient = pair.responder._transients.current
    secrets += [transient.cookie_secret, transient.pair.secret]
    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
    assert "private" not in shown


def test_ephemerals_serve_one_byte_string() -> None:
    # Two P3s of one attempt, even with the same data, share neither E nor E2.
    pair = Pair()
    initiator = pair.initiator()
    hello = initiator.hello(NOW)
    for _ in range(2):
        initiator.receive_challenge_untrusted(pair.challenge(hello), NOW)
    first = initiator.initiate(b"same", NOW)
    assert initiator.ready
    second = initiator.initiate(b"same", NOW)
    assert first[93:125] != second[93:125]
    assert first[-48:-16] != second[-48:-16]
    # Either is accepted, and P4 to either finishes the attempt, once.
    answers = [pair.accept(pair.admit(p3)).datagram for p3 in (first, second)]
    assert initiator.receive_accept_untrusted(answers[1], NOW) is not None
    assert initiator.receive_accept_untrusted(answers[0], NOW) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: HandshakeConfig(handshakes=()),
        lambda: HandshakeConfig(handshakes=(2, 1)),
        lambda: HandshakeConfig(handshakes=(0, 1)),
        lambda: HandshakeConfig(suites=(1, 1)),
        lambda: HandshakeConfig(suites=tuple(range(1, 20))),
        lambda: HandshakeConfig(effort_min=-1),
        lambda: HandshakeConfig(handshakes_per_s_max=0),
        lambda: HandshakeConfig(waiting_max=0),
        lambda: HandshakeConfig(known_per_s_max=0),
    ],
)
def test_configurations_that_make_no_sense(make: Callable[[], HandshakeConfig]) -> None:
    with pytest.raises(LocalError):
        make()


def test_two_identities_on_one_port_ignore_each_others_handshakes() -> None:
    pair = Pair()
    other = Responder(Identity.generate(seeded(9)), HandshakeConfig(), seeded(10), NOW)
    p3 = pair.to_p3(pair.initiator())
    assert not isinstance(other.receive_untrusted(p3, HOME, NOW), Admitted)
    assert isinstance(pair.give(p3), Admitted)


def test_flip_is_what_it_says() -> None:
    assert flip(b"\0\0", 9) == b"\0\2"
