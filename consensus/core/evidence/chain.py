"""All that a group decided, as one chain of hashes.

    record  = msgpack of [[view, clock, proposer], index, content, outcome, answers]  (a decision)
            | msgpack of [view, [member, ...]]                                        (a view)
    leaf    = BLAKE2b-256 of the record, personalised "quorate leaf 1"
    head    = BLAKE2b-256 of the head before and the leaf, personalised "quorate chain 1"

The head before the first record (view 1) is the group's id. Every member that delivered the same
has the same head, so one signed head vouches for everything before it: decisions and views, their
order, their bodies. Reasons of rejects are not part of a record: members may know different ones.

Leaves are hashed apart so that whoever has the head before a record, the record and the leaves
after it can work out a later head without the later records.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Any, NamedTuple

import msgpack

from consensus.core.numbers import Index, ViewNumber
from consensus.core.types import Decision
from consensus.core.view import View

HASH_SIZE = 32
KEPT_MAX = 4096
"""Places of the chain that are remembered: those can be signed, and shown to be part of it."""
PENDING_MAX = 64
"""Decisions that may wait to be hashed. Put off, the work is done away from the critical path."""

# Named tuples are made by thousands here, and this makes them twice as fast as calling them.
_new = tuple.__new__
_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_LEAF, _CHAIN = b"quorate leaf 1", b"quorate chain 1"


def decision_record(decision: Decision) -> bytes:
    """A decision as it is hashed."""
    proposal, index, content, outcome, answers, _ = decision
    record: bytes = _pack((proposal, index, content, int(outcome), answers))
    return record


def view_record(view: View) -> bytes:
    """An installation as it is hashed."""
    record: bytes = _pack((view.number, view.members))
    return record


def leaf_of(record: bytes) -> bytes:
    """The hash of one record."""
    return blake2b(record, digest_size=HASH_SIZE, person=_LEAF).digest()


def extended(head: bytes, leaf: bytes) -> bytes:
    """The head after a record with this leaf."""
    return blake2b(head + leaf, digest_size=HASH_SIZE, person=_CHAIN).digest()


class Place(NamedTuple):
    """A point of the chain: after decision `index`, or (no decision yet in it) a view's start."""

    view: ViewNumber
    """The view it is in."""
    position: Index
    """The index of the last decision before or at it."""
    leaf: bytes
    head: bytes


class Chain:
    """The chain as one member knows it: its head, and the last KEPT_MAX places before."""

    def __init__(self, view: ViewNumber, index: Index, head: bytes) -> None:
        self._places: deque[Place] = deque(maxlen=KEPT_MAX)
        self._pending: list[Decision] = []
        self._view = view
        self._index = index
        self._head = head
        self._base = head
        """The head before the first place."""

    @property
    def index(self) -> Index:
        """The index of the last decision, hashed or waiting to be."""
        return self._pending[-1].index if self._pending else self._index

    @property
    def head(self) -> bytes:
        """The hash of everything so far."""
        self._hash()
        return self._head

    def decided(self, decision: Decision) -> None:
        """The next decision."""
        pending = self._pending
        pending.append(decision)
        if len(pending) >= PENDING_MAX:
            self._hash()

    def installed(self, view: View) -> None:
        """The next view."""
        self._hash()
        self._view = view.number
        self._add(leaf_of(view_record(view)))

    def after(self, decisions: tuple[Decision, ...]) -> bytes:
        """What the head would be after these."""
        head = self.head
        for decision in decisions:
            head = extended(head, leaf_of(decision_record(decision)))
        return head

    def latest(self) -> Place | None:
        """The last place; None if nothing was added here yet."""
        self._hash()
        return self._places[-1] if self._places else None

    def at(self, view: ViewNumber, index: Index) -> Place | None:
        """The place of that view and index, if it is remembered."""
        self._hash()
        number = self._number_of(view, index)
        return None if number is None else self._places[number]

    def path(
        self, view: ViewNumber, index: Index, to: Place
    ) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The head before decision `index`, and the leaves after it up to a later place. None if
        that is no longer, or was never, known here."""
        self._hash()
        first, last = self._number_of(view, index), self._number_of(to.view, to.position)
        if first is None or last is None or first > last:
            return None
        places = list(self._places)
        before = places[first - 1].head if first else self._base
        return before, tuple(p.leaf for p in places[first + 1 : last + 1])

    def remembered(self) -> list[Any]:
        """All that `recalled` needs, made of plain values."""
        self._hash()
        places = [list(place) for place in self._places]
        return [self._view, self._index, self._head, self._base, places]

    @classmethod
    def recalled(cls, remembered: list[Any]) -> Chain:
        """The chain whose `remembered` this is."""
        view, index, head, base, places = remembered
        chain = cls(view, index, head)
        chain._base = base
        chain._places.extend(Place(*place) for place in places)
        return chain

    def _number_of(self, view: ViewNumber, index: Index) -> int | None:
        """Where in the list, from the newest back: what is asked for is mostly new."""
        for number in range(len(self._places) - 1, -1, -1):
            place = self._places[number]
            if (place.view, place.position) == (view, index):
                return number
            if (place.view, place.position) < (view, index):
                break
        return None

    def _hash(self) -> None:
        pending = self._pending
        if not pending:
            return
        self._pending = []
        places, view, head = self._places, self._view, self._head
        beyond = len(places) + len(pending) - KEPT_MAX
        if beyond > 0:
            for _ in range(min(beyond, len(places))):
                self._base = places.popleft().head
        for decision in pending:
            leaf = leaf_of(decision_record(decision))
            head = extended(head, leaf)
            places.append(_new(Place, (view, decision[1], leaf, head)))
        self._head = head
        self._index = pending[-1].index

    def _add(self, leaf: bytes) -> None:
        self._head = extended(self._head, leaf)
        if len(self._places) == KEPT_MAX:
            self._base = self._places[0].head
        self._places.append(Place(self._view, self._index, leaf, self._head))
