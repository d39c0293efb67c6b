"""From whom a node's groups await something: those peers are watched more closely meanwhile."""

from consensus.core.types import Member
from consensus.machine.demand import Interest
from consensus.machine.hosted_group import Slot


class Awaited:
    """All groups of one node; says to `interest` what changes."""

    def __init__(self, interest: Interest) -> None:
        self._interest = interest
        self.stirred: dict[Slot, None] = {}
        """Groups that may await something from others than before."""
        self.relaxed: dict[Slot, None] = {}
        """Groups that seem to await less than their peers are watched for."""

    def look(self, now: float) -> None:
        """Before datagrams leave, and not with every input: what a plain handler is asked is
        answered by then. That less is awaited can wait until a probe would be due: mostly the same
        is awaited again before."""
        stirred, self.stirred = self.stirred, {}
        for slot in stirred:
            awaited = slot.group.awaited
            if awaited == slot.awaited:
                continue
            if awaited < slot.awaited:
                self.relaxed[slot] = None
            else:
                self.replace(slot, awaited, now)

    def relax(self, now: float) -> None:
        """What was awaited has come, and nothing since."""
        relaxed, self.relaxed = self.relaxed, {}
        for slot in relaxed:
            awaited = slot.group.awaited
            if awaited != slot.awaited:
                self.replace(slot, awaited, now)

    def replace(self, slot: Slot, awaited: frozenset[Member], now: float) -> None:
        """The group awaits something from these now, and from nobody else."""
        if slot.peer is None:
            self._interest.await_instead(slot.awaited, awaited, now)
        elif awaited and not slot.awaited:
            self._interest.await_peer(slot.peer, now)
        elif slot.awaited and not awaited:
            self._interest.await_no_longer(slot.peer, now)
        slot.awaited = awaited

    def forget(self, slot: Slot, now: float) -> None:
        """The group is over."""
        self.stirred.pop(slot, None)
        self.relaxed.pop(slot, None)
        self.replace(slot, frozenset(), now)
