"""Invariants 8 and 9: what comes to an end after faults, and what never grows.

Liveness is asked of a whole world once its faults are over; bounds are asked of any object.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scenarios.checkers import Violation, is_quorum
from scenarios.history import Name

__all__ = ["Standing", "check_bounds", "check_liveness", "footprint"]

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


def check_liveness(standings: Iterable[Standing], casting_vote: bool) -> None:
    """Raises Violation unless everybody alive ended or stands in one view with nothing open.

    Where those alive are no quorum of the newest view, or of a next view that one of them has
    accepted, nobody can go on, and nothing is asked.
    """
    everybody = list(standings)
    going = [s for s in everybody if not s.ended and not s.joining]
    if not going:
        outcast = [s.member for s in everybody if s.ended == "expelled"]
        if outcast and all(s.ended == "expelled" or s.joining for s in everybody):
            raise Violation("8 liveness", outcast, "expelled by a group in which nobody is left")
        return
    newest = max(going, key=lambda standing: standing.view)
    alive = {s.member for s in going}
    needed = [newest.members] + [s.accepted for s in going if s.accepted]
    if not all(is_quorum(alive, members, casting_vote) for members in needed):
        return

    def fail(members: Iterable[Name], evidence: str) -> None:
        raise Violation("8 liveness", members, evidence)

    for standing in going:
        who = (standing.member,)
        if standing.member not in newest.members:
            fail(who, f"never learned that view {newest.view} left it out")
        if standing.view != newest.view:
            fail(who, f"still in view {standing.view} of {newest.view}")
        if standing.wedged:
            fail(who, f"wedged in view {standing.view} for ever")
        if standing.unsettled:
            fail(who, f"no outcome for {standing.unsettled}")
    gone = [m for m in newest.members if m not in alive]
    if gone:
        fail(gone, f"gone, and still in view {newest.view}")


def check_bounds(who: Name, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Invariant 9: raises Violation if something is larger than its stated bound.

    `sizes` maps the name of a table, queue or tail to `(size, bound)`, as an object's own
    `sizes()` tells it or as `footprint` measured it.
    """
    for name, (size, bound) in sizes.items():
        if size > bound:
            raise Violation("9 bounded memory", (who,), f"{name} holds {size}, bound {bound}")


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
