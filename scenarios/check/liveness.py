"""I8: what comes to an end once faults are over. And how much an object holds in all.

Liveness is asked of a whole world. What a group may hold at most is said in `bounds`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from scenarios.check.facts import Violation, is_quorum
from scenarios.check.history import Name

__all__ = ["Standing", "check_liveness", "footprint", "left_open"]

OBJECTS_MAX = 1_000_000
"""More objects than this are not walked: the footprint of a defect, not of a member."""


@dataclass(frozen=True)
class Standing:
    """Where one member stands when the world has healed and its time has passed."""

    member: Name
    view: int
    """The number of the view it installed last; 0 before its first."""
    members: tuple[Name, ...]
    unsettled: tuple[Hashable, ...] = ()
    """Its own proposals that have no outcome, in its engine's words."""
    wedged: bool = False
    accepted: tuple[Name, ...] = ()
    """The members of the next view it has accepted in the synod, if any."""
    ended: Literal["", "crashed", "left", "expelled", "lost"] = ""
    """How it came to an end and, unless it crashed, knows it."""
    joining: bool = False
    """It was never taken in and, unless it crashed, was never told that it will not be."""
    left: tuple[str, ...] = ()
    """What its group still has to do, in words; see `left_open`."""
    lingering: bool = False
    """It is out, alive, and still answers stragglers."""


def left_open(group: Group) -> tuple[str, ...]:
    """What a member's group holds that has to come to an end: nothing of it is said by a message
    of its own, so that a history does not show it."""
    if group.phase != Phase.MEMBER:
        return ()
    left = [f"{content.kind} that waits" for _, content, _ in group._backlog]
    left += [f"sponsorship of {joiner}" for joiner in group._sponsored]
    left += [f"read {read.handle}" for read in group._reads]
    left += [f"open ballot {key}" for key, ballot in group._ballots.items() if not ballot.index]
    left += [f"lane of {sender} that stands still" for sender in group._stopped]
    left += [f"{kind} of {who} that was committed" for _, kind, who, _, _ in (
        group._committed_changes
    )]  # fmt: skip
    return tuple(left)


def check_liveness(standings: Iterable[Standing], casting_vote: bool) -> None:
    """Raises Violation unless everybody alive ended or stands in one view with nothing open.

    Where those alive are no quorum of the newest view, or of a next view that one of them has
    accepted, nobody can go on, and nothing is asked of members. Who waits to be taken in, and who
    is out, has a timer of its own, whatever becomes of the group: that is asked always.
    """
    everybody = list(standings)
    for standing in everybody:
        if standing.joining and not standing.ended:
            _fail((standing.member,), "still joining")
        if standing.lingering:
            _fail((standing.member,), "out, and still lingering")
    going = [s for s in everybody if not s.ended]
    if not going:
        outcast = [s.member for s in everybody if s.ended == "expelled"]
        if outcast and all(s.ended == "expelled" or s.joining for s in everybody):
            _fail(outcast, "expelled by a group in which nobody is left")
        return
    newest = max(going, key=lambda standing: standing.view)
    alive = {s.member for s in going}
    needed = [newest.members] + [s.accepted for s in going if s.accepted]
    if all(is_quorum(alive, members, casting_vote) for members in needed):
        _check_going(going, newest)


def _fail(members: Iterable[Name], evidence: str) -> None:
    raise Violation("8 liveness", members, evidence)


def _check_going(going: Sequence[Standing], newest: Standing) -> None:
    """Of those who can go on: everybody stands in the newest view, with nothing open."""
    for standing in going:
        who = (standing.member,)
        if standing.member not in newest.members:
            _fail(who, f"never learned that view {newest.view} left it out")
        if standing.view != newest.view:
            _fail(who, f"still in view {standing.view} of {newest.view}")
        if standing.wedged:
            _fail(who, f"wedged in view {standing.view} for ever")
        if standing.unsettled:
            _fail(who, f"no outcome for {standing.unsettled}")
        if standing.left:
            _fail(who, f"left undone: {', '.join(standing.left)}")
    alive = {s.member for s in going}
    gone = [m for m in newest.members if m not in alive]
    if gone:
        _fail(gone, f"gone, and still in view {newest.view}")


def footprint(root: Any, packages: tuple[str, ...] = ("consensus", "transport")) -> dict[str, int]:
    """How many elements each container reachable from `root` holds, by its path of attributes.

    Looks into objects of our own packages and into containers; equal paths (the elements of one
    table) are added up, so that a table of tables that leaks shows as one growing number.
    """
    sizes: dict[str, int] = {}
    seen: set[int] = set()
    todo: deque[tuple[str, Any]] = deque([("", root)])
    while todo and len(seen) < OBJECTS_MAX:
        path, thing = todo.popleft()
        if id(thing) in seen or isinstance(thing, str | int | float | type | None.__class__):
            continue
        if isinstance(thing, bytes):
            continue
        if isinstance(thing, bytearray):
            sizes[path] = sizes.get(path, 0) + len(thing)
            continue
        seen.add(id(thing))
        if isinstance(thing, Mapping):
            sizes[path] = sizes.get(path, 0) + len(thing)
            todo += [(f"{path}{{}}", value) for value in thing.values()]
            todo += [(f"{path}{{key}}", key) for key in thing]
        elif isinstance(thing, list | set | frozenset | deque | tuple):
            if not isinstance(thing, tuple):
                sizes[path] = sizes.get(path, 0) + len(thing)
            todo += [(f"{path}[]", value) for value in thing]
        elif type(thing).__module__.split(".")[0] in packages or thing is root:
            for kind in type(thing).__mro__:
                for name in getattr(kind, "__slots__", ()):
                    if hasattr(thing, name):
                        todo.append((f"{path}.{name}", getattr(thing, name)))
            for name, value in getattr(thing, "__dict__", {}).items():
                todo.append((f"{path}.{name}", value))
    return sizes
