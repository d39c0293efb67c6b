"""How a node comes to its votes: blobs first, then the handler, whatever it does.

Handlers are the user's, and what makes them run is a peer's: nothing that one raises, returns or
fails to return may reach beyond its own vote.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import anyio.lowlevel

from consensus.arguments import RESERVED_PREFIX
from consensus.blobs.errors import BlobError, BlobLimit, disk_error
from consensus.blobs.service import BlobService, OnProgress
from consensus.codec import pack_answer
from consensus.core.blob.tree import BlobRef
from consensus.core.config import REASON_SIZE_MAX
from consensus.core.errors import ConsensusError
from consensus.core.types import Proposal as CoreProposal
from consensus.core.types import ProposalId, Vote
from consensus.decision import Accept, Decision, Handler, Proposal, Reject, body_of
from consensus.groups.asking import Asking
from consensus.groups.handle import Group
from consensus.groups.history import Events, EventsMissed
from consensus.node_context import NodeContext
from transport.core.errors import TransportError

log = logging.getLogger("quorate")
BLOBS_SHARE = 0.9
"""Of a proposal's deadline: after so much of it the reason for a reject is that blobs are not here,
and not that a program did not answer. What has come is kept."""
KEPT_MAX_S = 60.0
"""Beyond its deadline a proposal is decided soon, or its group is suspended: its blobs may go."""
ROOM_WAIT_S = 2.0
"""How long a vote whose blobs find no room waits for the decisions of others; then it takes the
room of those that have been voted on."""
LET_GO_S = 0.1
"""Whoever reads the decisions gets this one first."""
Answer = Callable[[ProposalId, Vote], None]
_YES = Vote(True)


class VoteHandlers:
    """Finds and calls the handlers of one node."""

    def __init__(self, context: NodeContext, asking: Asking, blobs: BlobService) -> None:
        self._context = context
        self._asking = asking
        self._blobs = blobs
        self.on_progress: OnProgress | None = None
        """Told of the blobs that votes wait for; see `Node.on_progress`."""
        self._with_blobs: dict[ExitStack, anyio.Event] = {}
        """What the votes hold whose blobs are being fetched, or kept for the decision, the oldest
        first; and what tells each that there may be room now."""
        self._voted: dict[ExitStack, None] = {}
        """Of those: the ones whose vote is given."""

    def wanted_by_peer(self, peer: bytes, asked: CoreProposal) -> None:
        """A peer asks this node alone."""

        def answer(proposal: ProposalId, vote: Vote) -> None:
            self._asking.answer(peer, proposal, vote)

        if asked.content.blobs:
            # Anybody may ask; only members make this node fetch what they name.
            answer(asked.id, _no("blobs are for proposals in a group"))
        else:
            self._wanted(None, asked, answer)

    def wanted_by_group(self, group: Group, number: int, asked: CoreProposal) -> None:
        """A group wants this member's vote."""

        def answer(proposal: ProposalId, vote: Vote) -> None:
            self._context.do(lambda m, now: m.answer(number, proposal, vote, now))

        self._wanted(group, asked, answer)

    def _wanted(self, group: Group | None, asked: CoreProposal, answer: Answer) -> None:
        """Find the handler and vote; a plain handler's vote is given before this returns."""
        kind = asked.content.kind
        if group is None:
            handler = self._context.handlers.get(kind)
        elif kind.startswith(RESERVED_PREFIX):
            handler = None  # The framework's own questions are for one peer, not for a group.
        else:
            handler = group.handler(kind)
        if handler is None:
            answer(asked.id, _no("no handler"))
            return
        try:
            content = asked.content
            proposal = Proposal(
                kind,
                body_of(content),
                asked.id.proposer.key,
                None if group is None else group.name,
                tuple(BlobRef(root, size) for root, size in content.blobs) if content.blobs else (),
                content.deadline_ms / 1000,
                None if content.subject is None else content.subject.key,
            )
        except ConsensusError as error:
            answer(asked.id, _no(f"unreadable: {error}"))
            return
        if proposal.blobs and group is not None:
            self._context.spawn(self._fetch_and_judge, group, handler, proposal, asked.id, answer)
            return
        result = _call(handler, proposal)
        if type(result) is not Vote:
            self._context.spawn(self._await_vote, result, proposal, asked.id, answer)
        else:
            answer(asked.id, result)

    async def _fetch_and_judge(
        self,
        group: Group,
        handler: Handler,
        proposal: Proposal,
        proposal_id: ProposalId,
        answer: Answer,
    ) -> None:
        peers = group.peers()
        decisions = group.decisions(from_now=True)
        vote = _no("could not get the blob")
        # What was fetched stays until the decision has come: one of the blobs must not make room
        # for the next, and whoever voted for them has them when they are decided.
        with ExitStack() as kept, self._holding_blobs(kept):
            # After the deadline the engine has voted for this member: nobody waits any more.
            with anyio.move_on_after(proposal.deadline_s):
                try:
                    with anyio.fail_after(BLOBS_SHARE * proposal.deadline_s):
                        await self._fetch(proposal.blobs, peers, kept)
                except (ConsensusError, TransportError, OSError) as error:
                    log.warning("no vote for %r: %s", proposal.kind, error)
                    vote = _no(f"could not get the blob: {_told(error)}")
                else:
                    result = _call(handler, proposal)
                    vote = result if type(result) is Vote else await _awaited(result, proposal)
            answer(proposal_id, vote)
            if vote.accept:
                self._voted[kept] = None
                with anyio.move_on_after(proposal.deadline_s + KEPT_MAX_S):
                    await _decided(decisions, proposal_id)

    @contextmanager
    def _holding_blobs(self, kept: ExitStack) -> Iterator[None]:
        self._with_blobs[kept] = anyio.Event()
        try:
            yield
        finally:
            kept.close()
            self._voted.pop(kept, None)
            del self._with_blobs[kept]
            for room in self._with_blobs.values():
                room.set()

    async def _fetch(
        self, refs: tuple[BlobRef, ...], peers: tuple[bytes, ...], kept: ExitStack
    ) -> None:
        """Fetch, once there is room: what other votes hold is let go soon. Of two that have no
        room for each other the younger begins anew."""
        while True:
            self._with_blobs[kept] = room = anyio.Event()
            kept.enter_context(await self._blobs.wanted(refs))
            try:
                for ref in refs:
                    await self._blobs.fetch(ref, peers, None, self._progress, None)
                return
            except BlobLimit:
                if len(self._with_blobs) == 1 and not room.is_set():
                    raise
            oldest = next(iter(self._with_blobs))
            if oldest is not kept:
                kept.close()
                self._with_blobs[oldest].set()
            with anyio.move_on_after(ROOM_WAIT_S):
                await room.wait()
                continue
            # What was voted on may be ordered after this very proposal, so that neither would end.
            for voted in self._voted:
                voted.close()

    async def _await_vote(
        self, result: Awaitable[Any], proposal: Proposal, proposal_id: ProposalId, answer: Answer
    ) -> None:
        with anyio.move_on_after(proposal.deadline_s):
            answer(proposal_id, await _awaited(result, proposal))

    def _progress(self, ref: BlobRef, done: int, total: int) -> None:
        told = self.on_progress
        if told is not None:
            try:
                told(ref, done, total)
            except Exception:  # The user's: a fetch goes on without it.
                log.exception("on_progress failed")


