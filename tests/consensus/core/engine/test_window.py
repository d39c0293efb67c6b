"""Windows close, and open again: nobody waits for what nobody will say."""

from __future__ import annotations

from collections import deque

import pytest

from consensus.core.config import BODY_SIZE_MAX, DEPARTURES_MAX, GroupConfig
from consensus.core.engine.group import Group
from consensus.core.message_kinds import Message
from consensus.core.outputs import Arm, Decided, Disarm, Send, VoteWanted
from consensus.core.types import Content, Member, Outcome, Timer, Vote
from consensus.core.view import View


class Lanes:
    """Members of one view, ideal lanes between them, and timers that fire when asked."""

    def __init__(self, size: int, config: GroupConfig | None = None, mute: int | None = None):
        """`mute`: this member's program never answers."""
        config = config or GroupConfig()
        self.members = [Member(bytes([i]) * 32, 1) for i in range(1, size + 1)]
        view = View(1, tuple(self.members), config.casting_vote)
        self.groups = {m: Group.within(m, view, config) for m in self.members}
        self.lanes: dict[tuple[Member, Member], deque[Message]] = {}
        self.timers: dict[Member, dict[Timer, float]] = {m: {} for m in self.members}
        self.decided: dict[Member, list[Decided]] = {m: [] for m in self.members}
        self.mute = None if mute is None else self.members[mute]

    def pump(self, member: Member) -> None:
        """Do what a member's group asks for."""
        group = self.groups[member]
        while outputs := group.poll():
            for output in outputs:
                match output:
                    case Send(to, message):
                        self.lanes.setdefault((member, to), deque()).append(message)
                    case Arm(timer, delay_s):
                        self.timers[member][timer] = delay_s
                    case Disarm(timer):
                        self.timers[member].pop(timer, None)
                    case VoteWanted(proposal) if member != self.mute:
                        group.answer(proposal.id, Vote(True))
                    case Decided():
                        self.decided[member].append(output)

    def deliver(self, first: Member | None = None) -> None:
        """All that is under way, in bursts between two polls; lanes from `first` before others."""
        for member in self.members:
            self.pump(member)
        while any(self.lanes.values()):
            for ours in (True, False):
                for (sender, to), lane in self.lanes.items():
                    while lane and (sender == first) is ours:
                        self.groups[to].receive(sender, lane.popleft())
                for member in self.members:
                    self.pump(member)

    def fire(self, name: str) -> None:
        """Every armed timer of a name."""
        for member, timers in self.timers.items():
            for timer in [t for t in timers if t.name == name]:
                if timers.pop(timer, None) is not None:
                    self.groups[member].fire(timer)
        self.deliver()


@pytest.mark.parametrize("size", [2, 3, 5, 8, 16])
def test_a_window_full_of_large_bodies_opens_again(size: int):
    """Few decisions fill it: if marks waited for a number of them, they would not be sent."""
    lanes = Lanes(size)
    proposer = lanes.members[0]
    for _ in range(60):
        lanes.groups[proposer].propose(Content("app", bytes(BODY_SIZE_MAX)))
    lanes.deliver(first=proposer)
    for member in lanes.members:
        assert [len(d.decision.content.body) for d in lanes.decided[member]] == [BODY_SIZE_MAX] * 60
    assert not lanes.groups[proposer]._backlog


def settled(lanes: Lanes, fire: tuple[str, ...] = ("answer", "takeover", "settle", "kick")) -> None:
    """Once these timers have fired, everybody has decided everything, and who did not answer is
    out."""
    for _ in range(5):
        for name in fire:
            lanes.fire(name)
    staying = [m for m in lanes.members if m != lanes.mute]
    assert [lanes.groups[m].view.members for m in staying] == [tuple(staying)] * len(staying)
    for member in staying:
        assert not lanes.groups[member]._backlog
        assert not lanes.groups[member]._order.queue
        assert lanes.decided[member][0].decision.content.kind == "app"


@pytest.mark.parametrize("own", [3, 100, 300])
def test_a_leave_finds_room_in_a_full_window(own: int):
    """What fills it cannot be delivered before: it waits for the vote that never comes."""
    lanes = Lanes(3, GroupConfig(on_silence_kick=True, window_total=9), mute=2)
    lanes.groups[lanes.members[0]].propose(Content("app", b"x", deadline_ms=1000))
    lanes.deliver()
    for _ in range(own):
        lanes.groups[lanes.members[2]].propose(Content("own", b"y", deadline_ms=1000))
    lanes.deliver()
    settled(lanes)


def test_a_kick_finds_room_in_a_full_window():
    lanes = Lanes(3, GroupConfig(window_total=9, kicks_need_two=False), mute=2)
    first, _, mute = lanes.members
    for number in range(50):
        lanes.groups[first].propose(Content("app", b"%d" % number, deadline_ms=3_600_000))
    lanes.deliver()
    assert lanes.groups[first]._backlog
    lanes.groups[first].kick(mute, "answers nothing")
    lanes.deliver()
    settled(lanes, fire=())
    decisions = [d.decision for d in lanes.decided[first]]
    committed = [d.content.body for d in decisions if d.outcome == Outcome.COMMITTED]
    assert committed == [b"answers nothing", *(b"%d" % number for number in range(50))]


def test_departures_beyond_the_window_are_few():
    lanes = Lanes(3, GroupConfig(window_total=9), mute=2)
    group, others = lanes.groups[lanes.members[0]], lanes.members[1:]
    for _ in range(3):
        group.propose(Content("app", b"x"))
    group.poll()
    for number in range(3 * DEPARTURES_MAX):
        group.kick(others[number % 2], "again")
    proposed = {o.message.clock for o in group.poll() if isinstance(o, Send)}
    assert len(proposed) == DEPARTURES_MAX
    assert len(group._backlog) == 2 * DEPARTURES_MAX
