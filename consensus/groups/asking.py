"""`ask`: proposals in views of two, and who waits for their outcomes."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from consensus.core import outputs
from consensus.core.errors import ConsensusError
from consensus.core.types import Content, Handle, Outcome, ProposalId, Vote
from consensus.decision import OutcomeUnknown, Rejected, Unreachable, value
from consensus.groups.waiters import Waiters
from consensus.machine.hosted_group import UNREACHABLE, TimedOut
from consensus.machine.lease_clock import ReadReady
from consensus.machine.machine import Machine
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
        self._pending = Waiters[tuple[bytes, Handle], Any](endpoint.waiter)

    def ask(self, peer: bytes, content: Content, timeout_s: float) -> Coroutine[Any, Any, Any]:
        """Ask at once; await the result, for the peer's answer. Raises GroupError; the result
        raises Rejected, TimeoutError, OutcomeUnknown."""
        self._endpoint.check_open()
        if len(self._pending) >= ASKS_MAX:
            raise TooManyAsks(f"{ASKS_MAX} questions are open")
        machine, endpoint = self._machine, self._endpoint
        key = (peer, machine.ask(peer, content, endpoint.clock(), timeout_s))
        # While others are open, callers are answered several at a time, and ask again at that.
        together = len(self._pending) > 0
        self._pending.expect(key)
        endpoint.touch(together=together)
        return self._pending.wait(key)

    def answer(self, peer: bytes, proposal: ProposalId, vote: Vote) -> None:
        """This node's vote on what a peer asked. Raises EndpointClosed once the node is."""
        endpoint = self._endpoint
        endpoint.check_open()
        self._machine.answer_peer(peer, proposal, vote, endpoint.clock())
        endpoint.touch()

    def take(self, peer: bytes, output: outputs.Output | TimedOut | ReadReady) -> None:
        """Something the engine of a view of two has to say."""
        if type(output) is outputs.Decided:
            self._decided(peer, output)
            return
        match output:
            case TimedOut(handle):
                error = TimeoutError(f"no answer from {peer.hex()[:16]} in time; it may still come")
                self._pending.fail((peer, handle), error)
            case outputs.Lost(reason):
                kind = Unreachable if reason == UNREACHABLE else OutcomeUnknown
                self._pending.fail_all(lambda: kind(reason), lambda key: key[0] == peer)

    def _decided(self, peer: bytes, decided: outputs.Decided) -> None:
        decision, handle = decided
        if handle is None:
            return
        outcome = decision.outcome
        # The other side of two alone is asked, so what was said is what it said.
        if outcome is Outcome.COMMITTED:
            answer = value(decision.answers[0][1]) if decision.answers else None
            self._pending.settle((peer, handle), answer)
        elif outcome is not Outcome.UNKNOWN:  # That is followed by Lost, which says why.
            reason = decision.reasons[0][1] if decision.reasons else outcome.name.lower()
            self._pending.fail((peer, handle), Rejected(reason))

    def close(self) -> None:
        """The node closes."""
        self._pending.fail_all(lambda: OutcomeUnknown("the node was closed"))
