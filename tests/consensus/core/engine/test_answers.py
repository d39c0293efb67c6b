"""Everybody who goes on reports the same answers to a commit (rules D2 and D13)."""

from consensus.core.outputs import Decided
from consensus.core.types import Content, Outcome, Vote
from tests.support.scripts.schedule import Schedule


class Told(Schedule):
    """Keeps what each member was told of the application's decisions."""

    def do(self, member, life, output):
        if isinstance(output, Decided) and output.decision.kind == "app":
            self.told.setdefault(member, []).append(output.decision)
        super().do(member, life, output)

    def __init__(self, *arguments):
        self.told = {}
        super().__init__(*arguments)


def test_an_answer_read_after_the_promise_is_not_reported():
    """A, B and C vote on B's proposal. A, which leads the change that leaves C out, reads C's
    answer after its own promise; B never reads it. Both are to report the same commit."""
    schedule = Told(0, 3)
    a, b, c = schedule.founders
    schedule.reported.proposed(b, b"x")
    schedule.lives[b].group.propose(Content("app", b"x"))
    schedule.drain(b)
    for voter in (a, c):
        schedule.deliver((b, voter))
    for voter, answer in ((a, b""), (c, b"only some read this")):
        proposal = next(p for m, p in schedule.wanted if m == voter)
        schedule.lives[voter].group.answer(proposal, Vote(True, answer))
        schedule.drain(voter)
    schedule.deliver((a, b))
    for member in (b, a):
        schedule.lives[member].group.link(c, False)
        schedule.drain(member)
    while schedule.lanes[b, a] and not schedule.lives[a].group.wedged:
        schedule.deliver((b, a))
    assert schedule.lives[a].group.wedged
    schedule.deliver((c, a))
    schedule.dead.add(c)
    schedule.lanes.pop((c, b))
    schedule.wanted.clear()
    schedule.heal()
    assert schedule.lives[a].group.view.members == (a, b)
    (by_a,), (by_b,) = schedule.told[a], schedule.told[b]
    assert by_a.outcome == by_b.outcome == Outcome.COMMITTED
    assert by_a.answers == by_b.answers == ()
