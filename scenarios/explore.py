"""Exhaustive exploration of `consensus.core.group` above ideal lanes.

The shipped engine itself is explored, not a model of it. See `scenarios.space` for how, and
`scenarios.case` for what bounds a case.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from consensus.core.group import Group
from consensus.core.kinds import NAMES
from consensus.core.types import Content
from scenarios.actor import Counterexample, Result
from scenarios.case import Case, Faults
from scenarios.checkers import Checkers, Violation
from scenarios.history import Decided, Event, Installed
from scenarios.picture import Moment
from scenarios.prepare import prepare
from scenarios.recorder import events_of_log
from scenarios.shell import Scene, Shell
from scenarios.space import Space
from scenarios.stage import Stage

__all__ = ["Exploration", "Found", "explore", "moments_of"]

REST_S = 600.0
"""Simulated seconds within which everybody comes to rest once faults are over."""


@dataclass
class Found:
    """A violation with the shortest history known to lead to it."""

    violation: Violation
    faults: Faults
    moments: list[Moment]


@dataclass
class Exploration:
    """What was visited of a case, over all its choices of faults."""

    case: Case
    runs: int = 0
    states: int = 0
    transitions: int = 0
    depth: int = 0
    ends: int = 0
    member_steps: int = 0
    capped: int = 0
    """Runs that were not explored to the end."""
    seconds: float = 0.0
    found: list[Found] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Whether everything within the case's bounds was visited."""
        return self.capped == 0 and not self.found

    def summary(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "case": self.case.name,
            "runs": self.runs,
            "states": self.states,
            "transitions": self.transitions,
            "depth": self.depth,
            "ends": self.ends,
            "closed": self.closed,
            "capped": self.capped,
            "violations": len(self.found),
            "seconds": round(self.seconds, 2),
        }


def explore(
    case: Case,
    group: type[Group] = Group,
    *,
    states_max: int | None = None,
    reduce: bool = True,
    each: Callable[[Faults, Result], None] | None = None,
) -> Exploration:
    """Explores a case, for every choice of faults, until the first violation.

    `states_max` bounds each run (the case's own bound if None); `each` is told of every run.
    """
    whole = Exploration(case)
    for faults in case.faults():
        scene, shells = prepare(case, faults, group)
        space = Space(shells, _checking(scene), _resting(scene), reduce=reduce)
        result = space.explore(states_max or case.states_max)
        whole.runs += 1
        whole.states += result.states
        whole.transitions += result.transitions
        whole.depth = max(whole.depth, result.depth)
        whole.ends += result.ends
        whole.member_steps += result.member_steps
        whole.capped += not result.closed
        whole.seconds += result.seconds
        if each is not None:
            each(faults, result)
        if result.counterexamples:
            shortest = space.shorten(result.counterexamples[0])
            moments = moments_of(scene, space, shortest)
            whole.found.append(Found(shortest.violation, faults, moments))
            break
    return whole


def _checking(scene: Scene) -> Callable[[Sequence[Hashable]], None]:
    casting = scene.case.config.casting_vote

    def check(logs: Sequence[Any]) -> None:
        checkers = Checkers(casting)
        for name, log in zip(scene.names, logs, strict=True):
            for event in events_of_log(log):
                checkers.observe(name, event)
        checkers.settle()

    return check


def _resting(scene: Scene) -> Callable[[Sequence[Shell]], None] | None:
    """After the end of an explored history no more faults happen and timers fire in their order:
    safety holds all along, and everybody comes to rest."""
    if not scene.case.liveness:
        return None
    casting = scene.case.config.casting_vote

    def rest(shells: Sequence[Shell]) -> None:
        checkers = Checkers(casting)
        copies = [shell.copy() for shell in shells]
        for shell in copies:
            for event in events_of_log(shell.log):  # type: ignore[arg-type]
                checkers.observe(scene.names[shell.me], event)
        checkers.settle()
        stage = Stage(scene, copies, checkers=checkers)
        if not stage.run(REST_S):
            raise Violation("8 liveness", scene.names, "messages without end")
        stage.check_rest()

    return rest


def moments_of(scene: Scene, space: Space, found: Counterexample) -> list[Moment]:
    """The steps of a counter-example as a diagram shows them."""
    moments: list[Moment] = []
    states = space.replay(found.steps)
    sent: dict[tuple[int, int], list[int]] = {}
    for place, step in enumerate(found.steps):
        before, after = states[place], states[place + 1]
        member = step[0]
        was, now = space.actors(before)[member], space.actors(after)[member]
        assert isinstance(was, Shell)
        assert isinstance(now, Shell)
        news = [tell(event) for event in now.recorder.reports[len(was.recorder.reports) :]]
        for to in range(space.size):
            if to != member:
                grown = space.lane_length(after, member, to) - space.lane_length(before, member, to)
                sent.setdefault((member, to), []).extend([place] * max(0, grown))
        if step[1] == "deliver":
            sender = step[2]
            places = sent.get((sender, member), [])
            moments.append(
                Moment(
                    scene.names[member],
                    describe(space.message_at(before, step)),
                    scene.names[sender],
                    places.pop(0) if places else None,
                    "; ".join(news),
                )
            )
        else:
            what = " ".join(map(str, _plain(scene, step[2])))
            moments.append(Moment(scene.names[member], what, outcome="; ".join(news)))
    return moments


def _plain(scene: Scene, given: tuple[Any, ...]) -> tuple[Any, ...]:
    if given[0] in ("silent", "heard"):
        return given[0], scene.names[given[1]]
    if given[0] == "act":
        return tuple(part for part in given[1] if part)
    if given[0] == "answer":
        return given[0], "accept" if given[2].accept else "reject"
    if given[0] == "fire":
        return given[0], given[1].name, given[1].key or ""
    return given


def describe(message: Any) -> str:
    """A group message in a few words."""
    if message[0] not in NAMES:
        return str(message[0])
    kind, view, clock = message[:3]
    rest = " ".join(_short(part) for part in message[4:])
    return f"{NAMES[kind]} v{view} c{clock} {rest}".rstrip()


def _short(part: Any) -> str:
    if isinstance(part, Content):
        return f"{part.kind}:{part.subject or part.body.decode('utf-8', 'replace')}"
    if isinstance(part, tuple):
        return "(" + " ".join(map(_short, part)) + ")"
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part)


def tell(event: Event) -> str:
    """What a member reported, in a few words."""
    if isinstance(event, Decided):
        id = f"{event.id.view}.{event.id.clock}.{event.id.proposer}"
        return f"#{event.index} {id} {event.outcome}"
    if isinstance(event, Installed):
        return f"view {event.view} = {' '.join(map(str, event.members))}"
    return type(event).__name__.lower()
