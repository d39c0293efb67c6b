"""Joins, leaves and kicks: what the committed ones amount to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from consensus.core.config import REASON_SIZE_MAX
from consensus.core.errors import GroupError
from consensus.core.numbers import RANK_MASK, Key, Mask, Rank
from consensus.core.types import JOIN, KICK, LEAVE, Content, Handle, Member, Reasons
from consensus.core.view import View


class Sponsorship:
    """A joiner this member proposed: what to propose again if the join lapses."""

    __slots__ = ("attempts", "content", "handle", "settled")

    def __init__(
        self, content: Content, handle: Handle, attempts: int, settled: bool = False
    ) -> None:
        self.content = content
        self.handle = handle
        self.attempts = attempts
        """How often it was proposed, but for the times another joiner was let in instead."""
        self.settled = settled
        """Whoever asked for it has been told an outcome."""

    def fork(self) -> Sponsorship:
        return Sponsorship(self.content, self.handle, self.attempts, self.settled)

    def state(self) -> tuple[Any, ...]:
        return self.content, self.handle, self.attempts, self.settled


class Change(NamedTuple):
    """What a change of membership comes to."""

    kept: Mask
    joiner: Member | None
    reasons: Reasons


REASON_LEFT = "left"
REASON_SILENT = "silent"
REASON_STALLED = "heard, but made no progress"


def reason_text(content: Content) -> str:
    """Why somebody is out, as the others will be told."""
    said = content.body.decode("utf-8", "replace")
    if content.kind == LEAVE:
        return f"{REASON_LEFT}: {said}" if said else REASON_LEFT
    return f"kicked: {said}" if said else "kicked"


def removal(kind: str, reason: str, subject: Member) -> Content:
    """A kick or leave of `subject`. Raises GroupError for a reason that is too long."""
    body = reason.encode()
    if len(body) > REASON_SIZE_MAX - 16:
        raise GroupError(f"a reason has at most {REASON_SIZE_MAX - 16} bytes")
    return Content(kind, body, subject=subject)


def is_sound(content: Content, proposer: Member, view: View) -> bool:
    """Whether a proposal on membership is one that a member may make at all."""
    kind, subject = content.kind, content.subject
    if kind == LEAVE:
        return subject == proposer
    if kind == KICK:
        return subject in view.members and subject != proposer
    return kind == JOIN and subject is not None


def next_members(
    view: View,
    promisers: Mask,
    silent: Mask,
    stalled: Mask,
    decided: Iterable[tuple[Key, str, Member, str]],
    kick_counts: Callable[[Rank, Mask, Mask], bool],
    joiner_ready: Callable[[Rank, Member, Mask], bool],
) -> Change:
    """Apply committed membership decisions, (key, kind, subject, reason) in order of keys (R11).

    The next members are the promisers, less those a quorum holds to be silent (of whom `stalled`
    are heard and made no progress), those leaving and those kicked, plus at most one joiner (R10).
    `kick_counts(proposer, promisers, removed)` and `joiner_ready(sponsor, joiner, kept)` are rules
    of the caller.
    """
    reasons: dict[int, str] = {}
    removed = 0
    joins: list[tuple[int, Member]] = []
    for key, kind, subject, reason in decided:
        proposer = key & RANK_MASK
        if kind == JOIN:
            joins.append((proposer, subject))
            continue
        if subject not in view.members:
            continue
        target = view.members.index(subject)
        if kind == LEAVE or (kind == KICK and kick_counts(proposer, promisers, removed)):
            if not removed >> target & 1:
                reasons[target] = reason
            removed |= 1 << target
    kept = promisers & ~silent & ~removed
    for rank in range(len(view.members)):
        if not kept >> rank & 1:
            reasons.setdefault(rank, REASON_STALLED if stalled >> rank & 1 else REASON_SILENT)
    joiner = next((j for sponsor, j in joins if joiner_ready(sponsor, j, kept)), None)
    return Change(kept, joiner, tuple(sorted(reasons.items())))
