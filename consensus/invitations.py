"""Invitations a node has given out, and the two questions a joiner asks its sponsor.

A joiner first enquires, which tells it the rules it has to agree to, and then asks to join, which
is answered when the group has decided. Both are ordinary `ask`s.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from consensus.addresses import is_address
from consensus.core.config import GroupConfig
from consensus.core.errors import ConsensusError, GroupError
from consensus.core.token import (
    ADDRESSES_MAX,
    INVITATION_ID_SIZE,
    SECRET_SIZE,
    Invitation,
    TokenError,
    parse_untrusted,
)
from consensus.core.types import Outcome
from consensus.decision import Accept, Proposal, Reject, accept, reject
from transport.core.keys import verify

if TYPE_CHECKING:
    from consensus.group import Group
    from consensus.node import Node

ENQUIRE, JOIN = "quorate.enquire", "quorate.join"
INVITATIONS_MAX = 10_000


@dataclass
class _Issued:
    group: Group
    invitation: Invitation
    uses: int
    """Admissions it is still good for."""
    taken_by: set[bytes] = field(default_factory=set)
    """Who took a use whose outcome is not known yet. Such a use is his alone: he may try again
    with it, and nobody else gets in by it, since he may have got in already."""


class Invitations:
    """What a node has given out. Kept in memory: they end with the process."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._issued: dict[bytes, _Issued] = {}

    def issue(self, group: Group, key: bytes | None, expires_in_s: float, uses: int) -> str:
        """A new invitation as text. Raises GroupError."""
        if uses < 1 or expires_in_s <= 0:
            raise GroupError("an invitation is good for at least one use and some time")
        addresses = self._node.advertised()[:ADDRESSES_MAX]
        if not addresses:
            raise GroupError(
                "nobody could reach this node: it listens on all addresses, so say where with"
                " Node.open(advertise=[(host, port)])"
            )
        self._drop_expired()
        if len(self._issued) >= INVITATIONS_MAX:
            raise GroupError(f"more than {INVITATIONS_MAX} invitations are open")
        invitation = Invitation(
            group=group.id,
            name=group.name,
            sponsor=self._node.key,
            addresses=addresses,
            invitation_id=self._node.random(INVITATION_ID_SIZE),
            expires_at=int(time.time() + expires_in_s),
            bound_key=key,
            secret=self._node.random(SECRET_SIZE) if key is None else None,
        )
        self._issued[invitation.invitation_id] = _Issued(group, invitation, uses)
        return invitation.text(self._node.sign)

    def revoke(self, token: str) -> None:
        """Make an invitation void; one that is used up or has expired is so already. Raises
        TokenError for what is none, or not this node's."""
        invitation = parse_untrusted(token, verify)
        if invitation.sponsor != self._node.key:
            raise TokenError("the invitation was given out by another node")
        self._issued.pop(invitation.invitation_id, None)

    def _drop_expired(self) -> None:
        now = time.time()
        for key in [k for k, i in self._issued.items() if i.invitation.expires_at <= now]:
            del self._issued[key]

    def _find(self, proposal: Proposal) -> _Issued:
        body = proposal.body
        token = body.get("token") if isinstance(body, dict) else None
        if not isinstance(token, str):
            raise TokenError("the question carries no invitation")
        shown = parse_untrusted(token, verify)
        issued = self._issued.get(shown.invitation_id)
        # The signature covers all but a bearer secret, and over that its commitment: a token
        # that parses and was signed here is the one that was given out.
        if (
            issued is None
            or shown != issued.invitation
            or (issued.uses < 1 and proposal.proposer not in issued.taken_by)
        ):
            raise TokenError("the invitation was not given out here, or is used up or revoked")
        shown.check(proposal.proposer, time.time())
        return issued

    def enquire(self, proposal: Proposal) -> Accept | Reject:
        """Handler: under which rules the joiner would join."""
        try:
            issued = self._find(proposal)
        except TokenError as error:
            return reject(str(error))
        return accept(rules(issued.group.config))

    async def join(self, proposal: Proposal) -> Accept | Reject:
        """Handler: have the group decide on the joiner."""
        try:
            issued = self._find(proposal)
        except TokenError as error:
            return reject(str(error))
        joiner = proposal.proposer
        if joiner not in issued.taken_by:
            issued.uses -= 1
            issued.taken_by.add(joiner)
        try:
            outcome, reasons = await self._node.sponsor(
                issued.group, joiner, _addresses(proposal.body)
            )
        except GroupError as error:  # Not proposed, or abandoned: nobody came in by it.
            self._give_back(issued, joiner)
            return reject(str(error))
        except (ConsensusError, TimeoutError) as error:
            return reject(str(error))
        if outcome is Outcome.COMMITTED:
            issued.taken_by.discard(joiner)
            if issued.uses < 1 and not issued.taken_by:
                self._issued.pop(issued.invitation.invitation_id, None)
            return accept()
        self._give_back(issued, joiner)
        return reject("the group said no: " + ("; ".join(reasons) or outcome.name.lower()))

    @staticmethod
    def _give_back(issued: _Issued, joiner: bytes) -> None:
        if joiner in issued.taken_by:
            issued.taken_by.discard(joiner)
            issued.uses += 1


def rules(config: GroupConfig) -> dict[str, Any]:
    """What all members of a group must agree on."""
    return {
        "casting_vote": config.casting_vote,
        "window_total": config.window_total,
        "replicated": config.asks_for_snapshots,
        "durable": config.durable,
    }


def config_untrusted(answer: Any) -> GroupConfig:
    """The rules a sponsor told. Raises TokenError when they are none."""
    match answer:
        case {
            "casting_vote": bool() as casting,
            "window_total": int() as window,
            "replicated": bool() as replicated,
            "durable": bool() as durable,
        }:
            try:
                return GroupConfig(
                    casting_vote=casting,
                    window_total=window,
                    asks_for_snapshots=replicated,
                    durable=durable,
                )
            except Exception as error:
                raise TokenError(f"the sponsor's rules are out of bounds: {error}") from error
    raise TokenError("the sponsor's answer states no rules")


def _addresses(body: Any) -> list[tuple[str, int]]:
    rows = body.get("addresses") if isinstance(body, dict) else None
    found = []
    for row in rows if isinstance(rows, list) else ():
        match row:
            case [str() as host, int() as port] if is_address(host, port):
                found.append((host, port))
    return found[:ADDRESSES_MAX]
