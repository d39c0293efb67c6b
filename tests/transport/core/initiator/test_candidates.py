"""Challenges that are not the responder's, and how much an attempt works for them."""

from __future__ import annotations

from tests.support.pair.handshake import NOW, Pair, flip
from transport.core.constants import (
    CHALLENGE_CHECKS_MAX,
    CHALLENGES_MAX,
)
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.responder.incoming import Admitted


def forged(challenge: bytes, *, effort: int, salt: int) -> bytes:
    """A challenge with the responder's genuine transient, and a cookie it never made."""
    return challenge[:161] + effort.to_bytes(4, "big") + bytes([salt] * 20)


def test_the_lowest_effort_goes_first_and_the_true_one_comes_to_its_turn() -> None:
    pair = Pair(config=HandshakeConfig(effort_min=200))
    initiator = pair.initiator()
    true = pair.challenge(initiator.hello(NOW))
    for effort, salt in ((900, 1), (100, 2)):
        initiator.receive_challenge_untrusted(forged(true, effort=effort, salt=salt), NOW)
    initiator.receive_challenge_untrusted(true, NOW)
    efforts = []
    admitted = None
    while admitted is None and initiator.ready:
        p3 = initiator.initiate(b"", NOW)
        efforts.append(int.from_bytes(p3[45:49], "big"))
        admitted = pair.give(p3)
    assert efforts == [100, 200]
    assert isinstance(admitted, Admitted)
    there = pair.accept(admitted)
    assert initiator.receive_accept_untrusted(there.datagram, NOW) is not None


def test_three_challenges_are_considered() -> None:
    pair = Pair()
    initiator = pair.initiator()
    true = pair.challenge(initiator.hello(NOW))
    for salt in range(1, 10):
        initiator.receive_challenge_untrusted(forged(true, effort=1, salt=salt), NOW)
        initiator.receive_challenge_untrusted(forged(true, effort=1, salt=salt), NOW)
    attempts = 0
    while initiator.ready:
        initiator.initiate(b"", NOW)
        attempts += 1
    assert attempts == CHALLENGES_MAX
    assert not initiator.receive_challenge_untrusted(true, NOW)


def test_puzzle_work_is_capped() -> None:
    pair = Pair(config=HandshakeConfig(puzzle_work_max=1000))
    initiator = pair.initiator()
    true = pair.challenge(initiator.hello(NOW))
    assert not initiator.receive_challenge_untrusted(forged(true, effort=1001, salt=1), NOW)
    assert not initiator.receive_challenge_untrusted(forged(true, effort=2**32 - 1, salt=2), NOW)
    assert initiator.receive_challenge_untrusted(forged(true, effort=600, salt=3), NOW)
    initiator.initiate(b"", NOW)
    assert not initiator.receive_challenge_untrusted(forged(true, effort=600, salt=4), NOW)
    assert not initiator.ready, "600 of 1000 are spent"
    assert not initiator.receive_challenge_untrusted(true, NOW)
    assert initiator.ready


def test_signatures_checked_are_bounded() -> None:
    pair = Pair()
    initiator = pair.initiator()
    true = pair.challenge(initiator.hello(NOW))
    for n in range(CHALLENGE_CHECKS_MAX):
        assert not initiator.receive_challenge_untrusted(flip(true, 8 * 89 + n), NOW)
    assert not initiator.receive_challenge_untrusted(true, NOW)


def test_the_puzzle_can_be_solved_in_slices() -> None:
    pair = Pair(config=HandshakeConfig(effort_min=2000))
    initiator = pair.initiator()
    initiator.receive_challenge_untrusted(pair.challenge(initiator.hello(NOW)), NOW)
    initiator.start(b"slices", NOW)
    slices = 0
    while (p3 := initiator.work(50)) is None:
        slices += 1
    assert slices > 5
    assert pair.admit(p3).first_data == b"slices"
