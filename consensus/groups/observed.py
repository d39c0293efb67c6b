"""How one group stands, put together from what the engine, the transport and the disk know."""

from __future__ import annotations

from collections.abc import Iterable

from consensus.core import types as core
from consensus.core.engine.group import Group as CoreGroup
from consensus.groups.group_state import GroupState
from consensus.machine.machine import Machine
from consensus.status import GroupStatus, MemberStatus, ProposalStatus

__all__ = ["Observed"]


def keys(members: Iterable[core.Member]) -> tuple[bytes, ...]:
    """The members' keys."""
    return tuple(member.key for member in members)


class Observed:
    """One group's, by its number on the lanes."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._opened: dict[core.ProposalId, float] = {}
        """When each of the open proposals was first seen here."""

    def status(
        self, machine: Machine, state: GroupState, now: float, unwritten_since: float | None
    ) -> GroupStatus:
        """As it is now. Of a group that has ended: that. `unwritten_since`: since when the disk
        owes something of it, on the clock of `now`, in seconds."""
        group = machine.group(self._number) if state.ended is None else None
        return GroupStatus(
            name=state.name,
            me=machine.me.key,
            view=None if state.view is None else state.info,
            index=0 if group is None else group.index,
            suspended=state.suspended,
            changing=group is not None and group.wedged,
            ended=state.ended,
            members=() if group is None else self._members(machine, group, now),
            waits_for=() if group is None else keys(sorted(group.awaited)),
            proposals=() if group is None else self._proposals(group, now),
            unsent=0 if group is None else group.waiting_proposals,
            leased=group is not None and bool(group.lease),
            unwritten_s=None if unwritten_since is None else now - unwritten_since,
        )

    def _members(
        self, machine: Machine, group: CoreGroup, now: float
    ) -> tuple[MemberStatus, ...]:
        suspected = dict(group.suspicions)
        others = (member for member in group.view.members if member != group.me)
        return tuple(_member(machine, each, suspected.get(each, ()), now) for each in others)

    def _proposals(self, group: CoreGroup, now: float) -> tuple[ProposalStatus, ...]:
        found = group.open_proposals()
        self._opened = {each.id: self._opened.get(each.id, now) for each in found}
        return tuple(
            ProposalStatus(
                kind=each.kind,
                proposer=each.id.proposer.key,
                waits_for=keys(each.waits_for),
                open_s=now - self._opened[each.id],
                rejected=each.rejected,
            )
            for each in found
        )


def _member(
    machine: Machine, member: core.Member, by: tuple[core.Member, ...], now: float
) -> MemberStatus:
    peer = machine.peers.status(member.key)
    if peer is None:
        return MemberStatus(member.key, False, None, None, None, False, keys(by), 0)
    return MemberStatus(
        key=member.key,
        up=machine.contacts.is_up(member),
        heard_s=now - peer.heard_at,
        rtt_s=peer.rtt_s,
        address=peer.address,
        relayed=peer.relayed,
        suspected_by=keys(by),
        backlog_bytes=peer.backlog_bytes,
    )
