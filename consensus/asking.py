"""`ask`: proposals in views of two, and who waits for their outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from consensus.core import outputs
from consensus.core.errors import ConsensusError
from consensus.core.types import Content, Outcome, Ticket
from consensus.decision import OutcomeUnknown, Rejected
from consensus.group import Pending, describe

if TYPE_CHECKING:
    from consensus.node import Node

ASKS_MAX = 65_536
"""Open questions of a node."""


class TooManyAsks(ConsensusError):
    """The node has more open questions than it keeps track of."""


class Asking:
    """The open questions of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pending: dict[tuple[bytes, Ticket], Pending] = {}

    async def ask(
        self, peer: bytes, kind: str, body: bytes, deadline_s: float, timeout_s: float
    ) -> Any:
        """The peer's answer. Raises Rejected, TimeoutError, OutcomeUnknown, GroupError."""
        if len(self._pending) >= ASKS_MAX:
            raise TooManyAsks(f"{ASKS_MAX} questions are open")
        content = Content(kind, body, (), int(1000 * deadline_s))
        ticket = self._node.machine_do(lambda m, now: m.ask(peer, content, now, timeout_s))
        key = (peer, ticket)
        pending = self._pending[key] = Pending()
        try:
            decision = await pending.wait(timeout_s)
        finally:
            del self._pending[key]
        if decision.outcome is not Outcome.COMMITTED:
            raise Rejected(decision.reasons.get(peer, decision.outcome.name.lower()))
        return decision.answers.get(peer)

    def take(self, peer: bytes, output: outputs.Output) -> None:
        """Something the engine of a view of two has to say."""
        match output:
            case outputs.Decided(decision, ticket) if ticket is not None:
                pending = self._pending.get((peer, ticket))
                if pending is not None:
                    pending.settle(describe(decision, None))
            case outputs.Lost(reason):
                for (asked, _), pending in self._pending.items():
                    if asked == peer:
                        pending.fail(OutcomeUnknown(reason))

    def close(self) -> None:
        """The node closes."""
        for pending in self._pending.values():
            pending.fail(OutcomeUnknown("the node was closed"))
