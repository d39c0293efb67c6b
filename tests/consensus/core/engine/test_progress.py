"""Who is heard and makes no progress is removed, and nobody for another's fault (S1 to S5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from consensus.core import message_kinds as kinds
from consensus.core.config import STALL_TICKS, GroupConfig
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.message_kinds import Message
from consensus.core.numbers import ViewNumber
from consensus.core.outputs import (
    Accused,
    Arm,
    Decided,
    Disarm,
    Expelled,
    Installed,
    Persist,
    Send,
    VoteWanted,
)
from consensus.core.tables.membership_rules import REASON_STALLED
from consensus.core.tables.suspicion import smallest_removal, struck_more
from consensus.core.types import Content, Member, Outcome, Timer, Vote
from consensus.core.view import View

MEMBERS = tuple(Member(bytes([number]) * 32, number) for number in range(1, 6))
APP = Content("app", b"x", deadline_ms=60_000)
WAIT = ("stall",) * (STALL_TICKS + 1)
"""Until the others are asked; the first time only shows what is waited for."""
TURN = ("stall",)
Drop = Callable[[Member, Member, Message], bool]


class Bed:
    """Members over ideal lanes, whose timers fire when a test says so."""

    def __init__(self, size: int, config: GroupConfig, *, mute: frozenset[Member] = frozenset()):
        self.members = MEMBERS[:size]
        self.view = View(ViewNumber(1), self.members)
        self.groups: dict[Member, Any] = {}
        self.outputs: dict[Member, list[Any]] = {m: [] for m in self.members}
        self.timers: dict[Member, set[Timer]] = {m: set() for m in self.members}
        self.lanes: dict[tuple[Member, Member], deque[Message]] = {}
        self.mute = mute
        """Whose programs do not answer."""
        self.hanging: set[Member] = set()
        """Whose disks do not finish what they were given."""
        self.drops: Drop = lambda sender, to, message: False
        for me in self.members:
            group = Group.within(me, self.view, config)
            self.groups[me] = DurableGroup(group, None) if config.durable else group
        for me in self.members if config.durable else ():
            for other in self.members:
                self.groups[me].lane_began(other)
        self.deliver()

    def deliver(self) -> None:
        """Until nobody has anything to say."""
        busy = True
        while busy:
            busy = False
            for me, group in self.groups.items():
                for output in group.poll():
                    busy = True
                    self.carry_out(me, output)
            for (sender, to), lane in self.lanes.items():
                while lane:
                    busy = True
                    message = lane.popleft()
                    if not self.drops(sender, to, message):
                        self.groups[to].receive(sender, message)

    def carry_out(self, me: Member, output: Any) -> None:
        self.outputs[me].append(output)
        if isinstance(output, Send):
            self.lanes.setdefault((me, output.to), deque()).append(output.message)
        elif isinstance(output, Arm):
            self.timers[me].add(output.timer)
        elif isinstance(output, Disarm):
            self.timers[me].discard(output.timer)
        elif isinstance(output, VoteWanted) and me not in self.mute:
            self.groups[me].answer(output.proposal.id, Vote(True))
        elif isinstance(output, Persist) and me not in self.hanging:
            self.groups[me].persisted(output.seq)

    def fire(self, *names: str) -> None:
        for name in names:
            for me, group in self.groups.items():
                for timer in sorted(self.timers[me]):
                    if timer.name == name:
                        self.timers[me].discard(timer)
                        group.fire(timer)
            self.deliver()

    def views(self) -> dict[int, tuple[int, ...]]:
        """Who is in the view that each member installed last."""
        last = {}
        for me in self.groups:
            installed = [o.view for o in self.outputs[me] if isinstance(o, Installed)]
            if not any(isinstance(o, Expelled) for o in self.outputs[me]):
                last[me.incarnation] = tuple(m.incarnation for m in installed[-1].members)
        return last

    def decided(self, me: Member) -> list[Outcome]:
        return [o.decision.outcome for o in self.outputs[me] if isinstance(o, Decided)]

    def accused(self) -> list[Accused]:
        return [o for outputs in self.outputs.values() for o in outputs if isinstance(o, Accused)]


def together(*numbers: int) -> dict[int, tuple[int, ...]]:
    return dict.fromkeys(numbers, numbers)


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize("place", ["senior", "junior"])
def test_whose_disk_hangs_is_removed(size: int, place: str) -> None:
    bed = Bed(size, GroupConfig(durable=True))
    slow = bed.members[0 if place == "senior" else -1]
    proposer = bed.members[1]
    bed.hanging.add(slow)
    bed.groups[proposer].propose(APP)
    bed.deliver()
    bed.fire(*WAIT)
    assert not bed.decided(proposer)
    assert len(bed.views()) == size, "asked, and not suspected yet"
    bed.fire(*TURN)
    rest = [m.incarnation for m in bed.members if m != slow]
    views = bed.views()
    views.pop(slow.incarnation)
    assert views == together(*rest)
    assert bed.decided(proposer) == [Outcome.COMMITTED]
    installs = [
        o.message for o in bed.outputs[proposer]
        if isinstance(o, Send) and o.message.kind == kinds.INSTALL
    ]  # fmt: skip
    assert not bed.accused()
    bed.hanging.clear()
    bed.groups[slow].persisted(1 << 40)
    bed.deliver()
    assert [o.reason for o in bed.outputs[slow] if isinstance(o, Expelled)] == [REASON_STALLED]
    assert all(message.value[5] == 0 for message in installs), "a suspicion is no dispute"


def test_without_its_answer_past_the_disk_nobody_could_tell() -> None:
    """What the answer is for: a hung disk without one looks like a member that says nothing."""

    class Waits(DurableGroup):
        def _answer_stall(self, sender: Member, message: Any) -> None:
            del sender, message

    bed = Bed(3, GroupConfig(durable=True))
    bed.groups[MEMBERS[2]].__class__ = Waits
    bed.hanging.add(MEMBERS[2])
    bed.groups[MEMBERS[0]].propose(APP)
    bed.deliver()
    bed.fire(*WAIT)
    said = [
        o.message for o in bed.outputs[MEMBERS[2]]
        if isinstance(o, Send) and o.message.kind == kinds.STALLED
    ]  # fmt: skip
    assert not said


def test_a_member_whose_own_disk_hangs_suspects_nobody() -> None:
    """S1: in a view of two the senior one is a quorum, and would remove the other for nothing."""
    bed = Bed(2, GroupConfig(durable=True))
    senior, junior = bed.members
    bed.groups[junior].propose(APP)
    bed.hanging.add(senior)
    bed.deliver()
    for _ in range(5):
        bed.fire(*WAIT, *TURN)
    assert bed.views() == together(1, 2)
    bed.hanging.clear()
    bed.groups[senior].persisted(1 << 40)
    bed.deliver()
    assert bed.decided(junior) == [Outcome.COMMITTED]
    assert bed.views() == together(1, 2)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_a_program_within_its_deadline_holds_up_as_long_as_it_may(size: int) -> None:
    bed = Bed(size, GroupConfig(), mute=frozenset((MEMBERS[1],)))
    bed.groups[MEMBERS[0]].propose(APP)
    bed.deliver()
    bed.fire(*WAIT, *TURN * 10)  # 55 s of 60
    assert len(bed.views()) == size
    assert bed.views() == together(*[m.incarnation for m in bed.members])
    bed.fire("answer")
    assert bed.decided(MEMBERS[0]) == [Outcome.REJECTED]
    assert bed.views() == together(*[m.incarnation for m in bed.members])


def test_who_says_for_ever_that_its_program_is_within_its_deadline_is_removed() -> None:
    bed = Bed(3, GroupConfig(), mute=frozenset((MEMBERS[2],)))
    bed.groups[MEMBERS[0]].propose(APP)
    bed.deliver()
    bed.fire(*WAIT, *TURN * 20)
    assert bed.views() == {1: (1, 2), 2: (1, 2)}


@pytest.mark.parametrize("size", [3, 4, 5])
def test_who_does_not_answer_is_removed(size: int) -> None:
    bed = Bed(size, GroupConfig())
    liar = bed.members[-1]
    bed.drops = lambda sender, to, message: sender == liar
    bed.groups[MEMBERS[0]].propose(APP)
    bed.deliver()
    bed.fire(*WAIT)
    assert len(set(bed.views().values())) == 1
    bed.fire(*TURN)
    views = bed.views()
    views.pop(liar.incarnation, None)
    assert views == together(*[m.incarnation for m in bed.members[:-1]])


def withheld(size: int, liar: Member, victim: Member) -> Bed:
    """The liar's proposal goes to everybody but its victim."""
    bed = Bed(size, GroupConfig())
    bed.drops = lambda sender, to, message: (
        (sender, to) == (liar, victim) and message.kind == kinds.PROPOSE
    )
    bed.groups[liar].propose(APP)
    bed.deliver()
    bed.fire(*WAIT, *TURN)
    return bed


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize(("liar", "victim"), [(1, 0), (2, 0), (2, 1)])
def test_a_proposal_withheld_from_a_senior_member_costs_the_liar_its_place(
    size: int, liar: int, victim: int
) -> None:
    bed = withheld(size, MEMBERS[liar], MEMBERS[victim])
    bed.fire(*TURN)
    assert len(bed.views()) == size, "it is a word against another: the matrix has to stand"
    bed.fire("settle")
    views = bed.views()
    views.pop(liar + 1, None)
    assert views == together(*[n + 1 for n in range(size) if n != liar])
    assert bed.groups[MEMBERS[victim]]._strikes == ((MEMBERS[victim][0], 1),)
    assert {accused.member for accused in bed.accused()} <= {MEMBERS[liar]}


