"""What the members of one run share, and what is read from a group besides its outputs."""

from __future__ import annotations

from typing import Any

from consensus.core.engine.group import Group
from scenarios.stage.case import Case, Faults

__all__ = ["Scene", "accepted_next"]


def accepted_next(group: Group) -> tuple[Any, ...]:
    """The members of the next view that a member has accepted in the synod, if any."""
    synod, view = group._synod, group._view
    if synod.value is None:
        return ()
    return view.following(synod.value[0], synod.value[1]).members


class Scene:
    """What all members of one run share and never change."""

    def __init__(self, case: Case, faults: Faults, group: type[Group] = Group):
        self.case = case
        self.faults = faults
        self.group = group
        self.names: tuple[Any, ...] = case.everyone
        self.index: dict[Any, int] = {name: at for at, name in enumerate(self.names)}
        """A member as its group knows it, and its place here."""
        self.outside = len(self.names)
        """The place of what carries what users tell each other."""
        self.tellers = frozenset(teller for teller, _ in case.tells)
