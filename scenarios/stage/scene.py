"""What the members of one run share, and what is read from a group besides its outputs."""

from __future__ import annotations

from typing import Any

from consensus.core.engine.group import Group
from consensus.core.message_fields import GoneMessage
from consensus.core.message_kinds import GONE
from consensus.core.numbers import Clock, Index
from scenarios.stage.case import Case, Faults

__all__ = ["Scene", "abandon", "accepted_next"]


def accepted_next(group: Group) -> tuple[Any, ...]:
    """The members of the next view that a member has accepted in the synod, if any."""
    synod, view = group._synod, group._view
    if synod.value is None:
        return ()
    return view.following(synod.value[0], synod.value[1]).members


def abandon(group: Group) -> None:
    """What a node does that gives up a group, or a join: it says so to whom it knows in it."""
    known = [group.sponsor_awaited, *group.view.members]
    for member in dict.fromkeys(known):
        if member is not None and member != group.me:
            group._tell(member, GoneMessage(GONE, group.view.number, Clock(0), Index(0)))
    group.stop()


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
