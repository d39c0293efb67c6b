"""Seeded random schedules of groups: safety at every step, then healing, then liveness.

Everything in a schedule follows from its seed: how many members, what they propose and vote, who
joins, leaves, is kicked or crashes, which links are cut for how long, and every delay.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.types import Vote
from scenarios.check.facts import Violation
from scenarios.check.history import Decided, Expelled, Installed, Lost, Restored
from scenarios.check.invariants import IN_A_WORLD, Checkers
from scenarios.search.explore import describe, tell
from scenarios.search.picture import Moment
from scenarios.stage.case import ACCEPT, REJECT, Act, Case, Faults, kick, leave, propose, sponsor
from scenarios.stage.prepare import prepare
from scenarios.stage.script import as_script, opening, writer
from scenarios.stage.stage import Stage, Trace

__all__ = [
    "PROFILES", "Failure", "Outcome", "Schedule", "run_schedule", "schedule_of", "script_of",
    "shortest", "sweep",
]  # fmt: skip

TROUBLE_S = 6.0
"""Faults and proposals happen within this time; then everything heals."""
REST_S = 900.0
"""Simulated seconds within which everybody comes to rest after healing."""
STEPS_MAX = 60_000
"""More steps than this in one schedule are messages without end."""


@dataclass(frozen=True)
class Schedule:
    """One random history before it happens."""

    seed: int
    case: Case
    acts: tuple[tuple[float, str, Act], ...]
    crashes: tuple[tuple[float, str], ...]
    cuts: tuple[tuple[float, str, str], ...]
    """`(at, listener, speaker)`."""
    heals: tuple[float, ...]
    delay_s: tuple[float, float]
    answer_s: float

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: members {' '.join(self.case.everyone)}"]
        lines += [f"  {at:6.3f}  {who} {' '.join(filter(None, act))}" for at, who, act in self.acts]
        lines += [f"  {at:6.3f}  {who} crashes" for at, who in self.crashes]
        lines += [f"  {at:6.3f}  {who} stops to hear {whom}" for at, who, whom in self.cuts]
        lines += [f"  {at:6.3f}  all links heal" for at in self.heals]
        return "\n".join(lines)


def changes_of(seed: int) -> Schedule:
    """A schedule of five members in which changes and crashes come close together."""
    rng = random.Random(f"changes {seed}")
    members = tuple("ABCDE")
    acts = [(0.05, rng.choice(members), propose("p0"))]
    for _ in range(rng.choice((1, 2))):
        who, whom = rng.sample(members, 2)
        acts.append((rng.uniform(0, 0.3), who, rng.choice((kick(whom), leave()))))
    crashes = [(rng.uniform(0.05, 1.5), m) for m in rng.sample(members, rng.choice((1, 2, 2)))]
    low = rng.choice((0.001, 0.01))
    config = GroupConfig(kicks_need_two=False)
    case = Case(f"changes {seed}", "changes and crashes", members, config=config)
    delays = (low, low * rng.choice((10.0, 50.0)))
    return Schedule(seed, case, tuple(sorted(acts)), tuple(sorted(crashes)), (), (), delays, 0.0)


def silent_of(seed: int) -> Schedule:
    """A schedule of narrow windows and of programs that sometimes never answer."""
    rng = random.Random(f"silent {seed}")
    members = tuple("ABCDE"[: rng.choice((2, 3, 3, 4, 5))])
    joiners = {"J": rng.choice(members)} if rng.random() < 0.3 else {}
    bodies = [f"p{number}" for number in range(rng.randint(2, 12))]
    acts = [(_instant(rng), rng.choice(members), propose(body)) for body in bodies]
    if joiners:
        acts.append((_instant(rng), joiners["J"], sponsor("J")))
    for _ in range(rng.choice((0, 0, 1, 2))):
        who, whom = rng.sample(members, 2)
        acts.append((_instant(rng), who, rng.choice((kick(whom), leave()))))
    choices: tuple[tuple[Vote, ...], ...] = ((), (REJECT,), *[(ACCEPT,)] * 8)
    everyone = (*members, *joiners)
    votes = {(member, body): rng.choice(choices) for member in everyone for body in bodies}
    crashes = [(_instant(rng), m) for m in rng.sample(everyone, rng.choice((0, 0, 0, 1)))]
    config = GroupConfig(
        on_silence_kick=rng.random() < 0.5, window_total=len(members) * rng.choice((1, 1, 2)),
        kicks_need_two=False,
    )
    case = Case(
        f"silent {seed}", "narrow windows and programs that do not answer", members,
        joiners=joiners, votes=votes, prompt=rng.random() < 0.5, config=config,
    )  # fmt: skip
    delays = rng.choice(((0.001, 0.02), (0.01, 0.03)))
    answer_s = rng.choice((0.0, 0.5))
    return Schedule(seed, case, tuple(sorted(acts)), tuple(crashes), (), (), delays, answer_s)


def schedule_of(seed: int) -> Schedule:
    """The schedule with this seed."""
    rng = random.Random(f"schedule {seed}")
    size = rng.choice((2, 3, 3, 3, 4, 4, 5))
    members = tuple("ABCDE"[:size])
    joiners = {"J": rng.choice(members)} if rng.random() < 0.4 else {}
    bodies = [f"p{number}" for number in range(rng.randint(1, 6))]
    acts = _acts_of(rng, members, joiners, bodies)
    votes: dict[tuple[str, str], tuple[Vote, ...]] = {
        (member, body): (REJECT,) if rng.random() < 0.12 else (ACCEPT,)
        for member in (*members, *joiners)
        for body in bodies
    }
    everyone = (*members, *joiners)
    crashes = [(_instant(rng), m) for m in rng.sample(everyone, rng.choice((0, 0, 1, 1, 2)))]
    cuts = _cuts_of(rng, members)
    low = rng.choice((0.001, 0.01, 0.05))
    case = Case(
        f"seed {seed}",
        "a random schedule",
        members,
        joiners=joiners,
        votes=votes,
        prompt=rng.random() < 0.5,
        config=GroupConfig(casting_vote=rng.random() < 0.8, kicks_need_two=False),
    )
    return Schedule(
        seed,
        case,
        tuple(sorted(acts)),
        tuple(sorted(crashes)),
        tuple(sorted(cuts)),
        tuple(sorted(_instant(rng) for _ in range(rng.choice((0, 1, 2))))) if cuts else (),
        (low, low * rng.choice((1.0, 3.0, 20.0))),
        rng.choice((0.0, 0.1, 2.0)),
    )


def _acts_of(
    rng: random.Random, members: tuple[str, ...], joiners: dict[str, str], bodies: list[str]
) -> list[tuple[float, str, Act]]:
    acts = [(_instant(rng), rng.choice(members), propose(body)) for body in bodies]
    if joiners:
        acts.append((_instant(rng), joiners["J"], sponsor("J")))
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        who, whom = rng.sample(members, 2)
        acts.append((_instant(rng), who, kick(whom)))
    if rng.random() < 0.25:
        acts.append((_instant(rng), rng.choice(members), leave()))
    return acts


def _cuts_of(rng: random.Random, members: tuple[str, ...]) -> list[tuple[float, str, str]]:
    cuts = []
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        a, b = rng.sample(members, 2)
        at = _instant(rng)
        cuts.append((at, a, b))
        if rng.random() < 0.7:
            cuts.append((at, b, a))
    return cuts


def _instant(rng: random.Random) -> float:
    """Somewhere in the time of trouble, often close to other things that happen."""
    around = rng.choice((0.1, 1.0, 1.2, TROUBLE_S / 2))
    return round(min(TROUBLE_S, max(0.0, rng.gauss(around, around / 4))), 3)


@dataclass
class Failure:
    """A schedule in which an invariant was violated."""

    seed: int
    violation: Violation
    profile: str = "any"

    @property
    def replay(self) -> str:
        """The command that runs it again."""
        also = "" if self.profile == "any" else f" --profile {self.profile}"
        return f"python -m scenarios replay {self.seed}{also}"


@dataclass
class Outcome:
    """What a sweep did."""

    seeds: int = 0
    steps: int = 0
    decisions: int = 0
    views: int = 0
    failures: list[Failure] = field(default_factory=list)


PROFILES: dict[str, Callable[[int], Schedule]] = {
    "any": schedule_of, "changes": changes_of, "silent": silent_of,
}  # fmt: skip
"""Families of schedules, each by seed."""


def run_schedule(
    schedule: Schedule,
    group: type[Group] = Group,
    *,
    trace: bool = False,
    lines: list[str] | None = None,
) -> tuple[Stage, Checkers, Failure | None, list[Moment]]:
    """Runs one schedule to its end, or to its first violation. With `trace` the moments of its
    diagram are returned; `lines` are given the commands of its script."""
    scene, shells = prepare(schedule.case, Faults(), group)
    checkers = Checkers(schedule.case.config.casting_vote, IN_A_WORLD)
    for shell in shells:
        for event in shell.events:
            checkers.observe(scene.names[shell.me], event)
        shell.events.clear()
    moments: list[Moment] = []
    stage = Stage(scene, shells, f"{schedule.seed}", delay_s=schedule.delay_s, checkers=checkers)
    stage.answer_s = schedule.answer_s
    traces: list[Trace] = [_tracer(stage, moments)] if trace else []
    if lines is not None:
        traces.append(writer(scene, lines))
    if traces:

        def tell_all(now: float, member: int, what: str, detail: Any, sends: Any) -> None:
            for each in traces:
                each(now, member, what, detail, sends)

        stage.trace = tell_all
    _plan(stage, schedule)
    try:
        if not stage.run(REST_S, STEPS_MAX):
            raise Violation("8 liveness", scene.names, "messages without end")
        stage.check_rest()
    except Violation as violation:
        return stage, checkers, Failure(schedule.seed, violation), moments
    return stage, checkers, None, moments


def _plan(stage: Stage, schedule: Schedule) -> None:
    at = stage.scene.index
    for time_s, who, act in schedule.acts:
        stage.at(time_s, stage.act, at[who], act)
    for time_s, who in schedule.crashes:
        stage.at(time_s, stage.crash, at[who])
    for time_s, who, whom in schedule.cuts:
        stage.at(time_s, stage.cut, at[who], at[whom])
    for time_s in (*schedule.heals, TROUBLE_S):
        stage.at(time_s, stage.heal)


def shortest(schedule: Schedule, failure: Failure, group: type[Group] = Group) -> Schedule:
    """The schedule without what its failure does not need: acts, crashes, cuts and heals are left
    out one after the other, as long as the same invariant is violated."""
    changed = True
    while changed:
        changed = False
        for name in ("acts", "crashes", "cuts", "heals"):
            things = getattr(schedule, name)
            for at in range(len(things)):
                less = replace(schedule, **{name: things[:at] + things[at + 1 :]})
                _, _, still, _ = run_schedule(less, group)
                if still and still.violation.invariant == failure.violation.invariant:
                    schedule, changed = less, True
                    break
    return schedule


def script_of(schedule: Schedule, failure: Failure, group: type[Group] = Group) -> str:
    """A failing schedule as a text script, the shortest that was found."""
    short = shortest(schedule, failure, group)
    lines: list[str] = []
    _, _, still, _ = run_schedule(short, group, lines=lines)
    assert still is not None
    about = (f"Violated: {still.violation}", f"Seed {schedule.seed}, less what it does not need.")
    return as_script(about, opening(short.case, (act for _, _, act in short.acts)), lines)


def _tracer(stage: Stage, moments: list[Moment]) -> Callable[..., None]:
    names = stage.scene.names
    sent: dict[tuple[int, int], list[int]] = {}

    def trace(now: float, member: int, what: str, detail: Any, sends: Any) -> None:
        news = "; ".join(
            tell(event)
            for event in stage.shells[member].events
            if isinstance(event, Decided | Installed | Restored | Expelled | Lost)
        )
        place = len(moments)
        for to, _ in sends:
            sent.setdefault((member, to), []).append(place)
        if what == "deliver":
            sender, message = detail
            places = sent.get((sender, member), [])
            origin = places.pop(0) if places else None
            moments.append(
                Moment(names[member], describe(message), names[sender], origin, news, now)
            )
            return
        if what in ("hear", "silence"):
            detail = names[detail]
        text = f"{what} {detail if detail is not None else ''}"
        moments.append(Moment(names[member], text, outcome=news, time_s=now))

    return trace


def sweep(
    seeds: Iterable[int],
    group: type[Group] = Group,
    *,
    profile: str = "any",
    failures_max: int = 1,
    each: Callable[[int], None] | None = None,
) -> Outcome:
    """Runs the schedules of these seeds until so many have failed."""
    outcome = Outcome()
    for seed in seeds:
        stage, checkers, failure, _ = run_schedule(PROFILES[profile](seed), group)
        outcome.seeds += 1
        outcome.steps += stage.steps
        outcome.decisions += len(checkers.facts.outcomes)
        outcome.views += max(checkers.facts.views, default=0)
        if each is not None:
            each(seed)
        if failure is not None:
            failure.profile = profile
            outcome.failures.append(failure)
            if len(outcome.failures) >= failures_max:
                break
    return outcome
