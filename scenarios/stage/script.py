"""Histories as text scripts: the commands that make real groups live through them again.

What is written here is read by the scripts of the tests (a command a line, blocks of commands and
what they must give separated by `----`). Everything is explicit: each message is delivered, each
timer fired and each vote given by a line of its own, so that nothing depends on a schedule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from consensus.core.config import GroupConfig
from scenarios.stage.case import Act, Case
from scenarios.stage.scene import Scene
from scenarios.stage.stage import Trace

__all__ = ["as_script", "line_of", "opening", "writer"]

_LINKS = {"silent": "down", "silence": "down", "heard": "up", "hear": "up"}


def opening(case: Case, acts: Iterable[Act] = ()) -> Iterator[str]:
    """What is there before anything happens. `acts`: what users will do, if no plan says it."""
    standard = GroupConfig()
    options = [
        f" {field.name}={getattr(case.config, field.name)}"
        for field in fields(GroupConfig)
        if getattr(case.config, field.name) != getattr(standard, field.name)
    ]
    first, *others = case.members
    if case.founded:
        yield f"found {first}{''.join(options)}"
        for other in others:
            yield f"join {other} via {first}"
            yield "deliver"
    else:
        yield f"group {' '.join(case.members)}{''.join(options)}"
    for joiner, by in case.joiners.items():
        yield f"joiner {joiner} via {by}"
    for member, _ in sorted(case.unreachable):
        yield f"unreachable {member}"
    if case.gathers:
        yield "gathers"
    planned = [act for plan in case.plans.values() for act in plan]
    bodies = [act.whom for act in (*planned, *acts) if act.what == "propose"]
    for member in case.everyone:
        votes = {body: case.votes_of(member, body) for body in dict.fromkeys(bodies)}
        if not case.prompt or any(len(choice) != 1 for choice in votes.values()):
            yield f"manual {member}"
        for body, choice in votes.items():
            if case.prompt and len(choice) == 1:
                yield f"always {member} {body} {_vote(choice[0])}"


def line_of(scene: Scene, member: int, what: str, detail: Any) -> str:
    """One step of the explorer or of a schedule as a command."""
    who = scene.names[member]
    if what == "act":
        return f"{detail.what} {who} {_act(detail)}".rstrip()
    if what == "read":
        return f"read {who} leased" if detail else f"read {who}"
    if what == "answer":
        proposal, vote = detail
        name = f"{proposal.view}.{proposal.clock}.{proposal.proposer}"
        return f"answer {who} {name} {_vote(vote)}"
    if what == "fire":
        return f"fire {who} {detail.name} {detail.key}"
    if what in ("crash", "poll"):
        return f"{what} {who}"
    other = scene.names[detail]
    return f"deliver {other} {who} 1" if what == "deliver" else f"{_LINKS[what]} {who} {other}"


def writer(scene: Scene, lines: list[str]) -> Trace:
    """What adds the commands of a stage's steps to `lines`."""

    def write(now: float, member: int, what: str, detail: Any, sends: Any) -> None:
        lines.append(line_of(scene, member, what, detail[0] if what == "deliver" else detail))

    return write


def as_script(about: Sequence[str], before: Iterable[str], lines: Iterable[str]) -> str:
    """A whole script, whose traces are still to be written."""
    head = [f"# {line}" for line in about]
    blocks = ["\n".join([*head, *before, "----"]), "\n".join([*lines, "show", "----"])]
    text = "\n\n".join(blocks) + "\n"
    # A second member of a key, J', is j in scripts.
    return re.sub(r"\b([A-Z])'", lambda found: found[1].lower(), text)


def _act(act: Act) -> str:
    if act.what == "propose":
        return f"test {act.whom}"
    return f"{act.whom} disliked" if act.what == "kick" else act.whom


def _vote(vote: Any) -> str:
    return "accept" if vote.accept else "reject"
