"""Members of an established view, made by the real engine: founding, then one join after another."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from consensus.core.group import Group

from consensus.core.config import GroupConfig
from scenarios.case import Case, Faults, sponsor
from scenarios.history import Installed
from scenarios.recorder import Recorder
from scenarios.shell import Scene, Shell
from scenarios.stage import Stage

__all__ = ["prepare"]

REST_S = 300.0
"""Long enough for every timer of the engine's default configuration to run out."""


@lru_cache(maxsize=64)
def _established(
    members: tuple[str, ...], config: GroupConfig, group: type[Group]
) -> tuple[tuple[Group, int], ...]:
    """The groups of the members of a view of these members at rest, and their last index."""
    case = Case("founding", "", members, config=config)
    scene = Scene(case, Faults(), group)
    first = members[0]
    shells = [Shell(scene, 0, group.found(first, config))]
    shells[0].settle()
    for at in range(1, len(members)):
        shells.append(Shell(scene, at, group.joining(members[at], first, config)))
    stage = Stage(scene, shells)
    for at in range(1, len(members)):
        stage.act(0, sponsor(members[at]))
        stage.run(stage.now + REST_S)
    for shell in shells:
        view = shell.recorder.views.get(max(shell.recorder.views, default=0), ())
        if view != members or shell.armed:
            raise RuntimeError(f"the founding of {members} did not come to rest: {view}")
    return tuple((shell.group, shell.recorder.index) for shell in shells)


def prepare(case: Case, faults: Faults, group: type[Group] = Group) -> tuple[Scene, list[Shell]]:
    """The members of a case at its beginning, with what may happen to them.

    The view is made by the shipped `Group` even where `group` is a broken one; each member's state
    is then given to `group`, so that only what follows runs by the broken rules.
    """
    scene = Scene(case, faults, group)
    shells = []
    established = _established(case.members, replace(case.config), Group)
    number = len(case.members)
    for at, (made, index) in enumerate(established):
        own = made.fork()
        own.__class__ = group
        shell = Shell(scene, at, own)
        shell.recorder.index = index
        shell.recorder.views = {number: case.members}
        shell.recorder.reports = (Installed(number, case.members, index),)
        shell.events = list(shell.recorder.reports)
        shells.append(shell)
    for joiner, by in case.joiners.items():
        shell = Shell(scene, len(shells), group.joining(joiner, by, case.config))
        shell.recorder = Recorder(joiner)
        shell.settle()
        shells.append(shell)
    for shell in shells:
        shell.set_bounds()
    return scene, shells
