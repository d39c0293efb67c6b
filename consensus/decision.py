"""What a user's program sees of a proposal and of what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from consensus.codec import ValueRefused, pack_answer, unpack_untrusted
from consensus.core import types as core
from consensus.core.blob.tree import BlobRef
from consensus.core.errors import ConsensusError
from consensus.core.evidence.founding import CertificateError
from consensus.core.types import Outcome
from consensus.core.view import View


@dataclass(frozen=True, slots=True)
class Accept:
    """A member's yes, with an answer if it has one."""

    answer: Any = None
    packed: bytes | None = field(default=None, repr=False, compare=False)
    """The answer as it travels, where `accept` made it."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A member's no. One is enough."""

    reason: str


_ACCEPT = Accept()


def accept(answer: Any = None) -> Accept:
    """Vote for the proposal; `answer` reaches everybody with the decision.

    Raises ValueRefused when the answer cannot be carried, or takes more than 1024 bytes.
    """
    if answer is None:
        return _ACCEPT
    return Accept(answer, pack_answer(answer))


def reject(reason: str = "rejected") -> Reject:
    """Vote against the proposal: it will not be committed. Of the reason, 256 bytes are told."""
    return Reject(reason)


@dataclass(frozen=True, slots=True)
class ViewInfo:
    """A numbered membership, the most senior member first."""

    number: int
    members: tuple[bytes, ...]
    """The members' keys, 32 bytes each."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a handler is asked to vote on."""

    kind: str
    body: Any
    """Of "@kick" the reason, a text."""
    proposer: bytes
    """The proposer's key."""
    group: str | None
    """The group's name; None where a peer asked this node alone."""
    blobs: tuple[BlobRef, ...] = ()
    """Blobs the proposal names. They are held and verified before the handler is called."""
    deadline_s: float = 0.0
    """A vote later than this after the call counts as `reject("no answer in time")`."""
    subject: bytes | None = None
    """The key of who is to join ("@join") or to be removed ("@kick"), where a group's config has
    the application asked about that."""


Handler = Callable[[Proposal], Accept | Reject | Awaitable[Accept | Reject]]
H = TypeVar("H", bound=Handler)
"""A handler as it was written: decorators give back what they were given."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A proposal with its outcome and its place in the group's order."""

    outcome: Outcome
    index: int
    """Place in the group's one sequence of decisions, from 1; 0 when the outcome is unknown."""
    view: ViewInfo
    """The view it was decided in."""
    kind: str
    body: Any
    """Of "@kick" and "@leave" the reason, a text."""
    proposer: bytes
    answers: Mapping[bytes, Any] = field(default_factory=dict)
    """What each member answered, by key. The proposer's own is None."""
    reasons: Mapping[bytes, str] = field(default_factory=dict)
    """Why members rejected, by key."""
    blobs: tuple[BlobRef, ...] = ()
    subject: bytes | None = None
    """The key of who joins, leaves or is removed, in a decision on that."""
    source: tuple[Certify, core.Decision] | None = field(default=None, repr=False, compare=False)
    """Who gathers its certificate, and the decision as the group told it."""

    async def certificate(self) -> bytes:
        """As `Group.certificate`."""
        if self.source is None:
            raise CertificateError("a decision of two peers, or of no group, has no certificate")
        return await self.source[0](self)

    @property
    def committed(self) -> bool:
        """Everybody accepted."""
        return self.outcome is Outcome.COMMITTED


REASONED = (core.KICK, core.LEAVE)
"""Kinds of proposals whose body is a reason."""
Certify = Callable[[Decision], Awaitable[bytes]]
"""Gathers the certificate of a decision: `Group.certificate` of the group that made it."""


@dataclass(frozen=True, slots=True)
class ViewChanged:
    """The group has a new membership."""

    view: ViewInfo
    joined: tuple[bytes, ...]
    left: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SuspensionChanged:
    """This member cannot reach a quorum (or can again): proposals wait."""

    suspended: bool


@dataclass(frozen=True, slots=True)
class GroupEnded:
    """This member is no longer part of the group."""

    expelled: bool
    """Whether the others removed it; otherwise it left, or the group was lost."""
    reason: str


class Rejected(ConsensusError):
    """A peer that was asked said no. `reason` is its reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class OutcomeUnknown(ConsensusError):
    """The peer or the group was lost before the outcome was known: it may or may not have been."""


class Unreachable(OutcomeUnknown):
    """No presence with the peer came about. Most likely nothing has happened; but what was asked
    may have arrived with the last datagram of the attempt."""


def describe_view(view: View) -> ViewInfo:
    """The engine's view as a user sees it."""
    return ViewInfo(view.number, tuple(member.key for member in view.members))


def describe(
    decision: core.Decision, view: ViewInfo | None, certify: Certify | None = None
) -> Decision:
    """The engine's decision as a user sees it, told while `view` was installed."""
    proposal, index, content, outcome, answers, reasons = decision
    if view is None or view.number != proposal.view:
        view = ViewInfo(proposal.view, ())
    return Decision(
        outcome,
        index,
        view,
        content.kind,
        value(content.body) if content.kind not in REASONED else body_of(content),
        proposal.proposer.key,
        {member.key: value(answer) for member, answer in answers} if answers else {},
        {member.key: reason for member, reason in reasons} if reasons else {},
        tuple(BlobRef(root, size) for root, size in content.blobs) if content.blobs else (),
        None if content.subject is None else content.subject.key,
        None if certify is None else (certify, decision),
    )


def body_of(content: core.Content) -> Any:
    """What a proposal says, as a user sees it: of a kick or leave its reason, which is a text and
    no value. Raises ValueRefused."""
    if content.kind in REASONED:
        return content.body.decode("utf-8", "replace")
    return unpack_untrusted(content.body)


def value(data: bytes) -> Any:
    """What a member said, as a user sees it."""
    try:
        return unpack_untrusted(data)
    except ValueRefused:
        return None  # A member sent an answer that is no value: it answered nothing.
