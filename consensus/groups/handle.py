"""A user's handle on a group: propose, invite, kick, leave, and see what is decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import anyio

from consensus.arguments import check_handler, check_kind, check_timeout, make_content
from consensus.blobs.service import OnProgress
from consensus.blobs.store import FetchReport
from consensus.codec import ValueRefused, unpack_untrusted
from consensus.core import outputs
from consensus.core import types as core
from consensus.core.blob.tree import BlobRef
from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.evidence.founding import CertificateError
from consensus.core.evidence.notary import Notary
from consensus.core.types import Ticket
from consensus.core.view import View
from consensus.decision import (
    Accept,
    Decision,
    GroupEnded,
    OutcomeUnknown,
    Proposal,
    Reject,
    SuspensionChanged,
    ViewChanged,
    ViewInfo,
)
from consensus.groups.certificates import CERTIFY_TIMEOUT_S
from consensus.groups.history import Events, GroupEventKind, History
from consensus.groups.waiters import Pending
from consensus.machine.hosted_group import TimedOut
from consensus.machine.lease_clock import ReadReady

if TYPE_CHECKING:
    from consensus.machine.machine import Machine
    from consensus.node import Node

Handler = Callable[[Proposal], Accept | Reject | Awaitable[Accept | Reject]]
H = TypeVar("H", bound=Handler)
"""A handler as it was written: decorators give back what they were given."""


class Observer(Protocol):
    """What keeps a state that the group's decisions make; see `consensus.groups.replica`."""

    def decided(self, decision: Decision, ticket: Ticket | None) -> None:
        """The next decision; with a ticket if this node proposed it."""

    def restored(self, index: int, data: bytes) -> None:
        """This node joins: what another member's `wanted` gave, after the decision `index`."""

    def wanted(self, joiner: core.Member, index: int) -> None:
        """A joiner needs the state, as it is after the decision told last."""


