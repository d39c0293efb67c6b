"""The machines move by the tables, the tables make sense, and the documentation shows them."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import NOW, Pair
from transport.core.errors import LocalError
from transport.core.handshake.circle import CircleSecret
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.states import (
    INITIATOR,
    PROBING_INITIATOR,
    PROBING_RESPONDER,
    REKEYING,
    RESPONDER,
    Course,
    On,
    State,
    Step,
    transitions_of,
)
from transport.core.handshake.ticket import issue
from transport.core.handshake.variants import TICKET, VARIANTS
from transport.core.initiator.initiator import Initiator
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply

SCRIPT = Path(__file__).parents[4] / "docs" / "draw_states.py"
MACHINES = [
    *INITIATOR.values(),
    *RESPONDER.values(),
    PROBING_INITIATOR,
    PROBING_RESPONDER,
    REKEYING,
]


def test_the_documentation_shows_the_tables_of_today() -> None:
    script = runpy.run_path(str(SCRIPT))
    page = script["PAGE"].read_text()
    assert script["redrawn"](page) == page, "run python docs/draw_states.py"


def test_a_change_of_a_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = runpy.run_path(str(SCRIPT))
    page = script["PAGE"].read_text()
    monkeypatch.setitem(RESPONDER, "first contact", RESPONDER["first contact"][:-1])
    assert runpy.run_path(str(SCRIPT))["redrawn"](page) != page


def test_every_variant_has_both_sides() -> None:
    assert set(INITIATOR) == set(RESPONDER) == {variant.name for variant in VARIANTS}


@pytest.mark.parametrize("steps", MACHINES)
def test_every_state_can_be_reached_and_no_step_contradicts_another(
    steps: tuple[Step, ...],
) -> None:
    transitions_of(steps)
    reached, before = {steps[0].state}, 0
    while len(reached) != before:
        before = len(reached)
        reached |= {step.next for step in steps if step.state in reached}
    assert {step.state for step in steps} <= reached


@pytest.mark.parametrize("steps", MACHINES)
def test_the_end_is_the_end(steps: tuple[Step, ...]) -> None:
    assert not [step for step in steps if step.state is State.ESTABLISHED]


def test_a_table_that_says_two_things_is_refused() -> None:
    with pytest.raises(LocalError):
        transitions_of(
            [
                Step(State.IDLE, On.HELLO, State.SOLVING),
                Step(State.IDLE, On.HELLO, State.CHALLENGED),
            ]
        )


def test_out_of_turn() -> None:
    course = Course(INITIATOR["first contact"])
    assert course.state is State.IDLE
    assert course.allows(On.HELLO)
    with pytest.raises(LocalError, match="out of turn"):
        course.take(On.ACCEPT)
    assert course.state is State.IDLE


class Walk:
    """An initiator and what it may be asked and given; its steps are those of the table."""

    def __init__(self, pair: Pair, initiator: Initiator) -> None:
        self.pair, self.initiator = pair, initiator
        self.seen: list[tuple[State, State]] = []
        self.p2 = self.p4 = b""

    def do(self, action: str) -> None:
        pair, initiator, before = self.pair, self.initiator, self.initiator.state
        try:
            if action == "hello":
                answer = pair.give(initiator.hello(NOW))
                self.p2 = answer.data if isinstance(answer, Reply) else b""
            elif action == "challenge":
                initiator.receive_challenge_untrusted(self.p2, NOW)
            elif action == "initiate":
                answer = pair.give(initiator.initiate(b"walk", NOW))
                if isinstance(answer, Admitted):
                    self.p4 = pair.accept(answer).datagram
            elif action == "ticket":
                ticket = issue(TICKET, pair.here.key, b"h", pair.random, NOW)
                pair.responder.invite(ticket, NOW)
                answer = pair.give(initiator.initiate_ticket(ticket, b"walk", NOW))
                if isinstance(answer, Admitted):
                    self.p4 = pair.accept(answer).datagram
            else:
                initiator.receive_accept_untrusted(self.p4, NOW)
        except LocalError:
            assert initiator.state is before, "an error moves nothing"
        self.seen.append((before, initiator.state))


ACTIONS = ("hello", "challenge", "initiate", "ticket", "accept")


@pytest.mark.parametrize("variant", ["first contact", "limited circulation", "anonymous initiator"])
@settings(max_examples=40, deadline=None)
@given(actions=st.lists(st.sampled_from(ACTIONS), max_size=14))
def test_whatever_is_asked_the_machine_moves_by_its_table(variant: str, actions: list[str]) -> None:
    groups = (CircleSecret(b"s" * 32),) if variant == "limited circulation" else ()
    anonymous = variant == "anonymous initiator"
    pair = Pair(config=HandshakeConfig(circles=groups, unix_offset_s=1e9, anonymous=anonymous))
    walk = Walk(pair, pair.initiator(anonymous=anonymous))
    for action in actions:
        walk.do(action)
    ways = {(step.state, step.next) for step in INITIATOR[variant]}
    if "ticket" in actions:
        ways |= {(step.state, step.next) for step in INITIATOR[TICKET.name]}
    # One call may take two steps: initiate wants the puzzle and has it solved.
    ways |= {(one, three) for one, two in ways for other, three in ways if two is other}
    assert all(before is after or (before, after) in ways for before, after in walk.seen)


def test_a_whole_walk() -> None:
    pair = Pair()
    walk = Walk(pair, pair.initiator())
    for action in ("hello", "challenge", "initiate", "accept"):
        walk.do(action)
    assert [after for _, after in walk.seen] == [
        State.AWAITING_CHALLENGE,
        State.CHALLENGED,
        State.AWAITING_ACCEPT,
        State.ESTABLISHED,
    ]
    with pytest.raises(LocalError):
        walk.initiator.hello(NOW)


def test_the_responders_side_of_a_p3() -> None:
    pair = Pair(config=HandshakeConfig(handshakes_per_s_max=1.0, handshakes_burst=1))
    pair.run()
    p3 = pair.to_p3(pair.initiator())
    assert pair.give(p3) is None
    burnt = pair.responder._transients.current.burnt
    entry = burnt[int.from_bytes(p3[49:53], "big")]
    assert entry.state is State.WAITING
    admitted = pair.responder.poll(NOW + 2)
    assert admitted is not None
    assert entry.state is State.ADMITTED
    assert pair.give(p3) is None
    pair.accept(admitted)
    assert entry.state is State.ANSWERED
    assert isinstance(pair.give(p3), Reply)
