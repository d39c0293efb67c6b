"""Exhaustive exploration of `consensus.core.engine.group` above ideal lanes.

The shipped engine itself is explored, not a model of it. See `scenarios.search.space` for how, and
`scenarios.stage.case` for what bounds a case.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

from consensus.core.engine.group import Group
from consensus.core.message_kinds import NAMES
from consensus.core.types import Content
from scenarios.check.bounds import check_group
from scenarios.check.facts import Violation
from scenarios.check.history import Decided, Event, Installed, Read
from scenarios.check.invariants import IN_A_WORLD, Checkers
from scenarios.check.reads import Outside
from scenarios.search.actor import Actor, Counterexample, Result
from scenarios.search.picture import Moment
from scenarios.search.space import Space, World
from scenarios.stage.case import Case, Faults
from scenarios.stage.prepare import prepare
from scenarios.stage.recorder import events_of_log
from scenarios.stage.scene import Scene
from scenarios.stage.script import as_script, line_of, opening, writer
from scenarios.stage.shell import Shell
from scenarios.stage.stage import Stage, Trace

__all__ = ["Exploration", "Found", "explore", "explore_all", "explore_run", "moments_of", "outside"]

OUTSIDE = "outside"
"""The name of what carries what users tell each other."""
REST_S = 600.0
"""Simulated seconds within which everybody comes to rest once faults are over."""


@dataclass
class Found:
    """A violation with the shortest history known to lead to it."""

    violation: Violation
    faults: Faults
    moments: list[Moment]
    script: str
    """The history as a text script."""


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
    """Processor time, of all runs together."""
    found: list[Found] = field(default_factory=list)

    @property
    def closed(self) -> bool:
        """Whether everything within the case's bounds was visited."""
        return self.capped == 0 and not self.found

    def add(self, result: Result, found: Found | None) -> None:
        """One more run."""
        self.runs += 1
        self.states += result.states
        self.transitions += result.transitions
        self.depth = max(self.depth, result.depth)
        self.ends += result.ends
        self.member_steps += result.member_steps
        self.capped += not result.closed and found is None
        self.seconds += result.seconds
        if found is not None:
            self.found.append(found)

    def summary(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "case": self.case.name,
            "bounds": self.case.bounds(),
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
) -> Exploration:
    """Explores a case, for every choice of faults, until the first violation.

    `states_max` bounds each run (the case's own bound if None).
    """
    whole = Exploration(case)
    for faults in case.faults():
        whole.add(*explore_run(case, faults, group, states_max=states_max, reduce=reduce))
        if whole.found:
            break
    return whole


def explore_run(
    case: Case,
    faults: Faults,
    group: type[Group] = Group,
    *,
    states_max: int | None = None,
    reduce: bool = True,
    until_s: float | None = None,
) -> tuple[Result, Found | None]:
    """Explores a case with one choice of faults until the first violation, or until the monotonic
    clock shows `until_s`."""
    scene, shells = prepare(case, faults, group)
    rest = _resting(scene) if case.liveness else None
    actors: list[Actor] = [*shells]
    if case.tells:
        actors.append(outside(scene))
    space = Space(actors, _checking(scene), rest, check_actor=_bounded, reduce=reduce)
    result = space.explore(states_max or case.states_max, until_s=until_s)
    if not result.counterexamples:
        return result, None
    shortest = space.shorten(result.counterexamples[0])
    worlds = space.replay(shortest.steps)
    script = _script(scene, shortest, worlds)
    return result, Found(shortest.violation, faults, moments_of(scene, shortest, worlds), script)


def explore_all(
    cases: Sequence[Case],
    *,
    jobs: int = 1,
    states_max: int | None = None,
    reduce: bool = True,
    until_s: float | None = None,
) -> Iterator[Exploration]:
    """Explores cases as `explore` does, on so many processes at once; the choices of faults of a
    case are explored independently. What is not done when the monotonic clock shows `until_s`
    counts as capped."""
    run = partial(explore_run, states_max=states_max, reduce=reduce, until_s=until_s)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        runs = [(case, [pool.submit(run, case, f) for f in case.faults()]) for case in cases]
        for case, pending in runs:
            whole = Exploration(case)
            for done in pending:
                whole.add(*done.result())
            yield whole


