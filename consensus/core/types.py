"""The values a group is made of, what it is given and what it gives back.

All of them are tuples: immutable, hashable and cheap. `Member` is opaque to the engine, which
only hashes and compares it; the explorer may use any small comparable value instead.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple, TypeAlias

from consensus.core.numbers import BallotNumber, Clock, Index, Key, Mask, Rank, ViewNumber

Handle: TypeAlias = int
"""The local handle of a proposal; it survives resubmission under another id."""

JOIN, LEAVE, KICK = "@join", "@leave", "@kick"
"""The reserved kinds; an application's kinds do not start with `@`."""


class Member(NamedTuple):
    """One life of a peer: its Ed25519 public key (32 bytes) and its incarnation (64 bits)."""

    key: bytes
    incarnation: int


class ProposalId(NamedTuple):
    """What names a proposal everywhere, for good."""

    view: ViewNumber
    clock: Clock
    proposer: Member


class Content(NamedTuple):
    """What is proposed. `blobs` are pairs of a 32-byte root and a size in bytes. Only reserved
    kinds have a `subject` (who joins, leaves or is kicked) and `where` (a joiner's addresses)."""

    kind: str
    body: bytes = b""
    blobs: tuple[tuple[bytes, int], ...] = ()
    deadline_ms: int = 30_000
    subject: Member | None = None
    where: bytes = b""


Answers: TypeAlias = tuple[tuple[Rank, bytes], ...]
"""What members said beside accepting, in rank order."""

Reasons: TypeAlias = tuple[tuple[Rank, str], ...]
"""Why members rejected, or why they are out, in rank order."""

Entry: TypeAlias = tuple[Key, int, Content, Answers, Reasons]
"""(key, outcome, content, answers, reasons): one settled proposal, as a trim or a decision
carries it."""

Value: TypeAlias = tuple[Mask, Member | None, Reasons, tuple[Entry, ...], Index, Mask]
"""(kept, joiner, reasons, trim, end, struck): what a synod chooses. `kept` is the mask of the ranks
that go on, `joiner` the member added at the end or None, `reasons` says why the others do not,
`trim` is a tuple of entries in order of their keys and `end` the index of its last. `struck` are
those who stay after a dispute (S4)."""

Strikes: TypeAlias = tuple[tuple[bytes, int], ...]
"""(key, strikes) of those who stayed after disputes, the last to get one at the end (S4)."""

Held: TypeAlias = tuple[Key, Index, int, Content, Answers, Reasons]
"""(key, index, own, content, answers, reasons): a proposal as a member's promise tells of it.
`index` is its place if it was delivered there, or 0, `own` what the member itself did about it
(see `trim`)."""

Promise: TypeAlias = tuple[Index, BallotNumber, Value | None, tuple[Held, ...], Index]
"""(stable index, accepted ballot or 0, accepted value or None, held, index): a member's frozen
state. `index` is that of the last decision it has delivered: on the lane, the message's mark."""

LinkFields: TypeAlias = tuple[
    BallotNumber, Mask, Member | None, Index, bytes, tuple[tuple[Rank, bytes], ...]
]
"""The fields of a `certificate.Link`."""


class Vote(NamedTuple):
    """A member's answer: accept with an optional answer, or reject with a reason."""

    accept: bool
    answer: bytes = b""
    reason: str = ""


class Outcome(IntEnum):
    """What became of a proposal; UNKNOWN only at a member that was cut off."""

    COMMITTED = 1
    REJECTED = 2
    ABANDONED = 3
    UNKNOWN = 4


class Proposal(NamedTuple):
    """Something to vote on."""

    id: ProposalId
    content: Content


class Decision(NamedTuple):
    """A proposal with its outcome and its place.

    `index` counts from 1 over all views. It is 0 where there is no order: in the view of two of
    `ask`, and for an outcome that stayed unknown. `answers` holds what accepting members said
    beside accepting, `reasons` what is known here of why it was rejected, both in rank order.
    """

    id: ProposalId
    index: Index  # type: ignore[assignment]
    content: Content
    outcome: Outcome
    answers: tuple[tuple[Member, bytes], ...] = ()
    reasons: tuple[tuple[Member, str], ...] = ()

    @property
    def view(self) -> ViewNumber:
        return self.id.view

    @property
    def proposer(self) -> Member:
        return self.id.proposer

    @property
    def kind(self) -> str:
        return self.content.kind

    @property
    def body(self) -> bytes:
        return self.content.body

    @property
    def blobs(self) -> tuple[tuple[bytes, int], ...]:
        return self.content.blobs


class OpenProposal(NamedTuple):
    """A proposal whose outcome was not told here, and whose vote or clock it waits for: of this
    member itself the vote of its program. Nobody's, if it waits for what is before it in the order,
    or for a change of the group."""

    id: ProposalId
    kind: str
    waits_for: tuple[Member, ...]
    rejected: bool
    """Somebody has rejected it; that is not stored widely enough yet."""


class Candidate(NamedTuple):
    """Who wants to join and where it may be found (opaque to the engine)."""

    member: Member
    where: bytes


class Timer(NamedTuple):
    """A named timer. Arming an armed timer replaces it; firing one that no longer matters, or
    firing one late, is harmless."""

    name: str
    key: int = 0
