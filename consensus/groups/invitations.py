"""Invitations a node has given out, and the two questions a joiner asks its sponsor.

A joiner first enquires, which tells it the rules it has to agree to, and then asks to join, which
is answered when the group has decided. Both are ordinary `ask`s. While too many others are joining
by the same sponsor both are answered with BUSY: the joiner asks again.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio import to_thread

from consensus.arguments import check_key, check_seconds
from consensus.core.config import GroupConfig
from consensus.core.engine.membership import JOINERS_MAX
from consensus.core.errors import ConsensusError, GroupBusy, GroupError
from consensus.core.evidence.invitation_text import (
    ADDRESSES_MAX,
    INVITATION_ID_SIZE,
    SECRET_SIZE,
    Invitation,
    TokenError,
    parse_untrusted,
)
from consensus.core.lives import GENERATION_END, generation
from consensus.core.message_kinds import FORMAT
from consensus.core.types import Outcome
from consensus.decision import Accept, GroupEnded, Proposal, Reject, ViewChanged, accept, reject
from consensus.groups.handle import Group
from consensus.groups.history import GroupEventKind
from consensus.machine.addresses import is_address
from consensus.machine.machine import group_number
from consensus.node_context import NodeContext
from consensus.storage.files import NodeFiles
from consensus.storage.node_store import InvitationRecord, StoreError
from transport.core.crypto.keys import verify
from transport.core.types import Address

log = logging.getLogger("quorate")
ENQUIRE, JOIN = "quorate.enquire", "quorate.join"
BUSY = "busy: "
"""How the sponsor's no begins when it is worth to ask again: nothing was decided, or spent."""
JOIN_TIMEOUT_S = 30.0
INVITATIONS_MAX = 10_000
EXPIRES_IN_MAX_S = 100 * 366 * 86_400.0
"""The longest that an invitation may be good for: more than anybody remembers it."""
AGREED = (
    "casting_vote", "window_total", "asks_for_snapshots", "durable", "kicks_liars",
    "on_silence_kick", "asks_application_about_joins", "asks_application_about_kicks",
    "kicks_need_two",
)  # fmt: skip
"""What a joiner takes over from its sponsor; the rest of a GroupConfig is each member's own."""


@dataclass
class _Issued:
    id: bytes
    group: Group
    expires_at: int
    uses: int
    """Admissions it is still good for."""
    taken_by: set[bytes] = field(default_factory=set)
    """Who took a use and is neither in nor refused yet. Such a use is his alone: he may try again
    with it, and nobody else gets in by it, since he may have got in already."""

    @property
    def spent(self) -> bool:
        """Whether nobody comes in by it any more."""
        return self.uses < 1 and not self.taken_by

    @property
    def record(self) -> InvitationRecord:
        taken_by = tuple(sorted(self.taken_by))
        return InvitationRecord(self.id, self.group.id, self.expires_at, self.uses, taken_by)