def outside(scene: Scene) -> Outside:
    """What carries what the case's users tell each other."""
    readers: dict[int, tuple[int, ...]] = {}
    for teller, reader in scene.case.tells:
        at = scene.index[teller]
        readers[at] = (*readers.get(at, ()), scene.index[reader])
    return Outside(readers)


def _checking(scene: Scene) -> Callable[[Sequence[Hashable]], None]:
    casting = scene.case.config.casting_vote

    def check(logs: Sequence[Any]) -> None:
        checkers = Checkers(casting, IN_A_WORLD)
        for name, log in zip(scene.names, logs, strict=False):  # nothing outside has a log
            for event in events_of_log(log):
                checkers.observe(name, event)
        checkers.settle()

    return check


def _bounded(actor: Actor) -> None:
    # The bounds are those of a group that was just polled.
    if isinstance(actor, Shell) and actor.alive and not actor.due:
        check_group(actor.scene.names[actor.me], actor.group)


def _resting(scene: Scene, trace: Trace | None = None) -> Callable[[Sequence[Shell]], None]:
    """After the end of an explored history no more faults happen and timers fire in their order:
    safety holds all along, and everybody comes to rest."""
    casting = scene.case.config.casting_vote

    def rest(shells: Sequence[Shell]) -> None:
        checkers = Checkers(casting, IN_A_WORLD)
        copies = [shell.copy() for shell in shells[: scene.outside]]
        for shell in copies:
            for event in events_of_log(shell.log):  # type: ignore[arg-type]
                checkers.observe(scene.names[shell.me], event)
        checkers.settle()
        stage = Stage(scene, copies, checkers=checkers)
        stage.trace = trace
        if not stage.run(REST_S):
            raise Violation("8 liveness", scene.names, "messages without end")
        stage.check_rest()

    return rest


def _script(scene: Scene, found: Counterexample, worlds: Sequence[World]) -> str:
    """The counter-example as a text script; if the violation shows only when everybody should
    have come to rest, with all that happens until then."""
    lines: list[str] = []
    for world, (member, what, given) in zip(worlds, found.steps, strict=False):
        if member == scene.outside:
            continue
        shell: Any = world.actors[member]
        detail = given
        if what == "deliver" and given == scene.outside:
            what = "read"
        elif what == "input":
            what, *rest = given
            detail = rest if what == "answer" else rest[0] if rest else None
        if what == "act" and detail.what == "read":
            what = "read"
        lines.append(line_of(scene, member, what, shell.leased if what == "read" else detail))
    if scene.case.gathers:
        lines.append("settles")
    shells: Any = worlds[-1].actors[: scene.outside]
    try:
        _checking(scene)([shell.log for shell in shells])
        _resting(scene, writer(scene, lines))(shells)
    except Violation:
        pass  # It is the one that was found.
    about = (f"Violated: {found.violation}", f"{scene.case.about}; {scene.faults}.")
    return as_script(about, opening(scene.case), lines)


def moments_of(scene: Scene, found: Counterexample, worlds: Sequence[World]) -> list[Moment]:
    """The steps of a counter-example as a diagram shows them. `worlds` are those along it."""
    moments: list[Moment] = []
    names = (*scene.names, OUTSIDE)
    sent: dict[tuple[int, int], list[int]] = {}
    for place, step in enumerate(found.steps):
        before, after = worlds[place], worlds[place + 1]
        member = step[0]
        was, now = before.actors[member], after.actors[member]
        news = []
        if isinstance(was, Shell) and isinstance(now, Shell):
            news = [tell(event) for event in now.recorder.reports[len(was.recorder.reports) :]]
        for to in range(len(names)):
            lane = (member, to)
            grown = len(after.lanes.get(lane, ())) - len(before.lanes.get(lane, ()))
            sent.setdefault(lane, []).extend([place] * max(0, grown))
        if step[1] == "deliver":
            sender = step[2]
            places = sent.get((sender, member), [])
            moments.append(
                Moment(
                    names[member],
                    describe(before.lanes[(sender, member)][0]),
                    names[sender],
                    places.pop(0) if places else None,
                    "; ".join(news),
                )
            )
        else:
            what = " ".join(map(str, _plain(scene, step[2])))
            moments.append(Moment(names[member], what, outcome="; ".join(news)))
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
    """A group message, or what a user was told, in a few words."""
    if message[0] not in NAMES:
        return " ".join(map(str, message))
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
    if isinstance(event, Read):
        return f"read up to {event.index}"
    return type(event).__name__.lower()