@pytest.mark.parametrize("size", [3, 4, 5])
def test_a_junior_victim_goes_once_and_the_second_dispute_removes_the_liar(size: int) -> None:
    """S4: who stays after a dispute gets a strike, and strikes come before seniority."""
    liar, victim = MEMBERS[0], MEMBERS[1]
    bed = withheld(size, liar, victim)
    bed.fire(*TURN, "settle")
    kept = [n + 1 for n in range(size) if n != 1]
    views = bed.views()
    views.pop(2, None)
    assert views == together(*kept), "no quorum suspects it: a link costs its junior end"
    strikes = {bed.groups[MEMBERS[n - 1]]._strikes for n in kept}
    assert strikes == {((liar[0], 1),)}
    view = View(ViewNumber(2), tuple(MEMBERS[n - 1] for n in kept))
    cuts = [0] * len(kept)
    cuts[0], cuts[1] = 0b10, 0b01
    struck = [1, *[0] * (len(kept) - 1)]
    if view.is_quorum(view.full & ~1):
        assert smallest_removal(cuts, view) == 0b10
        assert smallest_removal(cuts, view, struck) == 0b01


def test_who_asks_for_what_nobody_proposed_costs_no_two_others_their_link() -> None:
    """The proposer that is named says that it proposed nothing."""
    bed = Bed(4, GroupConfig())
    liar = MEMBERS[3]
    made_up = 5 << 4 | 1
    question = kinds.message_of((kinds.STALL, 1, 5, 0, made_up, 2))
    bed.groups[MEMBERS[0]].receive(liar, question)
    bed.deliver()
    bed.fire("stall", "stall", "stall")
    matrix = bed.groups[MEMBERS[0]]._matrix
    assert matrix.disputed[0] == 0b1000
    assert not matrix.stalled[0]


