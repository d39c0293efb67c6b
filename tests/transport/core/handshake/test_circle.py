"""Limited circulation: members get in, and to everybody else the port is not there."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import (
    AWAY,
    HOME,
    NOW,
    Pair,
    agree,
    counted_primitives,
    flip,
    seeded,
)
from transport.core.constants import (
    CIRCLE_TAG_PERIOD_S,
    CIRCLES_MAX,
    CLUE_MEMORY_S,
    CLUE_SKEW_S,
    CLUES_MAX,
    COOKIE_LIFE_S,
    DATAGRAM_SIZE_MAX,
    FIRST_DATA_SIZE_MAX,
    KIND_INITIATE,
    TRANSIENT_LIFE_S,
)
from transport.core.errors import LocalError, WireError
from transport.core.handshake import circle
from transport.core.handshake.circle import Circles, CircleSecret, nearest_ticks, ticks_of
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.ticket import issue
from transport.core.handshake.variants import TICKET
from transport.core.handshake.wire import INITIATE_SIZE_MIN
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply

SECRET = b"s" * 32
UNIX_OFFSET_S = 1.7e9


def member(
    secret: bytes = SECRET, offset_s: float = UNIX_OFFSET_S, effort_min: int = 0
) -> HandshakeConfig:
    return HandshakeConfig(
        circles=(CircleSecret(secret),), unix_offset_s=offset_s, effort_min=effort_min
    )


def circle_pair(seed: int = 1, effort_min: int = 0) -> Pair:
    return Pair(seed=seed, config=member(effort_min=effort_min))


@pytest.mark.parametrize("effort", [0, 40])
def test_a_member_gets_in(effort: int) -> None:
    pair = circle_pair(effort_min=effort)
    initiator = pair.initiator()
    admitted = pair.admit(pair.to_p3(initiator))
    assert (admitted.peer, admitted.first_data) == (pair.here.key, b"first")
    there = pair.accept(admitted)
    here = initiator.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert agree(here, there)
    assert initiator.learned is None, "there is no 0-RTT to be had of it"


def test_the_fullest_p3_is_a_datagram() -> None:
    pair = circle_pair()
    p3 = pair.to_p3(pair.initiator(), bytes(FIRST_DATA_SIZE_MAX))
    assert len(p3) <= DATAGRAM_SIZE_MAX
    assert pair.admit(p3).first_data == bytes(FIRST_DATA_SIZE_MAX)


def strangers(pair: Pair) -> list[bytes]:
    """What somebody without the secret can send, recordings of members included."""
    draw = seeded(7)
    open_pair = Pair(seed=3)
    open_pair.there, open_pair.responder = pair.there, Pair(seed=3).responder
    other = Pair(seed=4, config=member(b"o" * 32))
    other.there = pair.there
    plain = open_pair.initiator()
    hello = plain.hello(NOW)
    initiator = pair.initiator()
    p1 = initiator.hello(NOW)
    assert initiator.receive_challenge_untrusted(pair.challenge(p1), NOW)
    p3 = initiator.initiate(b"secret", NOW)
    pair.admit(p3)
    return [
        hello,
        hello[:4] + b"\x07" + hello[5:],
        other.initiator().hello(NOW),
        p1,
        p3,
        p3[:-16],
        p3[:3] + bytes([KIND_INITIATE]) + p3[4:-16],
        p3[:5] + draw(4) + p3[9:],
        *(hello[:3] + bytes([kind]) + draw(600) for kind in range(16)),
    ]


def test_to_strangers_and_recordings_the_port_is_silent() -> None:
    pair = circle_pair()
    datagrams = strangers(pair)
    with counted_primitives() as counts:
        for data in datagrams:
            assert pair.give(data, AWAY) is None, data[:4]
    assert counts.diffie_hellman == counts.signatures == 0


def test_the_same_datagrams_are_answered_by_an_open_port() -> None:
    # The control: without the rule, a stranger's hello finds the responder out.
    pair = Pair()
    assert isinstance(pair.give(pair.initiator().hello(NOW), AWAY), Reply)


def test_a_recorded_hello_is_good_where_it_came_from_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = circle_pair()
    p1 = pair.initiator().hello(NOW)
    assert isinstance(pair.give(p1), Reply)
    assert isinstance(pair.give(p1), Reply), "P2 may have been lost"
    assert pair.give(p1, (HOME[0], HOME[1] + 1)) is None
    assert pair.give(p1, AWAY) is None
    # Without the memory of nonces the recording finds the responder out.
    monkeypatch.setattr(Circles, "_remember_untrusted", lambda *_: None)
    assert isinstance(pair.give(p1, AWAY), Reply)


def test_a_clue_is_never_good_again_once_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = circle_pair()
    circles = pair.responder._circles
    assert circles is not None
    # An initiator whose clock is ahead as far as it may be: its clue is good the longest.
    ahead = Pair(seed=5, config=member(offset_s=UNIX_OFFSET_S + CLUE_SKEW_S - 1))
    ahead.there = pair.there
    p1 = ahead.initiator().hello(NOW)
    assert isinstance(pair.give(p1), Reply)
    for later in (CLUE_MEMORY_S - 2, CLUE_MEMORY_S + 1, 3600.0, 2**32 / 65536 - 1, 2**32 / 65536):
        pair.now = NOW + later
        assert pair.give(p1, AWAY) is None, later
    assert not isinstance(pair.give(p1), Reply), "too old even from home"
    # A time of 32 bits alone would be good again 18 hours later.
    monkeypatch.setattr(
        CircleSecret,
        "clue",
        lambda self, nonce, time: blake2b(
            nonce + (time & (2**32 - 1)).to_bytes(8, "big"), digest_size=8, key=self._clue_key
        ).digest(),
    )
    pair.now = NOW
    replayed = ahead.initiator().hello(NOW)
    assert isinstance(pair.give(replayed), Reply)
    pair.now = NOW + 2**32 / 65536
    tag = CircleSecret(SECRET).tag(circle.period_of(pair.now + UNIX_OFFSET_S))
    assert isinstance(pair.give(replayed[:22] + tag + replayed[24:], AWAY), Reply)


@pytest.mark.parametrize(("skew_s", "good"), [(0, 1), (-59, 1), (59, 1), (-62, 0), (62, 0)])
def test_clocks_may_be_a_minute_apart(skew_s: float, good: int) -> None:
    pair = circle_pair()
    other = Pair(seed=5, config=member(offset_s=UNIX_OFFSET_S + skew_s))
    other.there = pair.there
    answer = pair.give(other.initiator().hello(NOW))
    assert isinstance(answer, Reply) is bool(good)


def test_the_tag_rotates_and_the_time_is_hidden() -> None:
    circle = CircleSecret(SECRET)
    tags = {circle.tag(period) for period in range(200)}
    assert len(tags) > 190
    pair = circle_pair()
    hellos = [pair.initiator().hello(NOW) for _ in range(20)]
    assert len({hello[22:24] for hello in hellos}) == 1, "one period, one tag"
    assert len({hello[13:17] for hello in hellos}) == 20, "equal times do not look equal"
    pair.now += 3 * CIRCLE_TAG_PERIOD_S
    assert pair.initiator().hello(pair.now)[22:24] != hellos[0][22:24]


def test_across_a_change_of_tag() -> None:
    pair = circle_pair()
    period_end = -(UNIX_OFFSET_S + NOW) % CIRCLE_TAG_PERIOD_S + NOW
    initiator = pair.initiator()
    pair.now = period_end - 0.01
    p1 = initiator.hello(pair.now)
    pair.now = period_end + 0.01
    assert initiator.receive_challenge_untrusted(pair.challenge(p1), pair.now)
    p3 = initiator.initiate(b"x", period_end - 0.001)
    assert isinstance(pair.give(p3), Admitted)


def test_an_initiator_works_for_nobody_without_the_secret() -> None:
    pair = circle_pair()
    initiator = pair.initiator()
    p1 = initiator.hello(NOW)
    # The responder's own key, but no secret: signature, hint and cookie are right.
    impostor = Pair(seed=9)
    impostor.there = pair.there
    impostor.responder = type(pair.responder)(pair.there, HandshakeConfig(), seeded(2), NOW)
    plain = p1[:22] + bytes(10) + p1[32:]
    challenge = impostor.challenge(plain)
    forged = challenge[:4] + initiator.echo + challenge[12:]
    assert not initiator.receive_challenge_untrusted(forged, NOW)
    assert not initiator.ready
    true = pair.challenge(p1)
    for bit in range(0, len(true) * 8, 3):
        assert not initiator.receive_challenge_untrusted(flip(true, bit), NOW)
    assert initiator.receive_challenge_untrusted(true, NOW)


def test_any_bit_of_p3_meets_silence_without_a_diffie_hellman() -> None:
    pair = circle_pair()
    p3 = pair.to_p3(pair.initiator())
    with counted_primitives() as counts:
        for bit in range(len(p3) * 8):
            assert pair.give(flip(p3, bit)) is None
    assert counts.diffie_hellman == 0
    assert isinstance(pair.give(p3), Admitted)


def test_the_secret_itself_enters_the_run() -> None:
    # A thief of the responder's static and transient keys who lacks the circle's secret, and even
    # makes all outer proofs fit, cannot read P3.
    pair = circle_pair()
    initiator = pair.initiator()
    assert initiator.receive_challenge_untrusted(pair.challenge(initiator.hello(NOW)), NOW)
    p3 = initiator.initiate(b"members only", NOW)
    circles = pair.responder._circles
    assert circles is not None
    circle = circles._circles[0]
    true_psk = circle.psk
    circle.psk = b"x" * 32
    assert pair.give(p3) is None
    circle.psk = true_psk
    pair.responder._transients.current.burnt.clear()
    assert pair.admit(p3).first_data == b"members only"


def test_a_recorded_p3_to_a_transient_that_is_gone_meets_silence() -> None:
    pair = circle_pair()
    p3 = pair.to_p3(pair.initiator())
    pair.now += COOKIE_LIFE_S + 1
    assert pair.give(p3) is None
    for _ in range(3):
        pair.now += TRANSIENT_LIFE_S / 2
        pair.responder.handle_timeout(pair.now)
        assert pair.give(p3) is None


def test_too_little_effort_gets_a_challenge_where_the_address_is_proved() -> None:
    pair = circle_pair()
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator)
    pair.responder._admission.controller.effort = 40
    assert pair.give(p3, AWAY) is None
    answer = pair.give(p3)
    assert isinstance(answer, Reply)
    assert initiator.receive_challenge_untrusted(answer.data, NOW)
    assert pair.admit(initiator.initiate(b"again", NOW)).first_data == b"again"


def test_nothing_else_gets_into_a_circle() -> None:
    pair = circle_pair()
    with pytest.raises(LocalError):
        pair.initiator(anonymous=True)
    opened = Pair(seed=2)
    opened.run()
    initiator = opened.initiator()
    p3 = opened.to_p3(initiator)
    here = initiator.receive_accept_untrusted(opened.accept(opened.admit(p3)).datagram, NOW)
    assert here is not None
    assert initiator.learned is not None
    attempt = pair.initiator()
    with pytest.raises(LocalError):
        attempt.initiate_known(initiator.learned, b"", NOW)


def test_a_recorded_p3_with_a_ticket_is_answered_where_it_came_from_and_nowhere_else() -> None:
    pair = circle_pair()
    ticket = issue(TICKET, pair.here.key, b"h" * 64, pair.random, NOW)
    pair.responder.invite(ticket, NOW)
    p3 = pair.initiator().initiate_ticket(ticket, bytes(200), NOW)
    p4 = pair.accept(pair.admit(p3)).datagram
    assert pair.give(p3) == Reply(p4), "P4 may have been lost"
    assert pair.give(p3, AWAY) is None
    # An open port has nothing to hide, and answers within the amplification limit.
    opened = Pair()
    theirs = issue(TICKET, opened.here.key, b"h" * 64, opened.random, NOW)
    opened.responder.invite(theirs, NOW)
    p3 = opened.initiator().initiate_ticket(theirs, bytes(200), NOW)
    p4 = opened.accept(opened.admit(p3)).datagram
    assert opened.give(p3, AWAY) == Reply(p4)


def test_several_groups_and_their_bound() -> None:
    secrets = tuple(CircleSecret(bytes([n]) * 32) for n in range(CIRCLES_MAX))
    config = HandshakeConfig(circles=secrets, unix_offset_s=UNIX_OFFSET_S)
    for n in (0, 7, CIRCLES_MAX - 1):
        pair = Pair(config=member(bytes([n]) * 32), responder_config=config)
        pair.run()
    with pytest.raises(LocalError):
        HandshakeConfig(circles=(*secrets, CircleSecret(SECRET)))
    with pytest.raises(LocalError):
        CircleSecret(b"short")
    assert "ss" not in repr(CircleSecret(SECRET)).replace("CircleSecret", "")


def test_the_memory_of_clues_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circle, "CLUES_MAX", 5)
    assert CLUES_MAX > 5
    pair = circle_pair()
    hellos = [pair.initiator().hello(NOW) for _ in range(7)]
    assert [isinstance(pair.give(p1), Reply) for p1 in hellos] == [True] * 5 + [False] * 2
    circles = pair.responder._circles
    assert circles is not None
    assert len(circles) == 5
    pair.now += CLUE_MEMORY_S + 1
    assert isinstance(pair.give(pair.initiator().hello(pair.now)), Reply)
    assert len(circles) == 1


def test_garbage_leaves_nothing() -> None:
    pair = circle_pair()
    circles = pair.responder._circles
    assert circles is not None
    draw = seeded(8)
    hello = pair.initiator().hello(NOW)
    for _ in range(300):
        assert pair.give(hello[:5] + draw(8) + hello[13:], AWAY) is None
        assert pair.give(hello[:24] + draw(8) + hello[32:], AWAY) is None
    assert len(circles) == 0


@settings(deadline=None)
@given(st.integers(0, 2**50), st.integers(-(2**31) + 1, 2**31 - 1))
def test_times_come_back(own: int, difference: int) -> None:
    time = own + difference
    assert nearest_ticks(time & 0xFFFFFFFF, own) == time


def test_ticks_and_errors() -> None:
    assert ticks_of(1.5) == 98304
    circles = Circles((CircleSecret(SECRET),), 0.0)
    with pytest.raises(WireError):
        circles.of_hello_untrusted(b"n" * 8, 1, b"c" * 10, HOME, 0.0)
    with pytest.raises(WireError):
        circles.of_initiate_untrusted(bytes(INITIATE_SIZE_MIN), 0.0)
