"""A state that every member of a group holds a copy of, changed by the group's decisions.

The user gives three functions: `apply(command)` changes the state and returns a result,
`snapshot()` puts the state into bytes, `restore(data)` takes it from there. Every member applies
the same commands in the same order, so `apply` must depend on nothing but the state and the
command: no clock, no randomness, no files.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from consensus.arguments import make_content
from consensus.core.config import SNAPSHOT_SIZE_MAX, GroupConfig
from consensus.core.errors import GroupError
from consensus.core.types import Handle, Member, Outcome
from consensus.decision import (
    Accept,
    Decision,
    Proposal,
    Reject,
    Rejected,
    accept,
    body_of,
    reject,
)
from consensus.groups.handle import Group
from consensus.machine.machine import Machine, group_number

log = logging.getLogger("quorate")
T = TypeVar("T")
Keep = Callable[[int, bytes], None]
"""`keep(index, data)`: have the state after this decision written to the disk."""
COMMAND = "command"
"""The kind of the proposals that carry commands."""
DEADLINE_S = 30.0
SAVE_EVERY = 4096
"""Decisions after which the state of a durable group is written to the disk: no more than about so
many commands are applied again after a restart. Each time costs what `snapshot()` takes."""


class Enters(Protocol):
    """Of a node: how it comes into groups."""

    async def found(
        self,
        name: str,
        *,
        config: GroupConfig | None = None,
        replica: Replica | None = None,
        durable: bool = False,
    ) -> Group:
        """As `Node.found`."""

    async def join(
        self, token: str, *, timeout_s: float = 30.0, replica: Replica | None = None
    ) -> Group:
        """As `Node.join`."""


class CommandFailed(GroupError):
    """The command was committed, and `apply` raised on it: at every member, if it is
    deterministic. The cause is what it raised here."""


class RestoreFailed(GroupError):
    """`restore` raised on a state, or the state cannot be taken: this node is not in the group.
    The cause is what it raised."""


class Replica:
    """One member's copy. Put to use by `Replica.found` and `Replica.join`, and for a durable group
    after a restart by `Node.resume(replicas=...)`.

    `apply(command)` is called for every committed command in the group's order, `snapshot()`
    when a joiner needs the state (at most 4 MiB; larger states go as a blob that it names) or the
    disk of a durable group does, and `restore(data)` when this node joins or goes on after a
    restart, maybe more than once, each time in place of all before.
    `check(command)` may veto a command by returning a reason; every member's is asked, the
    proposer's own before anything is sent, also where it is alone in the group. That is when the
    command is proposed, before others that are under way are applied: `apply` checks again. All of
    them run in the event loop, must not block, and are no coroutine functions: between two
    commands nothing else may see, or change, the state. Raises TypeError for one that is.

    When `apply` raises, the command counts as done and its `do` raises CommandFailed: an `apply`
    that has to undo something does so before it raises, as it does everywhere. When `restore`
    raises, the group is given up. When `snapshot` raises, the joiner is not admitted, and a state
    that was to go to the disk goes there later.
    """

    def __init__(
        self,
        *,
        apply: Callable[[Any], Any],
        snapshot: Callable[[], bytes],
        restore: Callable[[bytes], None],
        check: Callable[[Any], str | None] | None = None,
    ) -> None:
        for function in (apply, snapshot, restore, check):
            if _is_async(function):
                raise TypeError(f"a replica's functions are called and not awaited: {function!r}")
        self._apply = apply
        self._snapshot = snapshot
        self._restore = restore
        self._check = check
        self._group: Group | None = None
        self._results: dict[Handle, Any] = {}
        self._keep: Keep | None = None
        self._kept_index = 0
        self._failed: Exception | None = None
        self.index = 0
        """The index of the last decision that the state contains."""

    async def found(
        self,
        node: Enters,
        name: str,
        *,
        config: GroupConfig | None = None,
        durable: bool = False,
    ) -> Group:
        """Found a group whose members hold this state. Raises as `Node.found`."""
        return await node.found(name, config=config, replica=self, durable=durable)

    async def join(self, node: Enters, token: str, *, timeout_s: float = 30.0) -> Group:
        """Join such a group; the state is there when this returns. Raises RestoreFailed, and what
        `Node.join` raises."""
        return await node.join(token, timeout_s=timeout_s, replica=self)

    @property
    def group(self) -> Group:
        """The group. Raises GroupError before `found` or `join`."""
        if self._group is None:
            raise GroupError("this replica is in no group")
        return self._group

    async def do(self, command: Any, *, timeout_s: float | None = 60.0) -> Any:
        """Have the command decided and applied everywhere; returns what `apply` returned here.

        Raises Rejected when a member, this one included, vetoed it, CommandFailed when `apply`
        raised, and what `Group.propose` raises. After TimeoutError and OutcomeUnknown the command
        may have been applied or may still be: commands that are tried again need an id that
        `apply` knows.
        """
        group = self.group
        if group.ended is not None:
            raise GroupError(f"no longer a member of {group.name}: {group.ended.reason}")
        content = make_content(COMMAND, command, (), DEADLINE_S)
        self._check_own(body_of(content))
        number = group_number(group.id)
        mine: list[Handle] = []

        def propose(machine: Machine, now: float) -> Handle:
            handle = machine.propose(number, content, now, timeout_s)
            mine.append(handle)
            self._results[handle] = None
            return handle

        try:
            decision = await group.outcome(propose)
            result = self._results[mine[0]]
        finally:
            for handle in mine:
                self._results.pop(handle, None)
        if decision.outcome is not Outcome.COMMITTED:
            raise Rejected("; ".join(filter(None, decision.reasons.values())) or "rejected")
        if isinstance(result, _Failure):
            raise CommandFailed(f"apply raised {result.error!r}") from result.error
        return result

    async def read(self, look: Callable[[], T], *, timeout_s: float = 60.0) -> T:
        """What `look` returns once the state contains every command whose `do` had returned,
        anywhere, before this call. Mostly without any message. Raises as `Group.read`."""
        await self.group.read(timeout_s=timeout_s)
        return look()

    # For the group.

    def attach(self, group: Group, keep: Keep | None) -> None:
        """The group this is the state of, and where the state is kept, if anywhere. Raises
        GroupError when there is one already."""
        if self._group is not None and self._group.ended is None:
            raise GroupError("this replica is in a group already")
        self._group = group
        self._keep = keep
        self._kept_index = 0
        self._failed = None
        self.index = 0
        self._results = {}
        group.on(COMMAND)(self._judge)

    def resume(self, state: tuple[int, bytes] | None, decisions: Iterable[Decision]) -> None:
        """Be as this node's disk says: the state saved last, and what was decided since. Raises
        RestoreFailed."""
        if state is not None:
            try:
                self._take(*state)
            except Exception as error:  # It is the user's.
                self._failed = error
                self.check_restored()
        for decision in decisions:
            self._advance(decision)

    def decided(self, decision: Decision, handle: Handle | None) -> None:
        """The next decision of the group."""
        if not decision.index or self._failed is not None:
            return  # An outcome that stayed unknown here, or a state that is none.
        result = self._advance(decision)
        if handle is not None and handle in self._results:
            self._results[handle] = result
        if self._keep is not None and self.index - self._kept_index >= SAVE_EVERY:
            self._save(self._keep)

    def _advance(self, decision: Decision) -> Any:
        """Apply a decision if it is a command; the result, or `_Failure`."""
        self.index = decision.index
        if decision.kind != COMMAND or decision.outcome is not Outcome.COMMITTED:
            return None
        try:
            return _not_awaitable(self._apply(decision.body))
        except Exception as error:  # It is the user's; the same happens everywhere.
            log.exception("apply failed on decision %d", decision.index)
            return _Failure(error)

    def restored(self, index: int, data: bytes) -> None:
        """What another member's state was after the decision `index`."""
        try:
            self._take(index, data)
        except Exception as error:  # It is the user's. What is left of the state is no state.
            log.exception("restore failed on the state after decision %d", index)
            self._failed = error
            self.group.abandon()

    def check_restored(self) -> None:
        """Raise RestoreFailed if the state given last could not be taken."""
        if self._failed is not None:
            raise RestoreFailed(f"restore raised {self._failed!r}") from self._failed

    def _take(self, index: int, data: bytes) -> None:
        _not_awaitable(self._restore(data))
        self.index = self._kept_index = index

    def _packed(self) -> bytes:
        data = _not_awaitable(self._snapshot())
        if not isinstance(data, bytes):
            raise TypeError(f"snapshot returned {type(data).__name__}, not bytes")
        if len(data) > SNAPSHOT_SIZE_MAX:
            raise GroupError(f"a snapshot has at most {SNAPSHOT_SIZE_MAX} bytes")
        return data

    def _save(self, keep: Keep) -> None:
        self._kept_index = self.index  # If it fails, it is tried again as much later.
        try:
            data = self._packed()
        except Exception:  # Nothing is lost: what was decided stays on the disk.
            log.exception("no snapshot for the disk after decision %d", self.index)
            return
        keep(self.index, data)

    def wanted(self, joiner: Member, index: int) -> None:
        """A joiner needs the state, which is that after the decision told last."""
        try:
            data = self._packed()
        except Exception:  # It is the user's. The joiner is told that it cannot come in here.
            log.exception("no snapshot for a joiner")
            self.group.give_snapshot(joiner, index, None)
            return
        self.group.give_snapshot(joiner, max(index, self.index), data)

    def _check_own(self, command: Any) -> None:
        """Proposing is accepting, so what this member thinks is asked before. Raises Rejected."""
        try:
            reason = self._reason_against(command)
        except Exception as error:  # It is the user's, and a veto as it is at other members.
            log.exception("check failed")
            raise Rejected("check failed") from error
        if reason is not None:
            raise Rejected(reason)

    def _judge(self, proposal: Proposal) -> Accept | Reject:
        reason = self._reason_against(proposal.body)
        return accept() if reason is None else reject(reason)

    def _reason_against(self, command: Any) -> str | None:
        return None if self._check is None else _not_awaitable(self._check(command))


def _is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def _not_awaitable(result: T) -> T:
    """Raise TypeError for what would have to be awaited to happen."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError("it returned something to be awaited: a replica's functions just run")
    return result


Replicas = Mapping[str | bytes, Replica]
"""By the name of the group, or by its id."""


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error
