"""`python -m scenarios explore [CASE ...] | sweep | replay SEED`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scenarios.cases import CASES, FULL
from scenarios.check.facts import Violation
from scenarios.check.history import read_lines
from scenarios.check.invariants import Checkers
from scenarios.search.explore import Exploration, Found, explore_all
from scenarios.search.picture import as_svg, as_text
from scenarios.search.sweep import PROFILES, run_schedule, script_of, sweep

__all__ = ["main"]

ABOUT = (
    "The project's own code in a simulated world, where every run can be repeated: each history is"
    " checked against what must never happen. See docs/scenarios.md."
)


def main(arguments: Sequence[str] | None = None, prog: str = "scenarios") -> int:
    """Runs the command; returns its exit status: 0 if nothing was violated."""
    parser = argparse.ArgumentParser(prog=prog, description=ABOUT)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("explore", help="every interleaving of small cases")
    add.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    add.add_argument("--json", action="store_true", help="one object a case")
    add.add_argument("--states", type=_count, help="cap each run at so many states")
    add.add_argument("--jobs", type=_count, default=1, help="processes at once (default 1)")
    add.add_argument("--minutes", type=float, help="cap what is not done after so long")
    add.add_argument("--scripts", type=Path, help="write counter-examples to this directory")
    add.add_argument("--full", action="store_true", help="commuting deliveries in every order")
    add = commands.add_parser("sweep", help="seeded random schedules")
    add.add_argument("--seeds", type=_count, default=1000, help="how many (default 1000)")
    add.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    add.add_argument("--profile", choices=list(PROFILES), default="any", help="which family")
    add.add_argument("--json", action="store_true", help="a summary as one object")
    add.add_argument("--scripts", type=Path, help="write failures to this directory")
    add = commands.add_parser("replay", help="one schedule again, with its diagram")
    add.add_argument("seed", type=int)
    add.add_argument("--profile", choices=list(PROFILES), default="any", help="which family")
    add.add_argument("--svg", type=Path, help="write the diagram here")
    add = commands.add_parser("check", help="the invariants on logs of real processes")
    add.add_argument("logs", nargs="+", type=Path, help="files of JSON lines")
    add.add_argument("--strict", action="store_true", help="the group has no casting vote")
    parsed = parser.parse_args(arguments)
    run = {"explore": _explore, "sweep": _sweep, "replay": _replay, "check": _check}
    return run[parsed.command](parsed)


def _count(text: str) -> int:
    number = int(text)
    if not 0 < number < 1 << 40:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _explore(parsed: argparse.Namespace) -> int:
    unknown = [name for name in parsed.cases if name not in CASES]
    if unknown:
        print(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    total: dict[str, Any] = {"states": 0, "transitions": 0, "violations": 0}
    capped = []
    explored = explore_all(
        [CASES[name] for name in parsed.cases or FULL],
        jobs=parsed.jobs,
        states_max=parsed.states,
        reduce=not parsed.full,
        until_s=None if parsed.minutes is None else time.monotonic() + 60 * parsed.minutes,
    )
    for done in explored:
        summary = done.summary()
        if parsed.json:
            print(json.dumps(summary | {"violated": [str(f.violation) for f in done.found]}))
        else:
            print(_in_words(done))
        sys.stdout.flush()
        if parsed.scripts is not None and done.found:
            _write(parsed.scripts, done.case.name, done.found[0].script)
        for key in total:
            total[key] += summary[key]
        if not done.closed:
            capped.append(done.case.name)
    total["cases"] = len(parsed.cases or FULL)
    total["closed"] = total["cases"] - len(capped)
    total["capped"] = len(capped)
    total["capped_cases"] = capped
    print(json.dumps({"summary": total}))
    return 1 if total["violations"] else 0


def _write(directory: Path, name: str, script: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.txt").write_text(script, encoding="utf-8")


def _in_words(done: Exploration) -> str:
    summary = done.summary()
    lines = [
        f"{done.case.name}: {done.case.about}",
        f"  within {summary['bounds']}",
        f"  {summary['states']:,} states, {summary['transitions']:,} transitions, depth "
        f"{summary['depth']}, {summary['ends']:,} ends, {summary['runs']} runs, "
        f"{summary['seconds']} s: "
        + ("closed" if done.closed else f"{done.capped} of {summary['runs']} runs capped"),
    ]
    return "\n".join([*lines, *(_told(found, done.case.everyone) for found in done.found)])


def _told(found: Found, names: Sequence[str]) -> str:
    return f"VIOLATED {found.violation}\nwith {found.faults}:\n{as_text(names, found.moments)}"


def _sweep(parsed: argparse.Namespace) -> int:
    seeds = range(parsed.first, parsed.first + parsed.seeds)
    outcome = sweep(seeds, profile=parsed.profile)
    for failure in outcome.failures:
        if parsed.scripts is not None:
            schedule = PROFILES[parsed.profile](failure.seed)
            _write(parsed.scripts, f"{parsed.profile}-{failure.seed}", script_of(schedule, failure))
    if parsed.json:
        print(
            json.dumps(
                {
                    "seeds": outcome.seeds,
                    "steps": outcome.steps,
                    "decisions": outcome.decisions,
                    "views": outcome.views,
                    "violations": [
                        {"seed": f.seed, "violation": str(f.violation), "replay": f.replay}
                        for f in outcome.failures
                    ],
                }
            )
        )
    else:
        print(
            f"{outcome.seeds} seeds, {outcome.steps:,} steps, {outcome.decisions:,} decisions, "
            f"{len(outcome.failures)} violations"
        )
        for failure in outcome.failures:
            print(f"VIOLATED {failure.violation}\nreplay with: {failure.replay}")
    return 1 if outcome.failures else 0


def _replay(parsed: argparse.Namespace) -> int:
    schedule = PROFILES[parsed.profile](parsed.seed)
    _, _, failure, moments = run_schedule(schedule, trace=True)
    names = schedule.case.everyone
    print(schedule)
    print(as_text(names, moments))
    if parsed.svg is not None:
        parsed.svg.write_text(as_svg(names, moments), encoding="utf-8")
    if failure is not None:
        print(f"VIOLATED {failure.violation}")
        return 1
    print("all invariants hold")
    return 0


def _check(parsed: argparse.Namespace) -> int:
    groups: dict[str, Checkers] = {}
    events = 0
    try:
        for path in parsed.logs:
            with path.open(encoding="utf-8") as lines:
                for group, member, event in read_lines(lines):
                    checkers = groups.setdefault(group, Checkers(not parsed.strict))
                    checkers.observe(member, event)
                    events += 1
        for checkers in groups.values():
            checkers.settle()
    except Violation as violation:
        print(f"VIOLATED {violation}")
        return 1
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{events} events of {len(groups)} groups: all invariants hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
