"""Load: the allowance, the waiting room, and the effort that follows them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import HOME, NOW, Pair
from transport.core.constants import EFFORT_INTERVAL_S, EFFORT_MAX
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.responder.effort import EffortController, TokenBucket, WaitingRoom
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply


def test_token_bucket() -> None:
    bucket = TokenBucket(10.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.next_at == pytest.approx(0.1, abs=1e-4)
    assert not bucket.take(0.05)
    assert bucket.take(bucket.next_at)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(99.0), "time does not run backwards"


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 20))
def test_the_waiting_room_keeps_the_greatest_efforts(efforts: list[int], size: int) -> None:
    room: WaitingRoom[tuple[int, int]] = WaitingRoom(size)
    inside: list[tuple[int, int]] = []
    for number, effort in enumerate(efforts):
        gone = room.push(effort, (effort, number))
        inside.append((effort, number))
        inside = [item for item in inside if item not in gone]
        assert len(room) == len(inside) <= size
        if gone:
            assert max(effort for effort, _ in gone) <= min(effort for effort, _ in inside)
    order = [room.pop() for _ in range(len(room))]
    assert order == sorted(inside, key=lambda item: (-item[0], item[1]))


def controller(effort_min: int = 0) -> EffortController:
    return EffortController(effort_min, 0.0)


def test_effort_follows_the_load() -> None:
    effort = controller()
    assert effort.effort == 0
    assert effort.is_idle
    now = 0.0
    seen = []
    for _ in range(4):
        # Ten times as many come as can be handled, each with what was asked for.
        for _ in range(100):
            effort.saw(effort.effort)
        for _ in range(10):
            effort.handled()
        effort.strained()
        now += EFFORT_INTERVAL_S
        assert effort.update(now, peak=16, size_max=16)
        seen.append(effort.effort)
    assert seen == [1, 10, 100, 1000]
    # Busy but not strained: it stays. Nearly empty: it falls by a third, down to the least.
    now += EFFORT_INTERVAL_S
    assert effort.update(now, peak=8, size_max=16)
    assert effort.effort == 1000
    falls = []
    for _ in range(20):
        now += EFFORT_INTERVAL_S
        assert effort.update(now, peak=0, size_max=16)
        falls.append(effort.effort)
    assert falls[:3] == [666, 444, 296]
    assert falls[-1] == 0
    assert effort.is_idle


def test_effort_stays_within_its_bounds() -> None:
    effort = controller(50)
    effort.update(EFFORT_INTERVAL_S, 0, 16)
    assert effort.effort == 50
    effort.saw(2**40)
    effort.strained()
    effort.update(2 * EFFORT_INTERVAL_S, 16, 16)
    assert effort.effort == EFFORT_MAX
    assert controller(2**40).effort == EFFORT_MAX
    assert not effort.update(2 * EFFORT_INTERVAL_S + 0.5, 0, 16)


CONFIG = HandshakeConfig(handshakes_per_s_max=10.0, handshakes_burst=2, waiting_max=4)


def test_beyond_the_allowance_p3s_wait() -> None:
    pair = Pair(config=CONFIG)
    p3s = [pair.to_p3(pair.initiator()) for _ in range(4)]
    answers = [pair.give(p3) for p3 in p3s]
    assert [isinstance(answer, Admitted) for answer in answers] == [True, True, False, False]
    assert pair.responder.waiting == 2
    assert pair.responder.poll(pair.now) is None
    due = pair.responder.next_timeout()
    assert due == pytest.approx(NOW + 0.1, abs=1e-3)
    assert due is not None
    assert pair.give(p3s[2]) is None, "it waits already"
    pair.now = due
    first = pair.responder.poll(due)
    assert first is not None
    assert first.address == HOME
    assert pair.responder.poll(due) is None
    pair.now += 1.0
    assert isinstance(pair.responder.poll(pair.now), Admitted)
    assert pair.responder.waiting == 0
    assert pair.responder.poll(pair.now) is None


def test_an_overrun_queue_is_trimmed_and_raises_the_effort() -> None:
    pair = Pair(config=CONFIG)
    initiators = [pair.initiator() for _ in range(12)]
    p3s = [pair.to_p3(initiator) for initiator in initiators]
    answers = [pair.give(p3) for p3 in p3s]
    assert [n for n, answer in enumerate(answers) if answer is not None] == [0, 1]
    assert pair.responder.waiting == 4
    # Before the effort follows, what was trimmed can come again: it was never looked at.
    trimmed, kept = p3s[4], p3s[2]
    burnt = pair.responder._transients.current.burnt
    assert int.from_bytes(trimmed[49:53], "big") not in burnt
    assert int.from_bytes(kept[49:53], "big") in burnt
    pair.now += EFFORT_INTERVAL_S
    assert pair.responder.next_timeout() is not None
    pair.responder.handle_timeout(pair.now)
    assert pair.responder.effort == 1
    # Now it is asked for work; what waits already is not.
    assert pair.give(kept) is None
    answer = pair.give(trimmed)
    assert isinstance(answer, Reply)
    late = initiators[4]
    assert late.receive_challenge_untrusted(answer.data, pair.now)
    assert pair.give(late.initiate(b"with effort", pair.now)) is None
    first = pair.responder.poll(pair.now)
    assert first is not None
    assert first.first_data == b"with effort"


def test_the_effort_rises_to_what_would_have_fitted() -> None:
    config = HandshakeConfig(
        handshakes_per_s_max=1.0, handshakes_burst=3, waiting_max=4, effort_min=8
    )
    pair = Pair(config=config)
    for _ in range(12):
        pair.give(pair.to_p3(pair.initiator()))
    pair.now += EFFORT_INTERVAL_S
    pair.responder.handle_timeout(pair.now)
    # Twelve times 8 came, and three were handled.
    assert pair.responder.effort == 12 * 8 // 3


def test_a_lost_p4_is_repeated_though_the_effort_has_risen() -> None:
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    p4 = pair.accept(pair.admit(p3)).datagram
    pair.responder._admission.controller.effort = 500
    assert pair.give(p3) == Reply(p4)


def test_the_greatest_effort_goes_first() -> None:
    pair = Pair(config=CONFIG)
    plain = [pair.to_p3(pair.initiator()) for _ in range(4)]
    pair.responder._admission.controller.effort = 300
    eager = pair.to_p3(pair.initiator(), b"eager")
    pair.responder._admission.controller.effort = 0
    for p3 in plain:
        pair.give(p3)
    assert pair.give(eager) is None
    pair.now += 0.15
    first = pair.responder.poll(pair.now)
    assert first is not None
    assert first.first_data == b"eager"


def test_less_than_half_the_effort_gets_a_new_challenge() -> None:
    pair = Pair()
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator)
    pair.responder._admission.controller.effort = 500
    answer = pair.give(p3)
    assert isinstance(answer, Reply)
    assert initiator.receive_challenge_untrusted(answer.data, pair.now)
    again = initiator.initiate(b"again", pair.now)
    assert pair.admit(again).first_data == b"again"
    # Half is enough.
    pair.responder._admission.controller.effort = 250
    other = pair.initiator()
    p3 = pair.to_p3(other)
    pair.responder._admission.controller.effort = 500
    assert isinstance(pair.give(p3), Admitted)
