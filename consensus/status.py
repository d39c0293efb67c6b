"""What a user's program sees of how a group, and a node, stands: who is heard, what is open, and
whom that waits for.

Durations are in seconds, members are named by their keys (32 bytes).
"""

from __future__ import annotations

from dataclasses import dataclass

from consensus.decision import GroupEnded, ViewInfo
from transport.core.types import Address

HELD_UP_S = 1.0
"""What is open or unwritten for longer than this is worth a line."""
KEY_SHOWN = 8
"""Hexadecimal digits of a key in what is written for people."""


def shown(key: bytes) -> str:
    """A key as people see it in lines: its first digits."""
    return key.hex()[:KEY_SHOWN]


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """How this node stands with another member."""

    key: bytes
    up: bool
    """There is a presence with it."""
    heard_s: float | None
    """How long ago anything was heard of it; None without a presence yet."""
    rtt_s: float | None
    """Smoothed round trip; None before the first measurement."""
    address: Address | None
    relayed: bool
    """It is reached by way of another member only."""
    suspected_by: tuple[bytes, ...]
    """The members, this one perhaps among them, that say they do not hear it."""
    backlog_bytes: int
    """What this node sent it and it has not acknowledged."""


@dataclass(frozen=True, slots=True)
class ProposalStatus:
    """A proposal whose outcome was not told here."""

    kind: str
    proposer: bytes
    waits_for: tuple[bytes, ...]
    """Whose vote, or word that nothing earlier comes, is missing; this node's own key: its handler
    has not answered. Empty: it waits for what is before it, or for a change of the group."""
    open_s: float
    """How long it has been open here, as far as `status` was looked at: the node itself looks once
    a second."""
    rejected: bool
    """Somebody has rejected it, which not enough members have stored yet."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """How one group stands, as one member knows it."""

    name: str
    me: bytes
    view: ViewInfo | None
    """The membership; None until this node is admitted."""
    index: int
    """Of the last decision delivered here."""
    suspended: bool
    """No quorum is heard: proposals are refused."""
    changing: bool
    """A change of the membership is under way: proposals wait for it."""
    ended: GroupEnded | None
    members: tuple[MemberStatus, ...]
    """The others, the most senior first."""
    waits_for: tuple[bytes, ...]
    """Whom the group waits for now, as far as it waits for others."""
    proposals: tuple[ProposalStatus, ...]
    """What is open here, in the order in which it will be delivered."""
    unsent: int
    """Own proposals that wait for room in the window, or for the change to be over."""
    leased: bool
    """A quorum has granted this member a lease: while that runs, reads need no message."""
    unwritten_s: float | None
    """How long the disk has owed what this member is to say next; None when it owes nothing."""

    @property
    def held_up(self) -> bool:
        """Somebody is not heard, or the disk or the oldest proposal takes more than a second."""
        return bool(self._hindrances())

    def __str__(self) -> str:
        return "; ".join((self._standing(), *self._hindrances()))

    def _standing(self) -> str:
        if self.ended is not None:
            return f"{self.name}: ended, {self.ended.reason}"
        if self.view is None:
            return f"{self.name}: joining"
        held = len(self.view.members)
        what = f"{self.name}: view {self.view.number} of {held}, {self.index} decided"
        if self.suspended:
            return f"{what}; suspended: no quorum is heard"
        return f"{what}; the membership changes" if self.changing else what

    def _hindrances(self) -> list[str]:
        said = []
        for member in self.members:
            if member.suspected_by:
                by = ", ".join(self._name(key) for key in member.suspected_by)
                said.append(f"{shown(member.key)} is not heard by {by}")
        if self.unwritten_s is not None and self.unwritten_s >= HELD_UP_S:
            said.append(f"the disk has not written for {self.unwritten_s:.0f} s")
        if self.proposals and self.proposals[0].open_s >= HELD_UP_S:
            said.append(self._oldest())
        return said

    def _oldest(self) -> str:
        first = self.proposals[0]
        whom = ", ".join(
            "this node's handler" if key == self.me else shown(key) for key in first.waits_for
        )
        rest = f", and {len(self.proposals) - 1} more" if len(self.proposals) > 1 else ""
        before = "the change of the group" if self.changing else "what is before it"
        waits = f"waits for {whom or before}"
        what = f"{first.kind!r} of {self._name(first.proposer)}"
        return f"{what} {waits} ({first.open_s:.0f} s){rest}"

    def _name(self, key: bytes) -> str:
        return "this node" if key == self.me else shown(key)


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How a node and its groups stand."""

    key: bytes
    address: Address
    groups: tuple[GroupStatus, ...]

    def __str__(self) -> str:
        host, port = self.address
        return "\n".join((f"{shown(self.key)} at {host}:{port}", *map(str, self.groups)))
