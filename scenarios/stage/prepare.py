"""The members of a case at its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.numbers import ViewNumber
from consensus.core.view import View
from scenarios.check.history import Installed
from scenarios.stage.case import Case, Faults, sponsor
from scenarios.stage.scene import Scene
from scenarios.stage.shell import Shell
from scenarios.stage.stage import Stage

__all__ = ["prepare"]

JOIN_S = 1.0
"""Far more than a join takes here, far less than a joiner waits to be taken in."""

REST_S = 300.0
"""Long enough for every timer of the engine's default configuration to run out."""


@lru_cache(maxsize=64)
def _founded(members: tuple[Any, ...], config: GroupConfig) -> tuple[tuple[Group, int], ...]:
    """The groups of a founder and those it took in one after the other, at rest, each with the
    index of its last decision."""
    scene = Scene(Case("founding", "", members, config=config), Faults())
    first = members[0]
    shells = [Shell(scene, 0, Group.found(first, config))]
    shells += [
        Shell(scene, at, Group.joining(members[at], first, config)) for at in range(1, len(members))
    ]
    for shell in shells:
        shell.settle()
    stage = Stage(scene, shells)
    for joiner in members[1:]:
        stage.act(0, sponsor(joiner))
        stage.run(stage.now + JOIN_S)
    stage.run(stage.now + REST_S)
    for shell in shells:
        if shell.group.view.members != members:
            raise RuntimeError(f"the founding of {members} stopped at {shell.group.view}")
    return tuple((shell.group, shell.recorder.index) for shell in shells)


def prepare(case: Case, faults: Faults, group: type[Group] = Group) -> tuple[Scene, list[Shell]]:
    """The members of a case at its beginning, with what may happen to them.

    Their view is in force as if agreed on beforehand, or (`case.founded`) made by the shipped
    engine, a founder taking in the others; only what follows runs by the rules of `group`.
    """
    scene = Scene(case, faults, group)
    shells: list[Shell] = []
    names: Sequence[Any] = case.members
    if case.founded:
        for at, (made, index) in enumerate(_founded(case.members, case.config)):
            own = made.fork()
            own.__class__ = group
            shell = Shell(scene, at, own)
            shell.recorder.begin(Installed(len(names), case.members, index))
            shells.append(shell)
    else:
        view = View(ViewNumber(1), tuple(names), case.config.casting_vote)
        for at, name in enumerate(names):
            shells.append(Shell(scene, at, group.within(name, view, case.config)))
    for joiner, by in case.joiners.items():
        name, by_name = scene.names[len(shells)], scene.names[scene.index[by]]
        assert name == joiner
        shells.append(Shell(scene, len(shells), group.joining(name, by_name, case.config)))
    for shell in shells:
        shell.events += shell.recorder.reports
        shell.settle()
        shell.set_bounds()
    return scene, shells
