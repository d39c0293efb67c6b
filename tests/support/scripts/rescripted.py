"""Scripts whose groups are listened to by the checkers."""

from __future__ import annotations

from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.outputs import Output
from scenarios.check.bounds import check_group
from scenarios.check.facts import Violation
from scenarios.check.invariants import IN_A_WORLD, INVARIANTS, Checkers
from scenarios.check.liveness import check_liveness
from scenarios.stage.recorder import Recorder
from scenarios.stage.stage import standing
from tests.support.scripts.printed import member
from tests.support.scripts.script import World, blocks_of


class Heard(World):
    """A script's world; whatever its groups put out is checked."""

    def __init__(self, group: type[Group], *, rests: bool = True) -> None:
        super().__init__(group)
        self.invariants = IN_A_WORLD if rests else INVARIANTS
        self.recorders: dict[str, Recorder] = {}
        self.checkers: Checkers | None = None
        self.ever: dict[str, Group] = {}

    def do(self, name: str, group: Group, output: Output) -> None:
        if self.checkers is None:
            self.checkers = Checkers(self.config.casting_vote, self.invariants)
        recorder = self.recorders.setdefault(name, Recorder(member(name)))
        for event in recorder.take([output]):
            self.checkers.observe(member(name), event)
        self.ever[name] = group
        super().do(name, group, output)

    def drain(self, name: str) -> None:
        super().drain(name)
        if name in self.groups and not self.gathers:
            check_group(member(name), self.groups[name])

    def live_through(self, script: str) -> None:
        """Runs all of a script's commands."""
        for commands, _ in blocks_of(script):
            for line in commands:
                if line and not line.startswith("#"):
                    self.run(line)
                    if self.checkers is not None:
                        self.checkers.settle()

    def at_rest(self) -> bool:
        """Nothing is under way, no timer is armed, and everybody hears who lives and knows who is
        dead: whatever is still open now stays so."""
        if any(lane and to in self.groups for (_, to), lane in self.lanes.items()):
            return False
        if any(self.timers[name] for name in self.groups):
            return False
        living = {member(name) for name in self.groups}
        return all(
            (other in living) != (other in (*group._down, *group._gone))
            for group in self.groups.values()
            if group.phase == Phase.MEMBER
            for other in group._others
        )

    def check_rest(self) -> None:
        """Raises the violation of liveness. Right where everybody had the time to come to rest."""
        standings = [
            standing(member(name), self.recorders[name], group, alive=name in self.groups)
            for name, group in self.ever.items()
        ]
        check_liveness(standings, self.config.casting_vote)


def violation_of(
    script: str, group: type[Group] = Group, *, rests: bool = True
) -> Violation | None:
    """What a script's history violates, if anything: a contradiction, a reason that is missing
    after some command, a table that is too large or, if it `rests` or nothing is under way any
    more, what everybody should have come to in the end."""
    world = Heard(group, rests=rests)
    try:
        world.live_through(script)
        if rests or world.at_rest():
            world.check_rest()
    except Violation as violation:
        return violation
    return None
