"""What the engine has told of a group so far, and those who wait for what it tells next."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import anyio

from consensus.core import outputs
from consensus.core import types as core
from consensus.core.errors import GroupError
from consensus.core.tables.membership_rules import REASON_LEFT
from consensus.core.types import Handle
from consensus.core.view import View
from consensus.decision import (
    Certify,
    Decision,
    GroupEnded,
    OutcomeUnknown,
    SuspensionChanged,
    ViewChanged,
    ViewInfo,
    describe,
    describe_view,
)
from consensus.groups.history import History
from consensus.groups.waiters import Waiters
from consensus.machine.hosted_group import TimedOut
from consensus.machine.instant import Span
from consensus.machine.lease_clock import ReadReady
from consensus.status import shown
from transport.event_loop import Waiter

log = logging.getLogger("quorate.group")


class FellToChange(GroupError):
    """A proposal that is not made again was abandoned by a change of the group."""


class Observer(Protocol):
    """What keeps a state that the group's decisions make; see `consensus.groups.replica`."""

    def decided(self, decision: Decision, handle: Handle | None) -> None:
        """The next decision; with a handle if this node proposed it."""

    def restored(self, index: int, data: bytes) -> None:
        """This node joins: what another member's `wanted` gave, after the decision `index`."""

    def wanted(self, joiner: core.Member, index: int) -> None:
        """A joiner needs the state, as it is after the decision told last."""


class GroupState:
    """One group's. `certify` is what its decisions gather their certificates by."""

    def __init__(self, name: str, certify: Certify, new_waiter: Callable[[], Waiter]) -> None:
        self.name = name
        self.view: View | None = None
        self.info = ViewInfo(0, ())
        """The view as a user sees it."""
        self.suspended = False
        self.ended: GroupEnded | None = None
        self.installed = anyio.Event()
        """There is a view, or never will be."""
        self.history = History(lambda decision, view: describe(decision, view, certify))
        self.proposals = Waiters[Handle, Decision](new_waiter)
        self.reads = Waiters[Handle, Span | None](new_waiter)
        self.observer: Observer | None = None
        self._certify = certify

    def members(self) -> tuple[core.Member, ...]:
        """Those of the view."""
        return self.view.members if self.view is not None else ()

    def standing(self) -> str:
        """In a few words."""
        if self.ended is not None:
            return f"ended, {self.ended.reason}"
        if self.view is None:
            return "joining"
        what = "suspended in view" if self.suspended else "view"
        return f"{what} {self.info.number} of {len(self.info.members)}"

    def check(self) -> None:
        """Raise GroupError once this node is no longer a member."""
        if self.ended is not None:
            raise GroupError(f"no longer a member of {self.name}: {self.ended.reason}")

    def decided(self, output: outputs.Decided) -> None:
        """The next decision."""
        decision, handle = output
        self.history.add((decision, self.info))
        if handle is None and self.observer is None:
            return
        described = describe(decision, self.info, self._certify)
        if self.observer is not None:
            self.observer.decided(described, handle)
        if handle is not None:
            if described.outcome is core.Outcome.UNKNOWN:
                unknown = OutcomeUnknown("cut off before the outcome was known")
                self.proposals.fail(handle, unknown)
            else:
                self.proposals.settle(handle, described)

    def take(self, output: outputs.Output | TimedOut | ReadReady) -> None:
        """Something else that the engine has to say."""
        match output:
            case ReadReady(handle, span):
                self.reads.settle(handle, span)
            case outputs.SnapshotReceived(index, data):
                # A join that lapsed may have told of decisions before; between them and the next
                # time's there is a gap.
                self.history.begin_again()
                if self.observer is not None:
                    self.observer.restored(index, data)
            case outputs.SnapshotWanted(joiner, index) if self.observer is not None:
                self.observer.wanted(joiner, index)
            case TimedOut(handle):
                error = TimeoutError("no outcome in time; it may still come")
                self.proposals.fail(handle, error)
            case outputs.Abandoned(handle, None):
                self.proposals.fail(handle, FellToChange("abandoned by a change of the group"))
            case outputs.Installed(view):
                self._install(view)
            case outputs.Suspended(flag):
                self.suspended = flag
                told = "hears no quorum: it is suspended" if flag else "hears a quorum again"
                log.warning("%s: this member %s", self.name, told)
                self.history.add(SuspensionChanged(flag))
            case outputs.Expelled(reason):
                self.end(GroupEnded(True, reason))
            case outputs.Lost(reason):
                self.end(GroupEnded(False, reason))

    def end(self, event: GroupEnded) -> None:
        """This node is no longer a member. The first reason counts."""
        if self.ended is not None:
            return
        self.ended = event
        removed = event.expelled and not event.reason.startswith(REASON_LEFT)
        log.log(
            logging.WARNING if removed else logging.INFO,
            "%s: this node is no longer in it: %s", self.name, event.reason,
        )  # fmt: skip
        self.history.add(event)
        why = f"cut off from {self.name}: {event.reason}"
        self.reads.fail_all(lambda: GroupError(why))
        self.installed.set()
        self.proposals.fail_all(lambda: OutcomeUnknown(why))

    def _install(self, view: View) -> None:
        before, self.view = self.members(), view
        self.info = describe_view(view)
        keys, old = [m.key for m in view.members], [m.key for m in before]
        joined = tuple(key for key in keys if key not in old)
        left = tuple(key for key in old if key not in keys)
        log.info(
            "%s: view %d of %d; in: %s; out: %s", self.name, view.number, len(keys),
            ", ".join(map(shown, joined)) or "-", ", ".join(map(shown, left)) or "-",
        )  # fmt: skip
        self.history.add(ViewChanged(self.info, joined, left))
        self.installed.set()
