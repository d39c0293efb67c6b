"""How a node comes to its votes: blobs first, then the handler, whatever it does."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

from consensus.core.blobtree import BlobRef
from consensus.core.config import ANSWER_SIZE_MAX, REASON_SIZE_MAX
from consensus.core.errors import ConsensusError
from consensus.core.types import Proposal as CoreProposal
from consensus.core.types import ProposalId, Vote
from consensus.decision import Accept, Proposal, Reject, reject
from consensus.values import pack, unpack_untrusted
from transport.core.errors import TransportError

if TYPE_CHECKING:
    from consensus.group import Group, Handler
    from consensus.node import Node

log = logging.getLogger("quorate")
RESERVED_PREFIX = "quorate."
BLOBS_SHARE = 0.9
"""Of a proposal's deadline: after so much of it the reason for a reject is that blobs are not here,
and not that a program did not answer."""
Answer = Callable[[ProposalId, Vote], None]


class Voting:
    """Finds and calls the handlers of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def wanted_by_peer(self, peer: bytes, asked: CoreProposal) -> None:
        """A peer asks this node alone."""

        def answer(proposal: ProposalId, vote: Vote) -> None:
            self._node.machine_do(lambda m, now: m.answer_peer(peer, proposal, vote, now))

        self._wanted(None, asked, answer)

    def wanted_by_group(self, group: Group, number: int, asked: CoreProposal) -> None:
        """A group wants this member's vote."""

        def answer(proposal: ProposalId, vote: Vote) -> None:
            self._node.machine_do(lambda m, now: m.answer(number, proposal, vote, now))

        self._wanted(group, asked, answer)

    def _wanted(self, group: Group | None, asked: CoreProposal, answer: Answer) -> None:
        """Find the handler and vote; a plain handler's vote is given before this returns."""
        kind = asked.content.kind
        if group is None:
            handler = self._node.handler(kind)
        elif kind.startswith(RESERVED_PREFIX):
            handler = None  # The framework's own questions are for one peer, not for a group.
        else:
            handler = group.handler(kind)
        if handler is None:
            answer(asked.id, Vote(False, b"", "no handler"))
            return
        try:
            content = asked.content
            proposal = Proposal(
                kind,
                unpack_untrusted(content.body),
                asked.id.proposer.key,
                None if group is None else group.name,
                tuple(BlobRef(root, size) for root, size in content.blobs) if content.blobs else (),
                content.deadline_ms / 1000,
            )
        except ConsensusError as error:
            answer(asked.id, _no(f"unreadable: {error}"))
            return
        if proposal.blobs:
            self._node.spawn(self._fetch_and_judge, group, handler, proposal, asked.id, answer)
            return
        result = _call(handler, proposal)
        if type(result) is not Accept and inspect.isawaitable(result):
            self._node.spawn(self._await_vote, result, proposal, asked.id, answer)
        else:
            answer(asked.id, _vote(result))

    async def _fetch_and_judge(
        self,
        group: Group | None,
        handler: Handler,
        proposal: Proposal,
        proposal_id: ProposalId,
        answer: Answer,
    ) -> None:
        peers = (proposal.proposer,) if group is None else group.peers()
        try:
            with anyio.move_on_after(BLOBS_SHARE * proposal.deadline_s) as scope:
                for ref in proposal.blobs:
                    await self._node.fetch(ref, peers, None, self._node.on_progress)
            if scope.cancelled_caught:
                # What has come is kept: another proposal of it will find it further on.
                answer(proposal_id, _no("could not get the blob: it did not come in time"))
                return
        except (ConsensusError, TransportError, OSError) as error:
            answer(proposal_id, _no(f"could not get the blob: {error}"))
            return
        result = _call(handler, proposal)
        if inspect.isawaitable(result):
            await self._await_vote(result, proposal, proposal_id, answer)
        else:
            answer(proposal_id, _vote(result))

    async def _await_vote(
        self,
        result: Awaitable[Accept | Reject],
        proposal: Proposal,
        proposal_id: ProposalId,
        answer: Answer,
    ) -> None:
        vote: Accept | Reject
        try:
            vote = await result
        except Exception:  # A handler is the user's: whatever it raises is a no, and is logged.
            log.exception("the handler of %r failed", proposal.kind)
            vote = reject("the handler failed")
        answer(proposal_id, _vote(vote))


def _no(reason: str) -> Vote:
    return Vote(False, b"", reason.encode()[:REASON_SIZE_MAX].decode(errors="ignore"))


def _call(handler: Handler, proposal: Proposal) -> Any:
    try:
        return handler(proposal)
    except Exception:  # As above.
        log.exception("the handler of %r failed", proposal.kind)
        return reject("the handler failed")


def _vote(result: object) -> Vote:
    match result:
        case Accept(answer):
            packed = pack(answer)
            if len(packed) <= ANSWER_SIZE_MAX:
                return Vote(True, packed)
            log.error("an answer of %d bytes; at most %d fit", len(packed), ANSWER_SIZE_MAX)
            return Vote(False, b"", "the answer is too large")
        case Reject(reason):
            return _no(reason)
    log.error("a handler returned %r instead of accept() or reject()", type(result).__name__)
    return Vote(False, b"", "the handler gave no vote")