async def _decided(decisions: Events[Decision], proposal: ProposalId) -> None:
    """Until the outcome of the proposal has been told, or the group has ended."""
    try:
        async for decision in decisions:
            if decision.source is not None and decision.source[1].id == proposal:
                await anyio.sleep(LET_GO_S)
                return
    except EventsMissed:
        pass  # It is long past.


async def _awaited(result: Awaitable[Any], proposal: Proposal) -> Vote:
    try:
        return _vote(await result)
    except Exception:
        return _failed(proposal)
    except anyio.get_cancelled_exc_class():
        # Of this task, by the node or the deadline: a point where that shows. If there is none,
        # what the handler awaited was cancelled by somebody else, which is its failure.
        await anyio.lowlevel.checkpoint_if_cancelled()
        return _failed(proposal)


def _call(handler: Handler, proposal: Proposal) -> Any:
    """The vote, or what is to be awaited for it."""
    try:
        result = handler(proposal)
        if type(result) is not Accept and inspect.isawaitable(result):
            return result
        return _vote(result)
    except Exception:
        return _failed(proposal)


def _failed(proposal: Proposal) -> Vote:
    log.exception("the handler of %r failed", proposal.kind)
    return _no("the handler failed")


def _told(error: Exception) -> str:
    """Why a blob is not here, as other members may know it."""
    if isinstance(error, BlobError):
        return error.told
    if isinstance(error, TimeoutError):
        return "not here in time"
    if isinstance(error, OSError):
        return disk_error(error, "").told
    return "the members are not reached"


def _no(reason: str) -> Vote:
    data = str(reason).encode(errors="replace")[:REASON_SIZE_MAX]
    return Vote(False, b"", data.decode(errors="ignore"))


def _vote(result: object) -> Vote:
    if isinstance(result, Accept):
        packed = pack_answer(result.answer) if result.packed is None else result.packed
        return Vote(True, packed) if packed else _YES
    if isinstance(result, Reject):
        return _no(result.reason)
    raise TypeError(f"{type(result).__name__} instead of accept() or reject()")
