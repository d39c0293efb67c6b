"""A group's values as bytes and back, for the file of the member itself.

What a group is made of (`types`, its parts, the notary's) goes in and comes back as it was, types
included. Only a message comes back as a plain tuple, for `message_of`: its first field says what it
is, so its class is not written down. The bytes come from this member's own file, whose
records carry checksums; still, only the classes listed here can come out, so an altered file can at
worst make a wrong group, never run anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import Any

import msgpack

from consensus.core.engine.state import Phase
from consensus.core.errors import ConsensusError
from consensus.core.evidence.certificate import Link
from consensus.core.message_kinds import CLASSES
from consensus.core.tables.ballot import Ballot
from consensus.core.tables.leases import Leases, Read
from consensus.core.tables.membership_rules import Sponsorship
from consensus.core.tables.stall import Said, Stall
from consensus.core.tables.suspicion import Matrix
from consensus.core.tables.synod import Synod
from consensus.core.tables.total_order import Order
from consensus.core.types import (
    Candidate,
    Content,
    Decision,
    Member,
    Outcome,
    Proposal,
    ProposalId,
    Timer,
    Vote,
)
from consensus.core.view import View

_TUPLE, _DEQUE, _ENUM_FIRST, _NAMED_FIRST, _SLOTS_FIRST = 1, 2, 10, 20, 60

# The position in each list is part of the format: add at the end.
_ENUMS: tuple[type[IntEnum], ...] = (Phase, Outcome)
_NAMED: tuple[Any, ...] = (
    Member, ProposalId, Content, Vote, Proposal, Decision, Candidate, Timer, View, Link, Said,
)  # fmt: skip
_OBJECTS: tuple[type, ...] = (Ballot, Order, Matrix, Synod, Sponsorship, Leases, Read, Stall)

_CODES: dict[type, int] = {
    tuple: _TUPLE,
    deque: _DEQUE,
    **dict.fromkeys(CLASSES.values(), _TUPLE),
    **{kind: _ENUM_FIRST + at for at, kind in enumerate(_ENUMS)},
    **{kind: _NAMED_FIRST + at for at, kind in enumerate(_NAMED)},
    **{kind: _SLOTS_FIRST + at for at, kind in enumerate(_OBJECTS)},
}

assert _SLOTS_FIRST + len(_OBJECTS) < 128


DIGEST_SIZE = 16
_PERSON = b"quorate log 1"


class FrozenError(ConsensusError):
    """Bytes that are no values of a group."""


class LogDamaged(ConsensusError):
    """The log of a group cannot be replayed: it was altered, torn, or written by something else."""


def chained(before: bytes, seq: int, payload: bytes) -> bytes:
    """The digest that a record carries: over the one before it, its number and what it says."""
    parts = before + seq.to_bytes(8, "big") + payload
    return blake2b(parts, digest_size=DIGEST_SIZE, person=_PERSON).digest()


WRITTEN_AS = {"handle": "ticket", "_next_handle": "_next_ticket"}
"""What the file calls attributes whose names have changed since: its format has not."""
_READ_AS = {written: name for name, written in WRITTEN_AS.items()}


def written(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """An object's attributes under the names that the file has for them."""
    return {WRITTEN_AS.get(name, name): value for name, value in attributes.items()}


def read(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What `written` made, as it was."""
    return {_READ_AS.get(name, name): value for name, value in fields.items()}


def attributes(value: object) -> tuple[str, ...]:
    """The names of what an object consists of, in the order in which it is stored."""
    slots: tuple[str, ...] = type(value).__slots__  # type: ignore[attr-defined]
    return tuple(sorted(slots, key=lambda name: WRITTEN_AS.get(name, name)))


def _default(value: Any) -> msgpack.ExtType:
    kind = type(value)
    code = _CODES.get(kind)
    if code is None:
        raise TypeError(f"{kind.__name__} is not known to the format")
    if code < _ENUM_FIRST or _NAMED_FIRST <= code < _SLOTS_FIRST:
        fields: Any = list(value)
    elif code < _NAMED_FIRST:
        fields = int(value)
    else:
        fields = written({name: getattr(value, name) for name in attributes(value)})
    return msgpack.ExtType(code, freeze(fields))


def freeze(value: Any) -> bytes:
    """The bytes of a value made of what groups are made of."""
    data: bytes = msgpack.packb(value, default=_default, strict_types=True)
    return data


def _thawed(code: int, data: bytes) -> Any:
    fields = _unpack(data)
    if code == _TUPLE:
        return tuple(fields)
    if code == _DEQUE:
        return deque(fields)
    for first, kinds, make in _MAKERS:
        if first <= code < first + len(kinds):
            return make(kinds[code - first], fields)
    raise FrozenError("a value of a kind that is not known")


def _object(kind: type, fields: dict[str, Any]) -> Any:
    made: Any = object.__new__(kind)
    found = read(fields)
    for name, value in found.items():
        setattr(made, name, value)
    if set(attributes(made)) != set(found):
        raise FrozenError(f"a {kind.__name__} of another version")
    return made


_MAKERS: tuple[tuple[int, tuple[Any, ...], Callable[[Any, Any], Any]], ...] = (
    (_ENUM_FIRST, _ENUMS, lambda kind, number: kind(number)),
    (_NAMED_FIRST, _NAMED, lambda kind, fields: kind(*fields)),
    (_SLOTS_FIRST, _OBJECTS, _object),
)


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(data, ext_hook=_thawed, strict_map_key=False, raw=False, use_list=True)


def thaw(data: bytes) -> Any:
    """What `freeze` made `data` of. Raises FrozenError."""
    try:
        return _unpack(data)
    except (
        ValueError, TypeError, AttributeError, msgpack.UnpackException, RecursionError
    ) as error:  # fmt: skip
        raise FrozenError(f"not what a group is made of: {error}") from error
