"""Seeded schedules of a group whose members keep evidence, with real keys and signatures."""

from __future__ import annotations

from random import Random

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.errors import GroupError
from consensus.core.evidence.founding import Founding, group_id
from consensus.core.evidence.notary import Notary
from consensus.core.message_kinds import VOUCH
from consensus.core.outputs import Decided
from consensus.core.types import Decision, Member
from tests.support.scripts.reported import Violation
from tests.support.scripts.schedule import Schedule
from transport.core.crypto.keys import Identity, verify

_SEEDS = Random(1)
IDENTITIES = [Identity.generate(_SEEDS.randbytes) for _ in range(16)]


class CertifiedSchedule(Schedule):
    """As `Schedule`, from a founding on, with a notary beside every group."""

    def __init__(self, seed: int, *, casting_vote: bool = True, changes: bool = False) -> None:
        self.notaries: dict[Member, Notary] = {}
        self.decisions: dict[Member, list[Decision]] = {}
        self.founding = b""
        config = GroupConfig(casting_vote=casting_vote, asks_for_snapshots=seed % 2 == 0)
        super().__init__(seed, 1, config, changes=changes, wire=True)

    def name(self) -> Member:
        self.names += 1
        return Member(IDENTITIES[self.names].key, self.names)

    def add(self, member: Member, group: Group) -> None:
        own = b""
        if not self.founding:
            rules = self.config.casting_vote, self.config.window_total
            own = self.founding = Founding("group", bytes(32), member, *rules).encode()
        sign = IDENTITIES[member.incarnation].sign
        notary = Notary(member, group_id(self.founding), own or None, sign, verify)
        self.notaries[member] = notary
        self.decisions[member] = []
        super().add(member, group)

    def drain(self, member: Member) -> None:
        life = self.lives[member]
        while outputs := life.group.poll():
            for output in self.notaries[member].accompany(outputs):
                if isinstance(output, Decided) and output.decision.index:
                    self.decisions[member].append(output.decision)
                self.do(member, life, output)

    def deliver(self, pair: tuple[Member, Member]) -> None:
        sender, receiver = pair
        lane = self.lanes[pair]
        if lane[0].kind < VOUCH:
            super().deliver(pair)
            return
        message = lane.popleft()
        if receiver not in self.dead:
            self.notaries[receiver].receive(sender, message)

    def grow(self, size: int) -> None:
        """Have members join, one after the other, until there are so many."""
        while len(self.active()) < size:
            sponsor = self.active()[0]
            joiner = self.name()
            self.add(joiner, self.kind.joining(joiner, sponsor, self.config))
            try:
                self.lives[sponsor].group.sponsor(joiner, b"")
            except GroupError as error:
                raise Violation("a group at rest takes no joiner") from error
            self.drain(sponsor)
            self.heal()

    def active(self) -> list[Member]:
        """The members of the newest view that hear a quorum, by seniority."""
        groups = {m: self.lives[m].group for m in self.live()}
        found = [m for m, g in groups.items() if g.phase == Phase.MEMBER and not g.suspended]
        newest = max((groups[m].view.number for m in found), default=0)
        view = next((groups[m].view for m in found if groups[m].view.number == newest), None)
        return [] if view is None else [m for m in view.members if m in found]

    def certificate(self, by: Member, decision: Decision) -> bytes:
        """The certificate as `by` makes it, signed by all that are active."""
        draft = self.notaries[by].draft(decision)
        signatures = []
        for rank, member in enumerate(draft.members.members):
            if member in self.active():
                wanted = draft.certificate
                signature = self.notaries[member].sign_head(
                    wanted.view, wanted.position, wanted.head
                )
                if signature is not None:
                    signatures.append((rank, signature))
        return draft.signed(tuple(signatures))
