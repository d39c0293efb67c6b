"""What a stranger can cost and what a meddler can do: docs/protocol/handshake.md, section 6."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import AWAY, HOME, NOW, Pair, agree, counted_primitives, flip
from transport.core.constants import (
    AMPLIFICATION_MAX,
    ANSWER_RESENDS_MAX,
    COOKIE_LIFE_S,
    REPEAT_CHALLENGES_BURST,
    SEQUENCE_TRIES_MAX,
    VERSION,
)
from transport.core.handshake import transient as transient_module
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.wire import (
    ACCEPT_PREFIX,
    CHALLENGE_PREFIX,
    CHALLENGE_SIZE,
    HEADER_SIZE,
    HELLO_PREFIX,
    INITIATE_PREFIX,
    INITIATE_SIZE_MIN,
    KX_AT,
)
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder

TID = range(5, 9)
COOKIE = range(53, 69)
SOLUTION = range(69, 93)
EPHEMERAL = range(93, 125)


def kept(responder: Responder) -> int:
    """How many things the responder remembers of anybody."""
    return sum(
        len(held.burnt) + len(held.ephemerals) + len(held.answered)
        for held in responder._transients._accepted.values()
    ) + len(responder._admission.waiting)


# --- what it costs --------------------------------------------------------------------------------


def test_p1_costs_no_diffie_hellman_and_leaves_nothing() -> None:
    pair = Pair()
    hellos = [pair.initiator().hello(NOW) for _ in range(50)]
    with counted_primitives() as counts:
        answers = [pair.give(hello, (f"192.0.2.{n}", n + 1)) for n, hello in enumerate(hellos)]
    assert all(isinstance(answer, Reply) for answer in answers)
    assert (counts.diffie_hellman, counts.base, counts.signatures) == (0, 0, 0)
    assert kept(pair.responder) == 0


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"", HELLO_PREFIX, CHALLENGE_PREFIX, INITIATE_PREFIX, ACCEPT_PREFIX]),
    st.binary(max_size=400),
)
def test_garbage_is_silence_and_costs_nothing(prefix: bytes, rest: bytes) -> None:
    pair = Pair()
    initiator = pair.initiator()
    initiator.hello(NOW)
    data = prefix + rest
    with counted_primitives() as counts:
        answer = pair.give(data)
        assert not initiator.receive_challenge_untrusted(data, NOW)
        assert initiator.receive_accept_untrusted(data, NOW) is None
    assert not isinstance(answer, Admitted)
    if isinstance(answer, Reply):
        assert len(answer.data) <= len(data)
    assert (counts.diffie_hellman, counts.base, counts.signatures) == (0, 0, 0)
    assert kept(pair.responder) == 0


@pytest.mark.parametrize("effort", [0, 1 << 14])
def test_p3_with_a_wrong_cookie_or_solution_costs_no_diffie_hellman(effort: int) -> None:
    pair = Pair(config=HandshakeConfig(effort_min=effort))
    p3 = pair.to_p3(pair.initiator())
    with counted_primitives() as counts:
        for byte in (*COOKIE, *SOLUTION):
            assert pair.give(flip(p3, 8 * byte)) is None
        assert pair.give(p3, AWAY) is None
        for size in (0, 4, HEADER_SIZE, KX_AT, INITIATE_SIZE_MIN - 1, len(p3) + 1200):
            assert pair.give((p3 + bytes(1200))[:size]) is None
    assert (counts.diffie_hellman, counts.base) == (0, 0)
    assert kept(pair.responder) == 0
    with counted_primitives() as counts:
        admitted = pair.admit(p3)
        assert (counts.diffie_hellman, counts.base) == (3, 0)
        pair.accept(admitted)
    assert (counts.diffie_hellman, counts.base, counts.signatures) == (4, 1, 0)


def test_with_effort_a_changed_p3_is_stopped_by_the_puzzle() -> None:
    pair = Pair(config=HandshakeConfig(effort_min=4096))
    p3 = pair.to_p3(pair.initiator())
    with counted_primitives() as counts:
        for byte in range(KX_AT, len(p3), 5):
            assert pair.give(flip(p3, 8 * byte)) is None
    assert counts.diffie_hellman == 0
    assert kept(pair.responder) == 0
    assert isinstance(pair.give(p3), Admitted)


def test_a_sequence_buys_few_tries() -> None:
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    with counted_primitives() as counts:
        for n in range(20):
            assert pair.give(flip(p3, 8 * (len(p3) - 1 - n))) is None
    assert 0 < counts.diffie_hellman <= 3 * SEQUENCE_TRIES_MAX
    assert pair.give(p3) is None, "burnt: the initiator has to begin again"


def test_after_the_true_one_its_sequence_buys_nothing() -> None:
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    assert pair.give(flip(p3, 8 * len(p3) - 1)) is None
    assert isinstance(pair.give(p3), Admitted)
    with counted_primitives() as counts:
        assert pair.give(flip(p3, 8 * len(p3) - 2)) is None
    assert counts.diffie_hellman == 0


def test_a_full_table_of_sequences_raises_the_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient_module, "SEQUENCES_MAX", 3)
    pair = Pair()
    waiting = [pair.to_p3(pair.initiator()) for _ in range(4)]
    assert [isinstance(pair.give(p3), Admitted) for p3 in waiting] == [True] * 3 + [False]
    assert pair.responder.effort == 0
    pair.now += 1.0
    assert pair.responder.next_timeout() == pair.now
    pair.responder.handle_timeout(pair.now)
    assert pair.responder.effort == 1
    # When the challenges they answered are too old, the places are free again.
    pair.now += COOKIE_LIFE_S + 1.0
    assert isinstance(pair.give(pair.to_p3(pair.initiator())), Admitted)
    assert kept(pair.responder) == 1 + 4


def test_a_full_memory_of_ephemerals_admits_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient_module, "EPHEMERALS_MAX", 2)
    pair = Pair()
    answers = [pair.give(pair.to_p3(pair.initiator())) for _ in range(3)]
    assert [isinstance(answer, Admitted) for answer in answers] == [True, True, False]


# --- amplification --------------------------------------------------------------------------------


def test_p2_is_never_longer_than_what_it_answers() -> None:
    pair = Pair(responder_config=HandshakeConfig(handshakes=(1,)))
    hello = pair.initiator(config=HandshakeConfig(handshakes=(1, 2))).hello(NOW)
    for size in range(len(hello) + 20):
        answer = pair.give((hello + bytes(20))[:size])
        assert answer is None or (isinstance(answer, Reply) and len(answer.data) <= size)
    assert CHALLENGE_SIZE <= INITIATE_SIZE_MIN


def test_a_replayed_p3_gets_the_same_p4_within_bounds() -> None:
    pair = Pair()
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator)
    admitted = pair.admit(p3)
    assert pair.give(p3) is None, "not answered yet"
    p4 = pair.accept(admitted, bytes(900)).datagram
    received, sent, answered = 2 * len(p3), len(p4), 0
    with counted_primitives() as counts:
        for _ in range(100):
            received += len(p3)
            answer = pair.give(p3)
            if answer is not None:
                assert answer == Reply(p4)
                sent += len(p4)
                answered += 1
            assert sent <= AMPLIFICATION_MAX * received
        assert pair.give(p3, AWAY) is None
    assert answered == ANSWER_RESENDS_MAX
    assert counts.diffie_hellman == 0
    here = initiator.receive_accept_untrusted(p4, NOW)
    assert here is not None
    assert initiator.receive_accept_untrusted(p4, NOW) is None, "once"


def test_answers_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient_module, "ANSWERS_MAX", 2)
    pair = Pair()
    p3s = [pair.to_p3(pair.initiator()) for _ in range(3)]
    for p3 in p3s:
        pair.accept(pair.admit(p3))
    assert [isinstance(pair.give(p3), Reply) for p3 in p3s] == [False, True, True]


def test_p3_under_another_sequence_with_the_same_ephemeral() -> None:
    # Only its owner can make one, and it gets nothing out of it.
    pair = Pair()
    initiator = pair.initiator()
    hello = initiator.hello(NOW)
    drawn: list[bytes] = []

    def repeating(size: int) -> bytes:
        if len(drawn) < 2:
            drawn.append(pair.random(size))
            return drawn[-1]
        return drawn[0] if size == 32 else pair.random(size)

    for _ in range(2):
        initiator.receive_challenge_untrusted(pair.challenge(hello), NOW)
    initiator._writer._random = repeating
    first, second = initiator.initiate(b"", NOW), initiator.initiate(b"", NOW)
    assert first[93:125] == second[93:125]
    assert isinstance(pair.give(first), Admitted)
    assert pair.give(second) is None


# --- one flipped bit ------------------------------------------------------------------------------


def test_any_bit_of_p1() -> None:
    pair = Pair()
    initiator = pair.initiator()
    hello = initiator.hello(NOW)
    for bit in range(8 * len(hello)):
        answer = pair.give(flip(hello, bit))
        if answer is not None:
            assert isinstance(answer, Reply)
            assert not initiator.receive_challenge_untrusted(answer.data, NOW)
    assert kept(pair.responder) == 0
    assert initiator.receive_challenge_untrusted(pair.challenge(hello), NOW)


def test_any_bit_of_p2() -> None:
    pair = Pair(config=HandshakeConfig(puzzle_work_max=300, handshakes_burst=10_000))
    silent = answered = 0
    for bit in range(0, 8 * CHALLENGE_SIZE, 3):
        initiator = pair.initiator()
        challenge = pair.challenge(initiator.hello(NOW))
        if initiator.receive_challenge_untrusted(flip(challenge, bit), NOW):
            # Time, effort, sequence and cookie: the responder knows that it did not say so.
            answered += 1
            assert pair.give(initiator.initiate(b"", NOW)) is None
            assert not initiator.receive_challenge_untrusted(challenge, NOW), "a spare"
            assert initiator.ready
        else:
            silent += 1
            assert initiator.receive_challenge_untrusted(challenge, NOW)
        assert isinstance(pair.give(initiator.initiate(b"", NOW)), Admitted)
    assert answered > 40
    assert silent > 350


def test_any_bit_of_p3() -> None:
    pair = Pair(config=HandshakeConfig(handshakes_burst=10_000))
    size = len(pair.to_p3(pair.initiator()))
    bits = [*range(8 * KX_AT), *range(8 * KX_AT, 8 * size, 5)]
    replies = set()
    for bit in bits:
        p3 = pair.to_p3(pair.initiator())
        answer = pair.give(flip(p3, bit))
        if answer is not None:
            assert isinstance(answer, Reply)
            replies.add(bit // 8)
        assert isinstance(pair.give(p3), Admitted), f"bit {bit}"
    # Silence, but for an unknown transient, and for a kind that makes it a hello.
    assert replies <= {3, *TID}


def test_any_bit_of_p4() -> None:
    pair = Pair()
    initiator = pair.initiator()
    there = pair.accept(pair.admit(pair.to_p3(initiator)))
    p4 = there.datagram
    for bit in [*range(8 * 12), *range(8 * 12, 8 * len(p4), 3)]:
        assert initiator.receive_accept_untrusted(flip(p4, bit), NOW) is None
    for size in (0, 12, len(p4) - 1):
        assert initiator.receive_accept_untrusted(p4[:size], NOW) is None
    here = initiator.receive_accept_untrusted(p4, NOW)
    assert here is not None
    assert agree(here, there)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cut_and_spliced_datagrams(data: st.DataObject) -> None:
    pair = Pair()
    initiator = pair.initiator()
    hello = initiator.hello(NOW)
    challenge = pair.challenge(hello)
    p3 = pair.to_p3(initiator)
    pieces = data.draw(st.permutations([hello, challenge, p3]))
    at = data.draw(st.integers(0, len(pieces[0])))
    spliced = pieces[0][:at] + pieces[1][at:]
    if spliced in (hello, challenge, p3):
        return
    assert not isinstance(pair.give(spliced), Admitted)
    if at < len(challenge):
        assert initiator.receive_accept_untrusted(spliced, NOW) is None


def test_challenges_in_answer_to_p3_are_limited() -> None:
    # Transients nobody knows, from one who does not even send a hello.
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    unknown = p3[:5] + b"\x80\x80\x80\x01" + p3[9:]
    answers = [pair.give(unknown) for _ in range(2 * REPEAT_CHALLENGES_BURST)]
    assert sum(answer is not None for answer in answers) == REPEAT_CHALLENGES_BURST


def test_a_hello_of_a_circle_meets_silence() -> None:
    pair = Pair()
    hello = pair.initiator().hello(NOW)
    assert pair.give(hello[:22] + b"\1" + hello[23:]) is None


def test_a_hello_of_another_version_is_refused_with_what_would_do() -> None:
    pair = Pair()
    hello = pair.initiator().hello(NOW)
    answer = pair.give(hello[:4] + bytes([VERSION + 1]) + hello[5:])
    assert isinstance(answer, Reply)
    assert answer.data[12:] == bytes([0, 2, 1, VERSION, 2, 1, 2])


def test_a_wrong_key_learns_nothing() -> None:
    # A responder under another key, even with everything in clear copied, cannot answer.
    pair, other = Pair(seed=1), Pair(seed=2)
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator)
    other.responder._transients._accepted = pair.responder._transients._accepted
    other.responder._transients.current = pair.responder._transients.current
    with counted_primitives() as counts:
        assert other.give(p3, HOME) is None
    assert counts.diffie_hellman == 2, "it got as far as decrypting the initiator's name"
