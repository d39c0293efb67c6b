"""Introducing two peers to each other, who then open at the same time.

The introducer asks both for their signed records and tells both of the other: its record, where it
is seen, and a token for this one meeting. It learns who meets whom, and can impersonate neither. A
node takes part only if it trusts the introducer not to aim it at others: members of common groups
are, and whoever else `allow` names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from consensus.arguments import check_key
from consensus.codec import pack
from consensus.core.errors import GroupError
from consensus.decision import Accept, Handler, Proposal, Reject, accept, reject
from consensus.machine.addresses import ADDRESSES_MAX, is_address
from consensus.node_context import NodeContext
from transport.core.constants import KEY_SIZE, MEETING_TOKEN_SIZE
from transport.core.errors import LocalError, WireError

__all__ = ["Introducing"]

RECORD, MEET = "quorate.record", "quorate.meet"
TIMEOUT_S = 10.0
RTT_S = 0.1
"""The guess of a round trip to who has not been measured."""
MEETING_TIMEOUT_S = 10.0
ALLOWED_MAX = 10_000


class Introducing:
    """A node's; `Node.introductions`."""

    def __init__(self, context: NodeContext, shares_group: Callable[[bytes], bool]) -> None:
        self._context = context
        self._shares_group = shares_group
        self._allowed: set[bytes] = set()

    @property
    def handlers(self) -> dict[str, Handler]:
        """Of the framework's own questions."""
        return {RECORD: self._record, MEET: self._meet}

    def allow(self, introducer: bytes) -> None:
        """Trust this peer's introductions, with whom no group is shared. Raises GroupError."""
        check_key(introducer)
        if len(self._allowed) >= ALLOWED_MAX:
            raise GroupError(f"at most {ALLOWED_MAX} introducers")
        self._allowed.add(introducer)

    async def introduce(self, one: bytes, other: bytes) -> None:
        """Have two peers, both reached by this node, try to reach each other at the same time, from
        behind whatever stands before them. Returns when both have been told. Raises as `Node.ask`
        does; Rejected by a peer that does not trust this node's introductions."""
        records: dict[bytes, Any] = {}

        async def ask(peer: bytes) -> None:
            limit = TIMEOUT_S
            records[peer] = await self._context.ask_framework(peer, RECORD, b"", limit, limit)

        for peer in (one, other):
            check_key(peer)
            await ask(peer)
        token = self._context.random(MEETING_TOKEN_SIZE)
        rtt_s = sum(self._rtt_s(peer) for peer in (one, other))
        failures: list[Exception] = []

        async def tell(peer: bytes, about: bytes) -> None:
            where = self._context.look(lambda m, now: m.contacts.addresses(about))
            body = {
                "peer": about,
                "token": token,
                "own": records[peer],
                "record": records[about],
                "where": [list(address) for address in where[:ADDRESSES_MAX]],
                "rtt_ms": round(1000 * rtt_s),
            }
            try:
                await self._context.ask_framework(peer, MEET, pack(body), TIMEOUT_S, TIMEOUT_S)
            except Exception as error:  # Of both, the first is told; the other goes on meanwhile.
                failures.append(error)

        # Side by side: the later one is told, the longer the meeting takes.
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell, one, other)
            tasks.start_soon(tell, other, one)
        if failures:
            raise failures[0]

    def _rtt_s(self, peer: bytes) -> float:
        status = self._context.look(lambda m, now: m.peers.status(peer))
        return RTT_S if status is None or status.rtt_s is None else status.rtt_s

    def _trusted(self, peer: bytes) -> bool:
        return peer in self._allowed or self._shares_group(peer)

    def _record(self, proposal: Proposal) -> Accept | Reject:
        """Handler: an introducer wants this node's record."""
        if not self._trusted(proposal.proposer):
            return reject("introductions are not taken from here")
        return accept(self._context.look(lambda m, now: m.peers.introductions.published(now)))

    def _meet(self, proposal: Proposal) -> Accept | Reject:
        """Handler: an introducer tells of a peer."""
        if not self._trusted(proposal.proposer):
            return reject("introductions are not taken from here")
        match proposal.body:
            case {
                "peer": bytes() as peer,
                "token": bytes() as token,
                "own": bytes() as own,
                "record": bytes() as record,
                "where": list() as rows,
                "rtt_ms": int() as rtt_ms,
            } if len(peer) == KEY_SIZE and len(rows) <= ADDRESSES_MAX:
                pass
            case _:
                return reject("not an introduction")
        where = [(row[0], row[1]) for row in rows if _is_row(row)]
        try:
            self._context.do(
                lambda m, now: m.peers.introductions.meet_untrusted(
                    peer, token, own, record, where, rtt_ms / 1000, now, MEETING_TIMEOUT_S
                )
            )
        except (LocalError, WireError) as error:
            return reject(f"not an introduction: {error}")
        return accept()


def _is_row(row: Any) -> bool:
    match row:
        case [str() as host, int() as port]:
            return is_address(host, port)
    return False
