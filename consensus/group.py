"""A user's handle on a group: propose, invite, kick, leave, and see what is decided."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio

from consensus.blobservice import OnProgress
from consensus.core import outputs
from consensus.core import types as core
from consensus.core.blobtree import BlobRef
from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.types import Outcome, Ticket
from consensus.core.view import View
from consensus.decision import (
    Accept,
    Decision,
    GroupEnded,
    OutcomeUnknown,
    Reject,
    SuspensionChanged,
    ViewChanged,
    ViewInfo,
)
from consensus.values import ValueRefused, unpack_untrusted

if TYPE_CHECKING:
    from consensus.node import Node

EVENTS_KEPT = 4096
"""Events that a slow reader may be behind."""

GroupEventKind = Decision | ViewChanged | SuspensionChanged | GroupEnded
E = TypeVar("E", bound=GroupEventKind)
Handler = Callable[..., Accept | Reject | Awaitable[Accept | Reject]]


class EventsMissed(GroupError):
    """The reader fell so far behind that events were dropped."""


class Pending:
    """A caller who waits for the outcome of a proposal of his own."""

    __slots__ = ("decision", "done", "error")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.decision: Decision | None = None
        self.error: Exception | None = None

    async def wait(self, timeout_s: float | None) -> Decision:
        """The decision. Raises TimeoutError, or what ended the waiting."""
        if not self.done.is_set():
            if timeout_s is None:
                await self.done.wait()
            else:
                with anyio.move_on_after(timeout_s):
                    await self.done.wait()
        if self.error is not None:
            raise self.error
        if self.decision is None:
            raise TimeoutError(f"no outcome within {timeout_s} s; it may still come")
        return self.decision

    def settle(self, decision: Decision) -> None:
        """The outcome is known, or it is known that it never will be."""
        if decision.outcome is Outcome.UNKNOWN:
            self.fail(OutcomeUnknown("cut off before the outcome was known"))
        else:
            self.decision = decision
            self.done.set()

    def fail(self, error: Exception) -> None:
        """There will be no outcome here."""
        if not self.done.is_set():
            self.error = error
            self.done.set()


class History:
    """The last events of a group, and who waits for the next."""

    def __init__(self) -> None:
        self.events: deque[GroupEventKind] = deque(maxlen=EVENTS_KEPT)
        self.number = 0
        """How many there have been."""
        self.news = anyio.Event()
        self.ended = anyio.Event()

    def add(self, event: GroupEventKind) -> None:
        """One more."""
        self.events.append(event)
        self.number += 1
        self.news.set()
        self.news = anyio.Event()
        if isinstance(event, GroupEnded):
            self.ended.set()


class Events(Generic[E]):
    """An asynchronous iterator over what happens in a group. It costs nothing to drop one."""

    def __init__(self, history: History, kind: type[E] | None) -> None:
        self._history = history
        self._kind = kind
        self._at = history.number

    def __aiter__(self) -> Events[E]:
        return self

    async def __anext__(self) -> E:
        history = self._history
        while True:
            while self._at < history.number:
                behind = history.number - self._at
                if behind > len(history.events):
                    raise EventsMissed(f"more than {EVENTS_KEPT} events behind")
                event = history.events[-behind]
                self._at += 1
                if self._kind is None or isinstance(event, self._kind):
                    return cast(E, event)
            if history.ended.is_set():
                raise StopAsyncIteration
            await history.news.wait()


class Group:
    """This node's place in one group. Made by `Node.found` and `Node.join`."""

    def __init__(
        self, node: Node, number: int, group_id: bytes, name: str, config: GroupConfig
    ) -> None:
        self._node = node
        self.config = config
        self._number = number
        self._view: View | None = None
        self._history = History()
        self._pending: dict[Ticket, Pending] = {}
        self._handlers: dict[str, Handler] = {}
        self._ended: GroupEnded | None = None
        self._suspended = False
        self.id = group_id
        self.name = name
        self.installed = anyio.Event()

    @property
    def view(self) -> ViewInfo:
        """The present membership. Raises GroupError before the first."""
        if self._view is None:
            raise GroupError("not admitted yet")
        return _info(self._view)

    @property
    def ended(self) -> GroupEnded | None:
        """Why this node is no longer a member, or None while it is one."""
        return self._ended

    @property
    def suspended(self) -> bool:
        """Whether this member hears no quorum, so that proposals are refused."""
        return self._suspended

    def on(self, kind: str) -> Callable[[Handler], Handler]:
        """Decorator: the function, plain or async, that votes on proposals of `kind` in this
        group. It takes a Proposal and returns `accept()` or `reject()`."""

        def register(handler: Handler) -> Handler:
            self._handlers[kind] = handler
            return handler

        return register

    def handler(self, kind: str) -> Handler | None:
        """Who votes on `kind`: the group's own handler, else the node's."""
        return self._handlers.get(kind) or self._node.handler(kind)

    def invite(
        self,
        key: bytes | None = None,
        *,
        expires_in_s: float = 86_400.0,
        uses: int = 1,
    ) -> str:
        """An invitation as text: for the holder of `key`, or (None) for whoever holds the text.

        Good until it expires, for `uses` admissions; `revoke` ends it before. Raises GroupError.
        """
        self._check()
        return self._node.invitations.issue(self, key, expires_in_s, uses)

    def revoke(self, token: str) -> None:
        """Make an invitation of this node's void. Raises TokenError when it is none."""
        self._node.invitations.revoke(token)

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
        for a body that cannot be carried. Cancellation leaves the proposal standing.
        """
        self._check()
        content = self._node.content(kind, body, blobs, deadline_s)
        ticket = self._node.machine_do(lambda m, now: m.propose(self._number, content, now))
        return await self.wait(ticket, timeout_s)

    async def kick(self, key: bytes, reason: str = "", *, timeout_s: float = 60.0) -> Decision:
        """Propose to remove a member; it may not reject. Raises as `propose`."""
        self._check()
        member = next((m for m in self._members() if m.key == key), None)
        if member is None:
            raise GroupError("no member of the view has that key")
        ticket = self._node.machine_do(lambda m, now: m.kick(self._number, member, reason, now))
        return await self.wait(ticket, timeout_s)

    async def leave(self, *, timeout_s: float = 60.0) -> None:
        """Leave the group in order; returns once the others go on without this node."""
        self._check()
        self._node.machine_do(lambda m, now: m.leave(self._number, now))
        with anyio.fail_after(timeout_s):
            await self._history.ended.wait()

    def events(self) -> Events[GroupEventKind]:
        """All that happens from now on: decisions, views, suspension, and the end, after which
        it stops. Raises EventsMissed when the reader is more than EVENTS_KEPT behind."""
        return Events(self._history, None)

    def decisions(self) -> Events[Decision]:
        """The decisions from now on, in the group's one order. Raises as `events`."""
        return Events(self._history, Decision)

    async def share(self, path: str | PathLike[str]) -> BlobRef:
        """Make a file available to the members; name the result in a proposal."""
        return await self._node.share(path)

    async def fetch(
        self,
        ref: BlobRef,
        to: str | PathLike[str] | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Get a blob from the members who hold it, verified; also to the file `to`, if given."""
        self._check()
        await self._node.fetch(ref, self.peers(), to, on_progress)

    # For the node.

    def peers(self) -> tuple[bytes, ...]:
        """The keys of the other members."""
        return tuple(m.key for m in self._members() if m.key != self._node.key)

    async def wait(self, ticket: Ticket, timeout_s: float | None) -> Decision:
        """The decision on an own proposal."""
        pending = self._pending.setdefault(ticket, Pending())
        try:
            return await pending.wait(timeout_s)
        finally:
            self._pending.pop(ticket, None)

    def take(self, output: outputs.Output) -> None:
        """Something the engine has to say."""
        match output:
            case outputs.Decided(decision, ticket):
                described = describe(decision, self._view)
                self._history.add(described)
                if ticket is not None:
                    self._pending.setdefault(ticket, Pending()).settle(described)
            case outputs.Abandoned(ticket, None):
                self._fail(ticket, GroupError("abandoned by a change of the group"))
            case outputs.Installed(view):
                before, self._view = self._members(), view
                keys, old = [m.key for m in view.members], [m.key for m in before]
                joined = tuple(key for key in keys if key not in old)
                left = tuple(key for key in old if key not in keys)
                self._history.add(ViewChanged(_info(view), joined, left))
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
        self.installed.set()
        for pending in self._pending.values():
            pending.fail(OutcomeUnknown(f"cut off from {self.name}: {event.reason}"))

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        self._pending.setdefault(ticket, Pending()).fail(error)


def _info(view: View) -> ViewInfo:
    return ViewInfo(view.number, tuple(member.key for member in view.members))


def describe(decision: core.Decision, view: View | None) -> Decision:
    """The engine's decision as a user sees it, told while `view` was installed."""
    members = () if view is None else tuple(member.key for member in view.members)
    return Decision(
        outcome=decision.outcome,
        index=decision.index,
        view=ViewInfo(decision.view, members),
        kind=decision.kind,
        body=_value(decision.body),
        proposer=decision.proposer.key,
        answers={member.key: _value(answer) for member, answer in decision.answers},
        reasons={member.key: reason for member, reason in decision.reasons},
        blobs=tuple(BlobRef(root, size) for root, size in decision.blobs),
        subject=None if decision.content.subject is None else decision.content.subject.key,
    )


def _value(data: bytes) -> Any:
    try:
        return unpack_untrusted(data)
    except ValueRefused:
        return None  # A member sent an answer that is no value: it answered nothing.