class Group:
    """This node's place in one group. Made by `Node.found` and `Node.join`."""

    def __init__(
        self,
        node: Node,
        number: int,
        group_id: bytes,
        name: str,
        config: GroupConfig,
        notary: Notary | None = None,
    ) -> None:
        self._node = node
        self.config = config
        self._number = number
        self._view: View | None = None
        self._info = ViewInfo(0, ())
        self._history = History(lambda decision, view: describe(decision, view, self))
        self._pending = Pending[Ticket, Decision](node._new_waiter)
        self._reading = Pending[Ticket, float | None](node._new_waiter)
        self._handlers: dict[str, Handler] = {}
        self.observer: Observer | None = None
        self._ended: GroupEnded | None = None
        self._suspended = False
        self.id = group_id
        self.notary = notary
        self.name = name
        self.installed = anyio.Event()

    @property
    def view(self) -> ViewInfo:
        """The present membership. Raises GroupError before the first."""
        if self._view is None:
            raise GroupError("not admitted yet")
        return self._info

    @property
    def ended(self) -> GroupEnded | None:
        """Why this node is no longer a member, or None while it is one."""
        return self._ended

    @property
    def suspended(self) -> bool:
        """Whether this member hears no quorum, so that proposals are refused."""
        return self._suspended

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
        return self._handlers.get(kind) or self._node._handler(kind)

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
        self._check()
        return self._node._invitations.issue(self, key, expires_in_s, uses)

    def revoke(self, token: str) -> None:
        """Make an invitation of this node's void. Raises TokenError when it is none."""
        self._node._invitations.revoke(token)

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
        self._check()
        check_timeout(timeout_s)
        content = make_content(kind, body, blobs, deadline_s)
        if not blobs:
            return await self.outcome(
                lambda m, now: m.propose(self._number, content, now, timeout_s)
            )
        async with self._node._blobs.named(blobs):
            return await self.outcome(
                lambda m, now: m.propose(self._number, content, now, timeout_s)
            )

    async def kick(self, key: bytes, reason: str = "", *, timeout_s: float = 60.0) -> Decision:
        """Propose to remove a member; it may not reject. Raises as `propose`."""
        self._check()
        member = next((m for m in self._members() if m.key == key), None)
        if member is None:
            raise GroupError("no member of the view has that key")
        return await self.outcome(
            lambda m, now: m.kick(self._number, member, reason, now, timeout_s)
        )

    async def leave(self, *, timeout_s: float = 60.0) -> None:
        """Leave the group in order; returns once the others go on without this node. Raises
        GroupSuspended when no quorum is heard (see `abandon`), TimeoutError, GroupError."""
        self._check()
        self._node._machine_do(lambda m, now: m.leave(self._number, now))
        with anyio.move_on_after(timeout_s):
            await self._history.ended.wait()
        if self._ended is None:
            raise TimeoutError(f"still a member of {self.name} after {timeout_s} s")

    def abandon(self) -> None:
        """Give the group up at once, without asking anybody: for a member that is suspended for
        good. The others take this node for silent and remove it."""
        self._node._abandon(self)

    async def read(self, *, timeout_s: float = 60.0) -> None:
        """Wait until this member has delivered every decision that was committed, to the
        knowledge of any member, when the call was made. Mostly that is at once and without a
        message: this member knows what it accepted, and holds a lease. Otherwise a quorum is
        asked, which takes a round trip. What the caller then looks up in its own state, without
        another `await`, is linearizable.

        Raises TimeoutError, GroupSuspended when no quorum is heard, GroupError.
        """
        begun = self._begin_read()
        if begun is None:
            return
        with anyio.fail_after(timeout_s):
            while begun is not None:
                if self._good(await self._wait_read(begun)):
                    return
                begun = self._begin_read()

    def _begin_read(self) -> Ticket | None:
        """None: the read is done."""
        self._check()
        node = self._node
        while True:
            begun = node._machine_look(lambda m, now: m.read(self._number, now))
            if type(begun) is not ReadReady:
                self._reading.expect(ticket := cast(Ticket, begun))
                node._carry_out()
                return ticket
            if begun.asks:
                node._carry_out()
            if self._good(begun.until):
                return None

    async def _wait_read(self, ticket: Ticket) -> float | None:
        try:
            return await self._reading.wait(ticket)
        except BaseException:
            self._node._machine_do(lambda m, now: m.cancel_read(self._number, ticket))
            raise

    def _good(self, until: float | None) -> bool:
        """The clock, looked at again: this process may have been stopped meanwhile."""
        return until is None or self._node._clock() < until

    def events(self, *, from_now: bool = False) -> Events[GroupEventKind]:
        """All that happens in this group since this node is in it, as far as it is kept (the last
        EVENTS_KEPT), and then what comes: decisions, views, suspension, and the end, after which
        it stops. `from_now` leaves out what was. Raises EventsMissed when the reader falls more
        than that behind."""
        return Events(self._history, None, from_now=from_now)

    def decisions(self, *, from_now: bool = False) -> Events[Decision]:
        """The decisions alone, in the group's one order. As `events`."""
        return Events(self._history, Decision, from_now=from_now)

    async def share(self, path: str | PathLike[str], *, copy: bool = True) -> BlobRef:
        """Make a file available to the members; name the result in a proposal. Without `copy` it
        is given from where it lies, and must not change. Raises BlobError."""
        return await self._node.share(path, copy=copy)

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
        self._check()
        return await self._node.fetch(ref, self.peers(), to, on_progress, timeout_s)

    async def certificate(
        self, of: Decision | int, *, timeout_s: float = CERTIFY_TIMEOUT_S
    ) -> bytes:
        """Bytes that show a decision of this group, given or named by its index, to anybody who
        runs `quorate verify`: a quorum of the members sign for it now, having delivered it.

        Raises CertificateError when it is too old to be known here, fewer than a quorum sign in
        time, or how the group's views came about is not known; GroupError.
        """
        self._check()
        decision = self._history.decision(of) if isinstance(of, int) else of
        if decision is None:
            raise CertificateError(f"decision {of} is not known here, or no longer")
        if decision.source is None or decision.source[0] is not self:
            raise CertificateError("not a decision of this group")
        return await self._node._certificates.gather(self, decision.source[1], timeout_s)

    async def recorded(self, after: int = 0, limit: int = 1000) -> list[Decision]:
        """Of a durable group, up to `limit` of the decisions on this node's disk with an index
        above `after`, in order: what was reported here is among them, and after a crash perhaps
        more. Their view names its number only. Raises StoreError."""
        decisions = await self._node._recorded(self.id, after, limit)
        return [describe(decision, None, self) for decision in decisions]

    # For the node.

    async def changed(self) -> None:
        """Until anything happens in this group."""
        await self._history.changed()

    def peers(self) -> tuple[bytes, ...]:
        """The keys of the other members."""
        return tuple(m.key for m in self._members() if m.key != self._node.key)

    async def outcome(self, propose: Callable[[Machine, float], Ticket]) -> Decision:
        """Have the machine propose something in this group, and wait for the decision."""
        # Those made while others are under way travel together: in a turn of the event loop there
        # are often many of them.
        pending = self._pending
        ticket = self._node._machine_do(propose, pending.expect, together=len(pending) > 0)
        return await pending.wait(ticket)

    def give_snapshot(self, joiner: core.Member, index: int, data: bytes | None) -> None:
        """The state for a joiner, as it is after the decision `index`; None if there is none."""
        number = self._number
        self._node._machine_do(lambda m, now: m.snapshot(number, joiner, index, data, now))

    def take(self, output: outputs.Output | TimedOut | ReadReady) -> None:
        """Something the engine has to say."""
        if type(output) is outputs.Decided:
            decision, ticket = output
            self._history.add((decision, self._info))
            if ticket is None and self.observer is None:
                return
            described = describe(decision, self._info, self)
            if self.observer is not None:
                self.observer.decided(described, ticket)
            if ticket is not None:
                if described.outcome is core.Outcome.UNKNOWN:
                    unknown = OutcomeUnknown("cut off before the outcome was known")
                    self._pending.fail(ticket, unknown)
                else:
                    self._pending.settle(ticket, described)
            return
        match output:
            case ReadReady(ticket, until):
                self._reading.settle(ticket, until)
            case outputs.SnapshotReceived(index, data) if self.observer is not None:
                self.observer.restored(index, data)
            case outputs.SnapshotWanted(joiner, index) if self.observer is not None:
                self.observer.wanted(joiner, index)
            case TimedOut(ticket):
                self._pending.fail(ticket, TimeoutError("no outcome in time; it may still come"))
            case outputs.Abandoned(ticket, None):
                error = GroupError("abandoned by a change of the group")
                self._pending.fail(ticket, error)
            case outputs.Installed(view):
                before, self._view = self._members(), view
                self._info = _describe_view(view)
                keys, old = [m.key for m in view.members], [m.key for m in before]
                joined = tuple(key for key in keys if key not in old)
                left = tuple(key for key in old if key not in keys)
                self._history.add(ViewChanged(self._info, joined, left))
                self.installed.set()
            case outputs.Suspended(flag):
                self._suspended = flag
                self._history.add(SuspensionChanged(flag))
            case outputs.Expelled(reason):
                self._end(GroupEnded(True, reason))
            case outputs.Lost(reason):
                self._end(GroupEnded(False, reason))

    def close(self, reason: str) -> None:
        """The node closes, or gives the group up."""
        self._end(GroupEnded(False, reason))

    def _members(self) -> tuple[core.Member, ...]:
        return self._view.members if self._view is not None else ()

    def _check(self) -> None:
        if self._ended is not None:
            raise GroupError(f"no longer a member of {self.name}: {self._ended.reason}")

    def _end(self, event: GroupEnded) -> None:
        if self._ended is not None:
            return
        self._ended = event
        self._history.add(event)
        self._reading.fail_all(lambda: GroupError(f"cut off from {self.name}: {event.reason}"))
        self.installed.set()
        self._pending.fail_all(
            lambda: OutcomeUnknown(f"cut off from {self.name}: {event.reason}")
        )


def _describe_view(view: View) -> ViewInfo:
    return ViewInfo(view.number, tuple(member.key for member in view.members))


def describe(
    decision: core.Decision, view: ViewInfo | None, group: Group | None = None
) -> Decision:
    """The engine's decision as a user sees it, told while `view` was installed in `group`."""
    proposal, index, content, outcome, answers, reasons = decision
    if view is None or view.number != proposal.view:
        view = ViewInfo(proposal.view, ())
    return Decision(
        outcome,
        index,
        view,
        content.kind,
        value(content.body),
        proposal.proposer.key,
        {member.key: value(answer) for member, answer in answers} if answers else {},
        {member.key: reason for member, reason in reasons} if reasons else {},
        tuple(BlobRef(root, size) for root, size in content.blobs) if content.blobs else (),
        None if content.subject is None else content.subject.key,
        None if group is None else (group, decision),
    )


def value(data: bytes) -> Any:
    """What a member said, as a user sees it."""
    try:
        return unpack_untrusted(data)
    except ValueRefused:
        return None  # A member sent an answer that is no value: it answered nothing.
