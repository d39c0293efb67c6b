"""A state that every member of a group holds a copy of, changed by the group's decisions.

The user gives three functions: `apply(command)` changes the state and returns a result,
`snapshot()` puts the state into bytes, `restore(data)` takes it from there. Every member applies
the same commands in the same order, so `apply` must depend on nothing but the state and the
command: no clock, no randomness, no files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from consensus.core.config import SNAPSHOT_SIZE_MAX, GroupConfig
from consensus.core.errors import GroupError
from consensus.core.types import Member, Outcome, Ticket
from consensus.decision import Accept, Decision, Proposal, Reject, Rejected, accept, reject
from consensus.machine import Machine, group_number

if TYPE_CHECKING:
    from consensus.group import Group
    from consensus.node import Node

log = logging.getLogger("quorate")
T = TypeVar("T")
COMMAND = "command"
"""The kind of the proposals that carry commands."""
DEADLINE_S = 30.0


class CommandFailed(GroupError):
    """The command was committed, and `apply` raised on it: at every member, if it is
    deterministic. The cause is what it raised here."""


class Replica:
    """One member's copy. Made by `Replica.found` and `Replica.join`.

    `apply(command)` is called for every committed command in the group's order, `snapshot()`
    when a joiner needs the state (at most 4 MiB; larger states go as a blob that it names), and
    `restore(data)` when this node joins, maybe more than once, each time in place of all before.
    `check(command)` may veto a command by returning a reason; it is asked when a command is
    proposed, before others that are under way are applied, so `apply` has to check again. All of
    them run in the event loop and must not block.
    """

    def __init__(
        self,
        *,
        apply: Callable[[Any], Any],
        snapshot: Callable[[], bytes],
        restore: Callable[[bytes], None],
        check: Callable[[Any], str | None] | None = None,
    ) -> None:
        self._apply = apply
        self._snapshot = snapshot
        self._restore = restore
        self._check = check
        self._group: Group | None = None
        self._node: Node | None = None
        self._results: dict[Ticket, Any] = {}
        self.index = 0
        """The index of the last decision that the state contains."""

    async def found(self, node: Node, name: str, *, config: GroupConfig | None = None) -> Group:
        """Found a group whose members hold this state. Raises as `Node.found`."""
        return await node.found(name, config=config, replica=self)

    async def join(self, node: Node, token: str, *, timeout_s: float = 30.0) -> Group:
        """Join such a group; the state is there when this returns. Raises as `Node.join`."""
        return await node.join(token, timeout_s=timeout_s, replica=self)

    @property
    def group(self) -> Group:
        """The group. Raises GroupError before `found` or `join`."""
        if self._group is None:
            raise GroupError("this replica is in no group")
        return self._group

    async def do(self, command: Any, *, timeout_s: float | None = 60.0) -> Any:
        """Have the command decided and applied everywhere; returns what `apply` returned here.

        Raises Rejected when a member vetoed it, CommandFailed when `apply` raised, and what
        `Group.propose` raises. After TimeoutError and OutcomeUnknown the command may have been
        applied or may still be: commands that are tried again need an id that `apply` knows.
        """
        group, node = self.group, self._node
        assert node is not None
        if group.ended is not None:
            raise GroupError(f"no longer a member of {group.name}: {group.ended.reason}")
        content = node.content(COMMAND, command, (), DEADLINE_S)
        number = group_number(group.id)
        mine: list[Ticket] = []

        def propose(machine: Machine, now: float) -> Ticket:
            ticket = machine.propose(number, content, now, timeout_s)
            mine.append(ticket)
            self._results[ticket] = None
            return ticket

        try:
            decision = await group.outcome(propose)
            result = self._results[mine[0]]
        finally:
            for ticket in mine:
                self._results.pop(ticket, None)
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

    def attach(self, node: Node, group: Group) -> None:
        """The group this is the state of. Raises GroupError when there is one already."""
        if self._group is not None and self._group.ended is None:
            raise GroupError("this replica is in a group already")
        self._node = node
        self._group = group
        self.index = 0
        self._results = {}
        group.on(COMMAND)(self._judge)

    def decided(self, decision: Decision, ticket: Ticket | None) -> None:
        """The next decision of the group."""
        if not decision.index:
            return  # An outcome that stayed unknown here.
        self.index = decision.index
        if decision.kind != COMMAND or decision.outcome is not Outcome.COMMITTED:
            return
        try:
            result = self._apply(decision.body)
        except Exception as error:  # It is the user's; the same happens everywhere.
            log.exception("apply failed on decision %d", decision.index)
            result = _Failure(error)
        if ticket is not None and ticket in self._results:
            self._results[ticket] = result

    def restored(self, index: int, data: bytes) -> None:
        """What another member's state was after the decision `index`."""
        self._restore(data)
        self.index = index

    def wanted(self, joiner: Member, index: int) -> None:
        """A joiner needs the state, which is that after the decision told last."""
        try:
            data = self._snapshot()
            if len(data) > SNAPSHOT_SIZE_MAX:
                raise GroupError(f"a snapshot has at most {SNAPSHOT_SIZE_MAX} bytes")
        except Exception:  # The join lapses, and is proposed again.
            log.exception("no snapshot for a joiner")
            return
        self.group.give_snapshot(joiner, max(index, self.index), data)

    def _judge(self, proposal: Proposal) -> Accept | Reject:
        reason = None if self._check is None else self._check(proposal.body)
        return accept() if reason is None else reject(reason)


class _Failure:
    def __init__(self, error: Exception) -> None:
        self.error = error
