"""The states of every variant's two sides, as data.

The machines move by these tables and no other way, and `docs/protocol/handshake.md` draws its
state tables from them (`docs/draw_states.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from transport.core.errors import LocalError
from transport.core.handshake.variants import (
    ANONYMOUS,
    CIRCLE,
    FIRST_CONTACT,
    KNOWN,
    MET,
    TICKET,
    VOUCHED,
)


class State(StrEnum):
    """What has been done or is awaited."""

    IDLE = "IDLE"
    AWAITING_CHALLENGE = "AWAITING_CHALLENGE"
    CHALLENGED = "CHALLENGED"
    SOLVING = "SOLVING"
    AWAITING_ACCEPT = "AWAITING_ACCEPT"
    ESTABLISHED = "ESTABLISHED"
    UNSEEN = "UNSEEN"
    WAITING = "WAITING"
    FAILED = "FAILED"
    ADMITTED = "ADMITTED"
    ANSWERED = "ANSWERED"
    PROBING = "PROBING"
    MET = "MET"
    GIVEN_UP = "GIVEN_UP"
    AWAITING_ANSWER = "AWAITING_ANSWER"


class On(StrEnum):
    """What happens."""

    HELLO = "hello wanted"
    CHALLENGE = "P2 considered"
    REFUSAL = "refusal followed"
    START = "initiate wanted"
    SOLVED = "puzzle solved"
    OVERWORKED = "puzzle too hard"
    OVERWORKED_SPARE = "puzzle too hard, a spare P2 is left"
    INITIATE = "initiate wanted at once"
    ACCEPT = "P4 opens"
    PASSED = "P3 passes the cheap checks"
    DEFERRED = "P3 does not pass, and is worth an answer"
    ANOTHER = "another P3 under the same name, tries left"
    SAME = "the same P3"
    TRIMMED = "queue trimmed"
    FORGED = "not authentic"
    AUTHENTIC = "authentic"
    REPLY = "accepted by the caller"
    TIMER = "a round trip has passed"
    PROBE = "probe of the other side"
    EXHAUSTED = "all probes sent, and a round trip has passed"
    ANSWER = "message 2 opens"


class Step(NamedTuple):
    """In `state`, when `on` happens, go to `next` and send `sends`."""

    state: State
    on: On
    next: State
    sends: str = ""


def _hellos() -> list[Step]:
    again = (State.AWAITING_CHALLENGE, State.CHALLENGED, State.SOLVING, State.AWAITING_ACCEPT)
    return [
        Step(State.IDLE, On.HELLO, State.AWAITING_CHALLENGE, "P1"),
        *(Step(state, On.HELLO, state, "the same P1") for state in again),
    ]


_REFUSALS: Final = [Step(State.AWAITING_CHALLENGE, On.REFUSAL, State.IDLE)]


def _answering() -> list[Step]:
    """From a challenge on: the same in every variant, after a deferral too."""
    return [
        Step(State.AWAITING_CHALLENGE, On.CHALLENGE, State.CHALLENGED),
        Step(State.CHALLENGED, On.CHALLENGE, State.CHALLENGED),
        Step(State.CHALLENGED, On.START, State.SOLVING),
        Step(State.SOLVING, On.CHALLENGE, State.SOLVING),
        Step(State.SOLVING, On.SOLVED, State.AWAITING_ACCEPT, "P3"),
        Step(State.SOLVING, On.OVERWORKED, State.AWAITING_CHALLENGE),
        Step(State.SOLVING, On.OVERWORKED_SPARE, State.CHALLENGED),
        Step(State.AWAITING_ACCEPT, On.CHALLENGE, State.CHALLENGED),
        Step(State.AWAITING_ACCEPT, On.START, State.SOLVING),
        Step(State.AWAITING_ACCEPT, On.ACCEPT, State.ESTABLISHED),
        Step(State.CHALLENGED, On.ACCEPT, State.ESTABLISHED),
        Step(State.SOLVING, On.ACCEPT, State.ESTABLISHED),
        Step(State.AWAITING_CHALLENGE, On.ACCEPT, State.ESTABLISHED),
    ]


def _at_once(sends: str) -> tuple[Step, ...]:
    return (Step(State.IDLE, On.INITIATE, State.AWAITING_ACCEPT, sends), *_answering())


def _answered(deferral: str, *, another: bool = True) -> tuple[Step, ...]:
    """The responder's side of one P3, from the first moment it leaves a trace."""
    tries = [Step(State.FAILED, On.ANOTHER, State.WAITING)] if another else []
    return (
        Step(State.UNSEEN, On.DEFERRED, State.UNSEEN, deferral),
        Step(State.UNSEEN, On.PASSED, State.WAITING),
        Step(State.WAITING, On.SAME, State.WAITING),
        Step(State.WAITING, On.TRIMMED, State.UNSEEN),
        Step(State.WAITING, On.FORGED, State.FAILED),
        Step(State.FAILED, On.SAME, State.FAILED),
        *tries,
        Step(State.WAITING, On.AUTHENTIC, State.ADMITTED),
        Step(State.ADMITTED, On.SAME, State.ADMITTED),
        Step(State.ADMITTED, On.REPLY, State.ANSWERED, "P4"),
        Step(State.ANSWERED, On.SAME, State.ANSWERED, "the same P4, within limits"),
    )