class Invitations:
    """What a node has given out. Those of durable groups are on the disk before they are out of
    hand, with the uses that are left; the others end with the process, as their groups do."""

    def __init__(self, context: NodeContext, files: NodeFiles) -> None:
        self._context = context
        self._files = files
        self._issued: dict[bytes, _Issued] = {}
        self._keeping = anyio.Lock()
        self._under_way: set[tuple[bytes, bytes]] = set()
        """Group and joiner of the joins that may still succeed."""

    def issue(self, group: Group, key: bytes | None, expires_in_s: float, uses: int) -> str:
        """A new invitation as text. Raises GroupError, StoreError."""
        if type(uses) is not int or uses < 1:
            raise GroupError(f"an invitation is good for at least one use, not for {uses!r}")
        check_seconds("expires_in_s", expires_in_s, EXPIRES_IN_MAX_S)
        if key is not None:
            check_key(key)
        addresses = self._context.advertised()[:ADDRESSES_MAX]
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
            sponsor=self._context.key,
            addresses=addresses,
            invitation_id=self._context.random(INVITATION_ID_SIZE),
            expires_at=int(self._context.unix_time() + expires_in_s),
            bound_key=key,
            secret=self._context.random(SECRET_SIZE) if key is None else None,
        )
        text = invitation.text(self._context.sign)
        issued = _Issued(invitation.invitation_id, group, invitation.expires_at, uses)
        if group.config.durable:
            # The one place, with `revoke`, where the event loop waits for the disk: what has been
            # said about an invitation holds.
            self._files.store.save_invitation(issued.record)
        self._issued[issued.id] = issued
        return text

    def revoke(self, token: str) -> None:
        """Make an invitation void; one that is used up or has expired is so already. Raises
        TokenError for what is none, or not this node's, and StoreError."""
        invitation = parse_untrusted(token, verify)
        if invitation.sponsor != self._context.key:
            raise TokenError("the invitation was given out by another node")
        issued = self._issued.pop(invitation.invitation_id, None)
        if issued is not None and issued.group.config.durable:
            self._files.store.forget_invitation(issued.id)

    def recall(self, group: Group, records: Iterable[InvitationRecord]) -> None:
        """A durable group goes on: these were given out for it."""
        for record in records:
            issued = self._issued[record.id] = _Issued(
                record.id, group, record.expires_at, record.uses, set(record.taken_by)
            )
            for joiner in record.taken_by:
                self._context.spawn(self._follow_recalled, issued, joiner)

    def forget(self, group: Group) -> None:
        """This node is in the group no longer. Its file forgets the invitations with the group."""
        for key in [k for k, i in self._issued.items() if i.group is group]:
            del self._issued[key]

    def _drop_expired(self) -> None:
        now = self._context.unix_time()
        for issued in [i for i in self._issued.values() if i.expires_at <= now]:
            del self._issued[issued.id]
            if issued.group.config.durable:
                self._files.store.forget_invitation(issued.id)

    async def _keep(self, issued: _Issued) -> None:
        """Have the disk know what became of its uses, or that none is left."""
        if issued.spent:
            self._issued.pop(issued.id, None)
        if not issued.group.config.durable or issued.group.ended is not None:
            return
        store = self._files.store
        async with self._keeping:
            if issued.id in self._issued:
                await to_thread.run_sync(store.save_invitation, issued.record)
            if issued.id not in self._issued:  # Spent, or revoked in the meantime.
                await to_thread.run_sync(store.forget_invitation, issued.id)

    def _find(self, proposal: Proposal) -> _Issued:
        body = proposal.body
        token = body.get("token") if isinstance(body, dict) else None
        if not isinstance(token, str):
            raise TokenError("the question carries no invitation")
        shown = parse_untrusted(token, verify)
        number = group_number(shown.group)
        if self._context.look(lambda m, _: number in m.absent):
            raise TokenError("the sponsor is not back in its group yet: try again")
        issued = self._issued.get(shown.invitation_id)
        # The signature covers all but a bearer secret, and over that its commitment: a token
        # that parses and was signed here is the one that was given out.
        if (
            issued is None
            or shown.sponsor != self._context.key
            or shown.group != issued.group.id
            or (issued.uses < 1 and proposal.proposer not in issued.taken_by)
        ):
            raise TokenError("the invitation was not given out here, or is used up or revoked")
        shown.check(proposal.proposer, self._context.unix_time())
        _check_format("joiner", body)
        return issued

    def enquire(self, proposal: Proposal) -> Accept | Reject:
        """Handler: under which rules the joiner would join."""
        try:
            issued = self._find(proposal)
        except TokenError as error:
            return reject(str(error))
        busy = self._busy(issued.group, proposal.proposer)
        return busy or accept(terms(issued.group))

    async def join(self, proposal: Proposal) -> Accept | Reject:
        """Handler: have the group decide on the joiner."""
        try:
            issued = self._find(proposal)
        except TokenError as error:
            return reject(str(error))
        joiner, group = proposal.proposer, issued.group
        busy = self._busy(group, joiner)
        if busy is not None:
            return busy
        self._under_way.add((group.id, joiner))
        follow = True
        seen, events = group.view.number, group.events(from_now=True)
        try:
            if joiner not in issued.taken_by:
                issued.uses -= 1
                issued.taken_by.add(joiner)
                await self._keep(issued)
            outcome, reasons = await self._sponsor(group, joiner, proposal.body)
            if outcome is Outcome.COMMITTED:
                return accept()
            follow = False
            await self._give_back(issued, joiner)
            return reject("the group said no: " + ("; ".join(reasons) or outcome.name.lower()))
        except GroupError as error:  # Not proposed, or abandoned: nobody came in by it.
            follow = False
            await self._give_back(issued, joiner)
            busy_again = BUSY if isinstance(error, GroupBusy) else ""
            return reject(f"{busy_again}{error}")
        except (ConsensusError, TimeoutError) as error:
            return reject(str(error))
        finally:
            # Who is let in is not in yet, and who waits no longer may still be let in.
            if follow:
                self._context.spawn(self._follow, issued, joiner, seen, events)
            else:
                self._under_way.discard((group.id, joiner))

    async def _sponsor(
        self, group: Group, joiner: bytes, body: Any
    ) -> tuple[Outcome, list[str]]:
        """Have the group decide on a joiner: the outcome, and why not."""
        number, which = group_number(group.id), _generation(body)
        found = [*self._context.machine.contacts.addresses(joiner), *_addresses(body)]
        where = list(dict.fromkeys(found))
        decision = await group.outcome(
            lambda m, now: m.sponsor(number, joiner, where, now, JOIN_TIMEOUT_S, which)
        )
        return decision.outcome, list(decision.reasons.values())

    def _busy(self, group: Group, joiner: bytes) -> Reject | None:
        """Why it has to be tried again later, if so."""
        if (group.id, joiner) in self._under_way:
            return reject(f"{BUSY}an earlier join of yours is not over, try again")
        others = sum(1 for each, _ in self._under_way if each == group.id)
        if others >= JOINERS_MAX:
            return reject(f"{BUSY}{others} others are joining, try again")
        return None

    async def _follow(
        self, issued: _Issued, joiner: bytes, seen: int, events: AsyncIterator[GroupEventKind]
    ) -> None:
        """See what becomes of a join, from the view `seen` on: the use it took is spent when the
        joiner is in, and given back when the engine has given it up. If this member is out first,
        it will never be known."""
        group = issued.group
        try:
            number, joiners = self._sponsoring(group)
            while number != seen or joiner in joiners:
                event = await anext(events)
                if isinstance(event, GroupEnded):
                    return
                if isinstance(event, ViewChanged):
                    seen = event.view.number
                    if joiner in event.joined:
                        await self._spend(issued, joiner)
                        return
                # The engine may be ahead of what it is known to have done.
                number, joiners = self._sponsoring(group)
            await self._give_back(issued, joiner)
        except StoreError as error:
            log.warning("what became of an invitation to %s is not kept: %s", group.name, error)
        except (GroupError, StopAsyncIteration):
            pass  # The group is over here, or more happened than is kept: the use stays his.
        finally:
            self._under_way.discard((group.id, joiner))

    def _sponsoring(self, group: Group) -> tuple[int, frozenset[bytes]]:
        number = group_number(group.id)
        return self._context.look(lambda m, _: m.sponsoring(number))

    async def _follow_recalled(self, issued: _Issued, joiner: bytes) -> None:
        """What was under way when the process ended and goes on now, or was over already."""
        group = issued.group
        await group.installed.wait()
        if group.ended is not None or (group.id, joiner) in self._under_way:
            return
        if joiner in group.view.members:
            with suppress(StoreError):  # Next time, then.
                await self._spend(issued, joiner)
        elif joiner in self._sponsoring(group)[1]:
            self._under_way.add((group.id, joiner))
            await self._follow(issued, joiner, group.view.number, group.events(from_now=True))

    async def _spend(self, issued: _Issued, joiner: bytes) -> None:
        issued.taken_by.discard(joiner)
        await self._keep(issued)

    async def _give_back(self, issued: _Issued, joiner: bytes) -> None:
        if joiner in issued.taken_by:
            issued.taken_by.discard(joiner)
            issued.uses += 1
            await self._keep(issued)


