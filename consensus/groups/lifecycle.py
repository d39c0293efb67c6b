"""How a node comes into its groups, and out of them: founding, joining, resuming, giving up."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import anyio

from consensus.arguments import check_name
from consensus.blobs.service import BlobService
from consensus.codec import pack
from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.evidence.founding import NONCE_SIZE, Founding, group_id
from consensus.core.evidence.invitation_text import Invitation, TokenError, parse_untrusted
from consensus.core.evidence.notary import Notary
from consensus.core.lives import generation
from consensus.core.message_kinds import FORMAT
from consensus.decision import Rejected
from consensus.groups.certificates import Certificates
from consensus.groups.handle import Group, GroupServices
from consensus.groups.invitations import BUSY, ENQUIRE, JOIN, Invitations, terms_untrusted
from consensus.groups.replica import Replica, Replicas
from consensus.machine.machine import group_number
from consensus.node_context import NodeContext
from consensus.storage.durable_groups import DurableGroups, Stored
from consensus.storage.files import NodeFiles
from transport.core.crypto.keys import verify

BUSY_RETRY_S = 0.25
"""After so long a joiner asks a busy sponsor again: about what it takes to let somebody in."""


class Lifecycle:
    """Keeps `groups`, by number on the lanes, in step with the machine's."""

    def __init__(
        self,
        context: NodeContext,
        groups: dict[int, Group],
        files: NodeFiles,
        durables: DurableGroups,
        blobs: BlobService,
        invitations: Invitations,
        certificates: Certificates,
    ) -> None:
        self._context = context
        self._groups = groups
        self._files = files
        self._durables = durables
        self._invitations = invitations
        self._services = GroupServices(
            blobs,
            invitations.issue,
            invitations.revoke,
            certificates.gather,
            durables.recorded,
            durables.unwritten_since,
            self._abandon,
        )
        self._joining: dict[int, str] = {}
        """Groups this node is about to join, and what it is waiting for: a second attempt would
        undo the first."""

    async def found(
        self, name: str, config: GroupConfig, replica: Replica | None, durable: bool
    ) -> Group:
        """As `Node.found`."""
        check_name(name)
        if not (config.ordered and config.changes):
            raise GroupError("`ordered` and `changes` are for views of two: a group has both")
        if config.asks_for_snapshots and replica is None:
            raise GroupError("snapshots are of a replica's state: found(..., replica=)")
        config = replace(config, asks_for_snapshots=replica is not None)
        config = replace(config, durable=durable or config.durable)
        nonce, me = self._context.random(NONCE_SIZE), self._context.me
        founding = Founding(name, nonce, me, config.casting_vote, config.window_total).encode()
        return await self._enter(name, group_id(founding), config, None, founding, replica)

    async def join(
        self, token: str, sponsor: bytes | None, timeout_s: float, replica: Replica | None
    ) -> Group:
        """As `Node.join`."""
        invitation = parse_untrusted(token, verify)
        self._files.check(invitation)
        if sponsor not in (None, invitation.sponsor):
            raise TokenError("the invitation is from another sponsor than the one expected")
        number = group_number(invitation.group)
        there = self._groups.get(number)
        if number in self._joining or (there is not None and there.ended is None):
            raise GroupError(f"this node is in {invitation.name} already, or about to be")
        if self._context.look(lambda m, _: number in m.absent):
            raise GroupError(f"this node's file has {invitation.name}: Node.resume goes on with it")
        self._joining[number] = "the sponsor, which has not answered"
        try:
            with anyio.fail_after(timeout_s):
                return await self._join(token, invitation, timeout_s, replica)
        except TimeoutError as error:
            waits = self._joining[number]
            raise TimeoutError(
                f"not in {invitation.name} within {timeout_s} s: this node waits for {waits}"
            ) from error
        finally:
            del self._joining[number]

    async def _join(
        self, token: str, invitation: Invitation, timeout_s: float, replica: Replica | None
    ) -> Group:
        sponsor, number = invitation.sponsor, group_number(invitation.group)
        self._context.know(sponsor, invitation.addresses)
        addresses = [list(address) for address in self._context.advertised()]
        question: dict[str, Any] = {"token": token, "addresses": addresses, "format": FORMAT}
        answer = await self._ask_until_free(number, sponsor, ENQUIRE, question, timeout_s)
        config, sponsor_generation = terms_untrusted(answer)
        if config.asks_for_snapshots != (replica is not None):
            says = "keeps a state" if config.asks_for_snapshots else "keeps no state"
            raise GroupError(f"{invitation.name} {says}: see Replica.join and Node.join")
        group = await self._enter(
            invitation.name,
            invitation.group,
            config,
            (sponsor, sponsor_generation),
            replica=replica,
        )
        question["generation"] = generation(group.me)
        admitted = decided = False
        try:
            self._joining[number] = "the group, which has not decided"
            await self._ask_until_free(
                number, sponsor, JOIN, question, timeout_s, group.installed
            )
            decided = True
            await group.installed.wait()
            if group.ended is not None:
                if replica is not None:
                    replica.check_restored()
                raise GroupError(f"not admitted to {group.name}: {group.ended.reason}")
            admitted, group.joining = True, False
        finally:
            if not admitted:
                if decided:
                    self._joining[number] = self._context.machine.awaited_by_joiner(number)
                self.drop(group, "the join was given up")
        return group

    async def _ask_until_free(
        self,
        number: int,
        sponsor: bytes,
        kind: str,
        question: dict[str, Any],
        timeout_s: float,
        over: anyio.Event | None = None,
    ) -> Any:
        """The sponsor's answer once it is not busy with others, or None when it is `over` before.
        The caller's patience is the bound."""
        over = over or anyio.Event()
        while True:
            try:
                return await self._context.ask_framework(
                    sponsor, kind, pack(question), timeout_s, timeout_s
                )
            except Rejected as no:
                if not no.reason.startswith(BUSY):
                    raise
                self._joining[number] = f"the sponsor, which is {no.reason}"
            with anyio.move_on_after(BUSY_RETRY_S):
                await over.wait()
                return None

    async def resume(self, replicas: Replicas) -> tuple[Group, ...]:
        """As `Node.resume`."""
        rebuilt = [each for each in await self._durables.rebuild() if each[0] not in self._groups]
        groups = [
            self._handle(number, stored.id, stored.name, stored.config, stored.notary)
            for number, stored in rebuilt
        ]
        # First everything that may go wrong, then, without a break, what others will notice.
        try:
            for group, (_, stored) in zip(groups, rebuilt, strict=True):
                if stored.config.asks_for_snapshots:
                    self._restore(group, stored, replicas)
        except BaseException:
            for group in groups:
                group.close("not resumed")
            raise
        for group, (number, stored) in zip(groups, rebuilt, strict=True):
            self._groups[number] = group
            self._invitations.recall(group, stored.invitations)
            self._context.machine.resume(number, stored.durable, self._context.clock())
            self._context.endpoint.touch()
        return (*groups, *self._ended())

    def _ended(self) -> list[Group]:
        """Groups of the node's file that others have ended: nothing goes on, and this says why."""
        groups = []
        for of, name, why in self._durables.ended():
            number, context = group_number(of), self._context
            if number not in self._groups:
                notary = Notary(context.me, of, None, context.sign, verify)
                group = self._handle(number, of, name, GroupConfig(durable=True), notary)
                group.state.end(why)
                self._groups[number] = group
                groups.append(group)
        return groups

    def _restore(
        self, group: Group, stored: Stored, replicas: Replicas
    ) -> None:
        replica = replicas.get(stored.id, replicas.get(stored.name))
        if replica is None:
            raise GroupError(
                f"{stored.name} keeps a state: say which, Node.resume(replicas={{name: replica}})"
            )
        self._attach(group, replica)
        replica.resume(stored.state, [group.told(decision) for decision in stored.decisions])

    def _attach(self, group: Group, replica: Replica) -> None:
        keep = None
        if group.config.durable:
            keep = partial(self._durables.save_state, group.id)
        replica.attach(group, keep)
        group.state.observer = replica

    async def _enter(
        self,
        name: str,
        group_id: bytes,
        config: GroupConfig,
        sponsor: tuple[bytes, int] | None,
        founding: bytes | None = None,
        replica: Replica | None = None,
    ) -> Group:
        """`sponsor`: its key, and its generation in the group; None for a founder."""
        number = group_number(group_id)
        config = self._context.machine.possible(config)
        former = self._groups.get(number)
        if former is not None:
            self.drop(former, "entered anew")
        own, through, before = self._context.me, None, None
        if sponsor is not None:
            last = -1
            if config.durable:
                last, before = await self._durables.last_time(group_id)
            own = self._context.machine.own(number, last)
            through = self._context.member(*sponsor)
        if config.durable:
            await self._durables.begin(name, group_id, config, founding, own, through)
        notary = Notary(own, group_id, founding, self._context.sign, verify)
        group = self._handle(number, group_id, name, config, notary)
        group.joining, group.before = sponsor is not None, before
        if replica is not None:
            self._attach(group, replica)
        self._groups[number] = group
        try:
            await self._begin(number, group, notary, sponsor)
        except GroupError:
            del self._groups[number]
            raise
        return group

    async def _begin(
        self, number: int, group: Group, notary: Notary, sponsor: tuple[bytes, int] | None
    ) -> None:
        config, own = group.config, group.me
        if sponsor is None:
            self._context.do(lambda m, now: m.found(number, config, now, notary))
            self._context.endpoint.flush()
            await group.installed.wait()
        else:
            key, theirs = sponsor
            self._context.do(lambda m, now: m.join(number, key, config, now, notary, own, theirs))

    def _handle(
        self, number: int, group_id: bytes, name: str, config: GroupConfig, notary: Notary
    ) -> Group:
        return Group(self._context, self._services, number, group_id, name, config, notary)

    def _abandon(self, group: Group) -> None:
        self.drop(group, "abandoned")

    def drop(self, group: Group, reason: str) -> None:
        """Give a group up at once, as far as this node is concerned; harmless if it is gone."""
        number = group_number(group.id)
        told = group.before if group.joining else group.ended
        group.close(reason)
        if self._groups.get(number) is group:
            del self._groups[number]
            self._invitations.forget(group)
            self._durables.over(group.id, told)
            if not self._context.endpoint.closed:
                self._context.do(lambda m, now: m.drop(number, now))