def test_a_lane_that_holds_one_back_is_a_dispute_and_no_suspicion() -> None:
    """The vote never comes from a member that says that it gave it: three of four stay."""
    bed = Bed(4, GroupConfig())
    bed.drops = lambda sender, to, message: (
        (sender, to) == (MEMBERS[3], MEMBERS[0]) and message.kind == kinds.VOTE
    )
    bed.groups[MEMBERS[1]].propose(APP)
    bed.deliver()
    bed.fire(*WAIT, *TURN)
    matrix = bed.groups[MEMBERS[0]]._matrix
    assert matrix.disputed[0] == 0b1000
    assert not any(matrix.stalled)
    bed.fire("settle")
    views = bed.views()
    views.pop(4, None)
    assert views == together(1, 2, 3)


def test_strikes_are_forgotten_beyond_their_bound() -> None:
    view = View(ViewNumber(1), MEMBERS)
    strikes: tuple[tuple[bytes, int], ...] = tuple((bytes([n]), 1) for n in range(100, 164))
    strikes = struck_more(strikes, 0b1, view)
    assert len(strikes) == 64
    assert strikes[0] == (bytes([101]), 1)
    assert strikes[-1] == (MEMBERS[0][0], 1)
    assert struck_more(strikes, 0b1, view)[-1] == (MEMBERS[0][0], 2)


def test_what_comes_after_an_installation_is_waited_for_anew() -> None:
    bed = Bed(3, GroupConfig())
    liar = bed.members[-1]
    bed.drops = lambda sender, to, message: sender == liar
    bed.groups[MEMBERS[0]].propose(APP)
    bed.deliver()
    bed.fire(*WAIT, *TURN)
    assert all(not bed.groups[m]._stall.key for m in MEMBERS[:2])
    assert not any(timer.name == "stall" for m in MEMBERS[:2] for timer in bed.timers[m])
