"""`ask`: proposals in views of two, and who waits for their outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from consensus.core import outputs
from consensus.core.errors import ConsensusError
from consensus.core.types import Content, Outcome, Ticket
from consensus.decision import Decision, OutcomeUnknown, Rejected, Unreachable
from consensus.group import describe
from consensus.leasing import ReadReady
from consensus.pending import Pending
from consensus.slot import UNREACHABLE, TimedOut

if TYPE_CHECKING:
    from consensus.machine import Machine
    from transport.endpoint import Endpoint

ASKS_MAX = 65_536
"""Open questions of a node."""


class TooManyAsks(ConsensusError):
    """The node has more open questions than it keeps track of."""


class Asking:
    """The open questions of a node."""

    def __init__(self, machine: Machine, endpoint: Endpoint) -> None:
        self._machine = machine
        self._endpoint = endpoint
        self._pending = Pending[tuple[bytes, Ticket], Decision](endpoint.waiter)

    async def ask(
        self, peer: bytes, content: Content, timeout_s: float
    ) -> Any:
        """The peer's answer. Raises Rejected, TimeoutError, OutcomeUnknown, GroupError."""
        self._endpoint.check_open()
        if len(self._pending) >= ASKS_MAX:
            raise TooManyAsks(f"{ASKS_MAX} questions are open")
        machine, endpoint = self._machine, self._endpoint
        key = (peer, machine.ask(peer, content, endpoint.clock(), timeout_s))
        self._pending.expect(key)
        endpoint.touch()
        decision = await self._pending.wait(key)
        if decision.outcome is not Outcome.COMMITTED:
            raise Rejected(_other(decision.reasons, peer, decision.outcome.name.lower()))
        return _other(decision.answers, peer, None)

    def take(self, peer: bytes, output: outputs.Output | TimedOut | ReadReady) -> None:
        """Something the engine of a view of two has to say."""
        match output:
            case outputs.Decided(decision, ticket) if ticket is not None:
                # An unknown outcome is followed by Lost, which says why.
                known = decision.outcome is not Outcome.UNKNOWN
                if known and self._pending.wants((peer, ticket)):
                    self._pending.settle((peer, ticket), describe(decision, None))
            case TimedOut(ticket):
                error = TimeoutError(f"no answer from {peer.hex()[:16]} in time; it may still come")
                self._pending.fail((peer, ticket), error)
            case outputs.Lost(reason):
                kind = Unreachable if reason == UNREACHABLE else OutcomeUnknown
                self._pending.fail_all(lambda: kind(reason), lambda key: key[0] == peer)

    def close(self) -> None:
        """The node closes."""
        self._pending.fail_all(lambda: OutcomeUnknown("the node was closed"))


def _other(said: Mapping[bytes, Any], peer: bytes, otherwise: Any) -> Any:
    """What the other side of two has said; it alone is asked, so there is no one else's."""
    return said.get(peer, next(iter(said.values()), otherwise))
