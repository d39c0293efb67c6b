"""From whom a node's groups await something: those peers are watched more closely meanwhile."""

from consensus.core.types import Member
from consensus.machine.demand import Demand
from consensus.machine.hosted_group import HostedGroup


class Awaited:
    """All groups of one node; says to `demand` what changes."""

    def __init__(self, interest: Demand) -> None:
        self._demand = interest
        self.stirred: dict[HostedGroup, None] = {}
        """Groups that may await something from others than before."""
        self.relaxed: dict[HostedGroup, None] = {}
        """Groups that seem to await less than their peers are watched for."""

    def look(self, now: float) -> None:
        """Before datagrams leave, and not with every input: what a plain handler is asked is
        answered by then. That less is awaited can wait until a probe would be due: mostly the same
        is awaited again before."""
        stirred, self.stirred = self.stirred, {}
        for hosted in stirred:
            awaited = hosted.group.awaited
            if awaited == hosted.awaited:
                continue
            if awaited < hosted.awaited:
                self.relaxed[hosted] = None
            else:
                self.replace(hosted, awaited, now)

    def relax(self, now: float) -> None:
        """What was awaited has come, and nothing since."""
        relaxed, self.relaxed = self.relaxed, {}
        for hosted in relaxed:
            awaited = hosted.group.awaited
            if awaited != hosted.awaited:
                self.replace(hosted, awaited, now)

    def replace(self, hosted: HostedGroup, awaited: frozenset[Member], now: float) -> None:
        """The group awaits something from these now, and from nobody else."""
        if hosted.peer is None:
            self._demand.await_instead(hosted.awaited, awaited, now)
        elif awaited and not hosted.awaited:
            self._demand.await_peer(hosted.peer, now)
        elif hosted.awaited and not awaited:
            self._demand.await_no_longer(hosted.peer, now)
        hosted.awaited = awaited

    def forget(self, hosted: HostedGroup, now: float) -> None:
        """The group is over."""
        self.stirred.pop(hosted, None)
        self.relaxed.pop(hosted, None)
        self.replace(hosted, frozenset(), now)