def terms(group: Group) -> dict[str, Any]:
    """What all members of a group must agree on, and which member of it this node is."""
    rules = {name: getattr(group.config, name) for name in AGREED}
    return {**rules, "generation": generation(group.me), "format": FORMAT}


def _check_format(who: str, said: Any) -> None:
    """Raise TokenError if the other's groups have messages of another format than this node's. The
    first version said none."""
    theirs = said.get("format", 1) if isinstance(said, dict) else None
    if theirs != FORMAT or type(theirs) is not int:
        raise TokenError(
            f"the {who} is of another version, whose groups have messages of format"
            f" {str(theirs)[:20]} and not {FORMAT}: they cannot be in one group"
        )


def terms_untrusted(answer: Any) -> tuple[GroupConfig, int]:
    """The rules a sponsor told, and its generation. Raises TokenError when they are none."""
    _check_format("sponsor", answer)
    if answer.keys() != {*AGREED, "generation", "format"}:
        raise TokenError("the sponsor's answer states no rules")
    try:
        config = GroupConfig(**{name: answer[name] for name in AGREED})
    except GroupError as error:
        raise TokenError(f"the sponsor's rules are out of bounds: {error}") from error
    if not _is_generation(answer["generation"]):
        raise TokenError("the sponsor does not say which member it is")
    return config, answer["generation"]


def _is_generation(value: Any) -> bool:
    return type(value) is int and 0 <= value < GENERATION_END


def _generation(body: Any) -> int:
    """Which member the joiner is to be: the first of its life, unless it says otherwise."""
    said = body.get("generation") if isinstance(body, dict) else None
    return said if type(said) is int and _is_generation(said) else 0


def _addresses(body: Any) -> list[Address]:
    rows = body.get("addresses") if isinstance(body, dict) else None
    found = []
    for row in rows if isinstance(rows, list) else ():
        match row:
            case [str() as host, int() as port] if is_address(host, port):
                found.append((host, port))
    return found[:ADDRESSES_MAX]
