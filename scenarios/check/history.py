"""What members did, as events that checkers read: simulated, explored, or from logs.

A history is a sequence of `(member, event)`. The order of one member's events is its own; events
of different members may be interleaved in any way, so that logs of processes without a common
clock can be checked as they are.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator
from typing import Any, NamedTuple, get_args

__all__ = [
    "Accusable",
    "Accused",
    "Decided",
    "Doubted",
    "Event",
    "Expelled",
    "Id",
    "Installed",
    "Lost",
    "Noted",
    "Proposed",
    "Read",
    "Restored",
    "Voted",
    "Wedged",
    "read_lines",
    "write_line",
]

Name = Hashable
"""A member: its key and incarnation in the engine, any text in a log."""


class Id(NamedTuple):
    """The name of a proposal."""

    view: int
    clock: int
    proposer: Any


class Proposed(NamedTuple):
    """A member proposed. `content` is the body or its hash: what must be the same everywhere."""

    id: Id
    content: Hashable


class Voted(NamedTuple):
    """A member cast its vote."""

    id: Id
    accept: bool


class Noted(NamedTuple):
    """A member stored, and said, that somebody rejected."""

    id: Id


class Wedged(NamedTuple):
    """A member froze itself in a view: it promised, prepared or accepted."""

    view: int


class Decided(NamedTuple):
    """A member reported an outcome. `view` is the proposal's."""

    id: Id
    outcome: str
    """"committed", "rejected", "abandoned" or "unknown"; the last has no place in the order."""
    index: int  # type: ignore[assignment]
    content: Hashable
    kind: str = ""
    """"join", "kick" and "leave" change the membership; others are the users'."""
    subject: Name = None
    """Who joins, leaves or is kicked."""


class Installed(NamedTuple):
    """A member went to a view, of these members by seniority, having delivered up to `index`."""

    view: int
    members: tuple[Name, ...]
    index: int  # type: ignore[assignment]


class Restored(NamedTuple):
    """A member starts from a snapshot (or its store): all up to `index` counts as delivered, and
    what it delivered after that is taken back."""

    index: int  # type: ignore[assignment]


class Expelled(NamedTuple):
    """A member learned that it was left out."""

    reason: str = ""


class Lost(NamedTuple):
    """A member's group ended for it without an outcome for what was open."""

    reason: str = ""


class Read(NamedTuple):
    """A local read returned the state after `index`. When it began, its reader knew that `floor`
    had been reported committed."""

    floor: int
    index: int  # type: ignore[assignment]


class Accused(NamedTuple):
    """A member refused something of another as what no honest member could send."""

    whom: Name
    what: str


class Accusable(NamedTuple):
    """A member was about to send what its receiver would refuse so."""

    by: Name
    what: str


class Doubted(NamedTuple):
    """A member told that another, which it hears, makes no progress, or does not say how it is."""

    whom: Name


Event = (
    Proposed
    | Voted
    | Noted
    | Wedged
    | Decided
    | Installed
    | Restored
    | Expelled
    | Lost
    | Read
    | Accused
    | Accusable
    | Doubted
)

_KINDS: dict[str, Any] = {kind.__name__.lower(): kind for kind in get_args(Event)}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, str | int | bool | float) else str(value)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(part) for part in value) if isinstance(value, list) else value


def write_line(member: Name, event: Event, group: str = "") -> str:
    """One event as a line of JSON: `{"group", "member", "event", ...its fields}`."""
    fields = {name: _plain(value) for name, value in event._asdict().items()}
    head = {"group": group, "member": _plain(member), "event": type(event).__name__.lower()}
    return json.dumps(head | fields, separators=(",", ":"))


def read_lines(lines: Iterable[str]) -> Iterator[tuple[str, Name, Event]]:
    """`(group, member, event)` of each line; lines of other events are passed over.

    Raises ValueError naming the line that is not JSON or lacks a field. A last line cut off in
    the middle (its writer was killed) is passed over.
    """
    numbered = list(enumerate(lines, 1))
    for number, line in numbered:
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            kind = _KINDS.get(fields.pop("event"))
            group, member = fields.pop("group", ""), _hashable(fields.pop("member"))
            if kind is None:
                continue
            if "id" in fields:
                fields["id"] = Id(*_hashable(fields["id"]))
            wanted = {name: _hashable(fields[name]) for name in kind._fields if name in fields}
            yield group, member, kind(**wanted)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if number == len(numbered) and not line.endswith("\n"):
                return
            raise ValueError(f"line {number} of the log is no event: {error}") from error
