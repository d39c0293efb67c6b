"""A user's handle on a group: propose, invite, kick, leave, and see what is decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, cast

import anyio

from consensus.arguments import check_handler, check_kind, check_timeout, make_content
from consensus.blobs.service import BlobService, OnProgress
from consensus.blobs.store import FetchReport
from consensus.core import types as core
from consensus.core.blob.tree import BlobRef
from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.evidence.founding import CertificateError
from consensus.core.evidence.notary import Notary
from consensus.core.types import Handle
from consensus.decision import (
    Decision,
    GroupEnded,
    H,
    Handler,
    ViewInfo,
    describe,
)
from consensus.groups.group_state import FellToChange, GroupState
from consensus.groups.history import Events, GroupEventKind
from consensus.groups.observed import Observed
from consensus.machine.instant import Span
from consensus.machine.lease_clock import ReadReady
from consensus.machine.machine import Machine
from consensus.node_context import NodeContext
from consensus.status import GroupStatus

CERTIFY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class GroupServices:
    """What a node does for its groups in parts that know what a group is, and are above it."""

    blobs: BlobService
    issue: Callable[[Group, bytes | None, float, int], str]
    """As `consensus.groups.invitations.Invitations.issue`."""
    revoke: Callable[[str], None]
    gather: Callable[[Group, core.Decision, float], Awaitable[bytes]]
    """As `consensus.groups.certificates.Certificates.gather`."""
    recorded: Callable[[bytes, int, int], Awaitable[list[core.Decision]]]
    """As `consensus.storage.durable_groups.DurableGroups.recorded`."""
    unwritten_since: Callable[[bytes], float | None]
    """As `consensus.storage.durable_groups.DurableGroups.unwritten_since`."""
    abandon: Callable[[Group], None]
    """Gives a group up at once."""


class Group:
    """This node's place in one group. Made by `Node.found` and `Node.join`."""

    def __init__(
        self,
        context: NodeContext,
        services: GroupServices,
        number: int,
        group_id: bytes,
        name: str,
        config: GroupConfig,
        notary: Notary | None = None,
    ) -> None:
        self._context = context
        self._services = services
        self._certify = self.certificate
        self.config = config
        self._number = number
        self.state = state = GroupState(name, self._certify, context.new_waiter)
        self.installed = state.installed
        self._observed = Observed(number)
        self._handlers: dict[str, Handler] = {}
        self.id = group_id
        self.notary = notary
        self.me = context.me if notary is None else notary.me
        """Which member this node is: it may have been another before, in the same group."""
        self.joining = False
        self.before: GroupEnded | None = None
        """While it joins: how this node's last time in the group ended."""
        self.name = name

    @property
    def view(self) -> ViewInfo:
        """The present membership; nobody's if all that is known of the group is that this node is
        out of it. Raises GroupError before the first."""
        if self.state.view is None and self.state.ended is None:
            raise GroupError("not admitted yet")
        return self.state.info

    @property
    def ended(self) -> GroupEnded | None:
        """Why this node is no longer a member, or None while it is one."""
        return self.state.ended

    @property
    def suspended(self) -> bool:
        """Whether this member hears no quorum, so that proposals are refused."""
        return self.state.suspended

    def status(self) -> GroupStatus:
        """How this member stands with the others, what is open here and whom that waits for. Its
        text (`str`) says it in words. A snapshot: cheap enough to be taken every second."""
        context, since = self._context, None
        if self.config.durable:
            since = self._services.unwritten_since(self.id)
        return self._observed.status(context.machine, self.state, context.clock(), since)

    def __repr__(self) -> str:
        return f"<Group {self.name!r}: {self.state.standing()}>"

    def on(self, kind: str) -> Callable[[H], H]:
        """Decorator: the function, plain or async, that votes on proposals of `kind` in this
        group. It takes a Proposal and returns `accept()` or `reject()`."""

        check_kind(kind)

        def register(handler: H) -> H:
            check_handler(handler)
            self._handlers[kind] = handler
            return handler

        return register

    def handler(self, kind: str) -> Handler | None:
        """Who votes on `kind`: the group's own handler, else the node's."""
        return self._handlers.get(kind) or self._context.handlers.get(kind)

    def invite(
        self,
        key: bytes | None = None,
        *,
        expires_in_s: float = 86_400.0,
        uses: int = 1,
    ) -> str:
        """An invitation as text: for the holder of `key`, or (None) for whoever holds the text.

        Good until it expires, for `uses` admissions; `revoke` ends it before. In a durable group it
        is on the disk when this returns. Raises GroupError, StoreError.
        """
        self.state.check()
        return self._services.issue(self, key, expires_in_s, uses)

    def revoke(self, token: str) -> None:
        """Make an invitation of this node's void. Raises TokenError when it is none."""
        self._services.revoke(token)

    async def propose(
        self,
        kind: str,
        body: Any = None,
        *,
        blobs: Sequence[BlobRef] = (),
        deadline_s: float = 30.0,
        timeout_s: float | None = 60.0,
    ) -> Decision:
        """Put something to the group and wait for the outcome, committed or rejected.

        `deadline_s` is what each member's program is granted to vote. Raises TimeoutError when
        the outcome is not known after `timeout_s` (the proposal stands), GroupError when the
        group takes no proposal, OutcomeUnknown when this member was cut off first, ValueRefused
        for a body that cannot be carried, BlobUnavailable for a blob that is not held here.
        Cancellation leaves the proposal standing.
        """
        self.state.check()
        check_timeout(timeout_s)
        content = make_content(kind, body, blobs, deadline_s)
        if not blobs:
            return await self.outcome(
                lambda m, now: m.propose(self._number, content, now, timeout_s)
            )
        async with self._services.blobs.named(blobs):
            return await self.outcome(
                lambda m, now: m.propose(self._number, content, now, timeout_s)
            )

    async def kick(self, key: bytes, reason: str = "", *, timeout_s: float = 60.0) -> Decision:
        """Propose to remove a member; it may not reject. A second member has to want it: by calling
        this too, by its handler of "@kick" in a group that asks programs about kicks, or because
        it has seen that member lie; else the kick is rejected as "not seen here". Raises as
        `propose`, and GroupError that says so if the member was removed by a change of the group
        before this was decided, or in a group of two without the casting vote."""
        self.state.check()
        member = next((m for m in self.state.members() if m.key == key), None)
        if member is None:
            raise GroupError("no member of the view has that key")
        try:
            return await self.outcome(
                lambda m, now: m.kick(self._number, member, reason, now, timeout_s)
            )
        except FellToChange as error:
            if member in self.state.members():
                raise
            why = "no member any more: a change of the group removed it before this was decided"
            raise GroupError(why) from error

    async def leave(self, *, timeout_s: float = 60.0) -> None:
        """Leave the group in order; returns once the others go on without this node. Raises
        GroupSuspended when no quorum is heard (see `abandon`), TimeoutError, GroupError."""
        self.state.check()
        self._context.do(lambda m, now: m.leave(self._number, now))
        with anyio.move_on_after(timeout_s):
            await self.state.history.ended.wait()
        if self.state.ended is None:
            raise TimeoutError(f"still a member of {self.name} after {timeout_s} s")

    def abandon(self) -> None:
        """Give the group up at once, without asking anybody: for a member that is suspended for
        good. The others take this node for silent and remove it."""
        self._services.abandon(self)

    async def read(self, *, timeout_s: float = 60.0) -> None:
        """Wait until this member has delivered every decision that was committed, to the
        knowledge of any member, when the call was made. Mostly that is at once and without a
        message: this member knows what it accepted, and holds a lease. Otherwise a quorum is
        asked, which takes a round trip. What the caller then looks up in its own state, without
        another `await`, is linearizable. (On a virtual machine that is paused, copied or put back
        to a snapshot it is if the group has no leases: `lease_s=0`.)

        Raises TimeoutError, GroupSuspended when no quorum is heard, GroupError.
        """
        begun = self._begin_read()
        if begun is None:
            return
        with anyio.fail_after(timeout_s):
            while begun is not None:
                if self._context.machine.runs(await self._wait_read(begun)):
                    return
                begun = self._begin_read()

    def _begin_read(self) -> Handle | None:
        """None: the read is done."""
        self.state.check()
        context = self._context
        while True:
            begun = context.look(lambda m, now: m.read(self._number, now))
            if type(begun) is not ReadReady:
                self.state.reads.expect(handle := cast(Handle, begun))
                context.endpoint.touch()
                return handle
            if begun.asks:
                context.endpoint.touch()
            if context.machine.runs(begun.span):
                return None

    async def _wait_read(self, handle: Handle) -> Span | None:
        try:
            return await self.state.reads.wait(handle)
        except BaseException:
            self._context.do(lambda m, now: m.cancel_read(self._number, handle))
            raise

    def events(self, *, from_now: bool = False) -> Events[GroupEventKind]:
        """All that happens in this group since this node is in it, as far as it is kept (the last
        EVENTS_KEPT), and then what comes: decisions, views, suspension, and the end, after which
        it stops. `from_now` leaves out what was. Raises EventsMissed when the reader falls more
        than that behind."""
        return Events(self.state.history, None, from_now=from_now)

    def decisions(self, *, from_now: bool = False) -> Events[Decision]:
        """The decisions alone, in the group's one order. As `events`."""
        return Events(self.state.history, Decision, from_now=from_now)

    async def share(self, path: str | PathLike[str], *, copy: bool = True) -> BlobRef:
        """Make a file available to the members; name the result in a proposal. Without `copy` it
        is given from where it lies, and must not change. Raises BlobError."""
        return await self._services.blobs.share(path, copy)

    async def fetch(
        self,
        ref: BlobRef,
        to: str | PathLike[str] | None = None,
        *,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> FetchReport:
        """Get a blob from the members who hold it, verified; also to the file `to`, if given.

        `on_progress(ref, bytes, bytes_total)` is called as it comes. Members that give what is not
        the blob are not asked again, and are in the report. Raises BlobUnavailable when nobody has
        all of it, or for a minute nothing came; TimeoutError after `timeout_s`; BlobDiskFull,
        BlobLimit, BlobError. Whatever came until then is kept, and not fetched again.
        """
        self.state.check()
        return await self._services.blobs.fetch(ref, self.peers(), to, on_progress, timeout_s)

    async def certificate(
        self, of: Decision | int, *, timeout_s: float = CERTIFY_TIMEOUT_S
    ) -> bytes:
        """Bytes that show a decision of this group, given or named by its index, to anybody who
        runs `quorate verify`: a quorum of the members sign for it now, having delivered it.

        Raises CertificateError when it is too old to be known here, fewer than a quorum sign in
        time, or how the group's views came about is not known; GroupError.
        """
        self.state.check()
        decision = self.state.history.decision(of) if isinstance(of, int) else of
        if decision is None:
            raise CertificateError(f"decision {of} is not known here, or no longer")
        if decision.source is None or decision.source[0] is not self._certify:
            raise CertificateError("not a decision of this group")
        return await self._services.gather(self, decision.source[1], timeout_s)

    async def recorded(self, after: int = 0, limit: int = 1000) -> list[Decision]:
        """Of a durable group, up to `limit` of the decisions on this node's disk with an index
        above `after`, in order: what was reported here is among them, and after a crash perhaps
        more. Their view names its number only. Raises StoreError."""
        decisions = await self._services.recorded(self.id, after, limit)
        return [self.told(decision) for decision in decisions]

    # For the node.

    async def changed(self) -> None:
        """Until anything happens in this group."""
        await self.state.history.changed()

    def told(self, decision: core.Decision) -> Decision:
        """A decision from the disk as a user sees it."""
        return describe(decision, None, self._certify)

    def peers(self) -> tuple[bytes, ...]:
        """The keys of the other members."""
        return tuple(m.key for m in self.state.members() if m.key != self._context.key)

    async def outcome(self, propose: Callable[[Machine, float], Handle]) -> Decision:
        """Have the machine propose something in this group, and wait for the decision."""
        # Those made while others are under way travel together: in a turn of the event loop there
        # are often many of them.
        pending = self.state.proposals
        handle = self._context.do(propose, pending.expect, together=len(pending) > 0)
        return await pending.wait(handle)

    def give_snapshot(self, joiner: core.Member, index: int, data: bytes | None) -> None:
        """The state for a joiner, as it is after the decision `index`; None if there is none."""
        number = self._number
        self._context.do(lambda m, now: m.snapshot(number, joiner, index, data, now))

    def close(self, reason: str) -> None:
        """The node closes, or gives the group up."""
        self.state.end(GroupEnded(False, reason))