INITIATOR: Final[dict[str, tuple[Step, ...]]] = {
    FIRST_CONTACT.name: (*_hellos(), *_REFUSALS, *_answering()),
    CIRCLE.name: (*_hellos(), *_answering()),
    ANONYMOUS.name: (*_hellos(), *_REFUSALS, *_answering()),
    KNOWN.name: _at_once("P3 to the known transient"),
    MET.name: _at_once("P3 with the meeting's id"),
    VOUCHED.name: _at_once("P3 with the voucher's id"),
    TICKET.name: _at_once("P3 with the ticket's id"),
}
"""The initiator, by variant. The first step's state is where it begins."""

RESPONDER: Final[dict[str, tuple[Step, ...]]] = {
    FIRST_CONTACT.name: _answered("P2, within limits"),
    CIRCLE.name: _answered("P2 if only the effort is too little"),
    ANONYMOUS.name: _answered("P2, within limits"),
    KNOWN.name: _answered("P2, within limits"),
    MET.name: _answered("P2, within limits", another=False),
    VOUCHED.name: _answered("P2, within limits", another=False),
    TICKET.name: _answered("P2, within limits", another=False),
}
"""The responder, by variant: one such machine for each sequence, ephemeral or invitation's id."""

PROBING_INITIATOR: Final = (
    Step(State.PROBING, On.TIMER, State.PROBING, "a probe to each address"),
    Step(State.PROBING, On.PROBE, State.MET, "P3 to where the probe came from"),
    Step(State.MET, On.PROBE, State.MET, "the same P3, if it came from elsewhere"),
    Step(State.PROBING, On.EXHAUSTED, State.GIVEN_UP),
)
PROBING_RESPONDER: Final = (
    Step(State.PROBING, On.TIMER, State.PROBING, "a probe to each address"),
    Step(State.PROBING, On.PROBE, State.PROBING, "a probe to where it came from, once each"),
    Step(State.PROBING, On.AUTHENTIC, State.MET, "P4"),
    Step(State.PROBING, On.EXHAUSTED, State.GIVEN_UP),
)
REKEYING: Final = (Step(State.AWAITING_ANSWER, On.ANSWER, State.ESTABLISHED),)

Transitions = dict[tuple[State, On], State]


def transitions_of(steps: Iterable[Step]) -> Transitions:
    """The steps for looking up. Raises `LocalError` if two say different things."""
    transitions: Transitions = {}
    for step in steps:
        if transitions.setdefault((step.state, step.on), step.next) is not step.next:
            raise LocalError(f"two ways from {step.state} on {step.on}")
    return transitions


class Course:
    """Where one machine stands in its table."""

    __slots__ = ("_transitions", "state")

    def __init__(self, steps: tuple[Step, ...], transitions: Transitions | None = None) -> None:
        """`transitions`: of these steps, if it was made before."""
        self._transitions = transitions_of(steps) if transitions is None else transitions
        self.state = steps[0].state

    def allows(self, on: On) -> bool:
        """Whether the table says what this leads to."""
        return (self.state, on) in self._transitions

    def take(self, on: On) -> None:
        """Move. Raises `LocalError` where the table knows no way: out of turn."""
        following = self._transitions.get((self.state, on))
        if following is None:
            raise LocalError(f"out of turn: {on} in {self.state}")
        self.state = following

    def __repr__(self) -> str:
        return f"Course({self.state})"


_INITIATED: Final = {name: transitions_of(steps) for name, steps in INITIATOR.items()}


def initiators_course(variant: str) -> Course:
    """An attempt's, from its beginning."""
    return Course(INITIATOR[variant], _INITIATED[variant])


_ANSWERED: Final = {name: transitions_of(steps) for name, steps in RESPONDER.items()}


def responders_next(variant: str, state: State, on: On) -> State | None:
    """Where the responder's machine for a P3 goes; None: nowhere, which is silence."""
    return _ANSWERED[variant].get((state, on))
