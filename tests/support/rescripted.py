"""Scripts whose groups are listened to by the checkers."""

from __future__ import annotations

from consensus.core.group import Group
from consensus.core.outputs import Output
from scenarios.checkers import Checkers, Violation
from scenarios.liveness import check_liveness
from scenarios.recorder import Recorder
from scenarios.stage import standing
from tests.support.printed import member
from tests.support.script import World, blocks_of


class Heard(World):
    """A script's world; whatever its groups put out is checked."""

    def __init__(self, group: type[Group]) -> None:
        super().__init__(group)
        self.recorders: dict[str, Recorder] = {}
        self.checkers: Checkers | None = None
        self.ever: dict[str, Group] = {}

    def do(self, name: str, group: Group, output: Output) -> None:
        if self.checkers is None:
            self.checkers = Checkers(self.config.casting_vote)
        recorder = self.recorders.setdefault(name, Recorder(member(name)))
        for event in recorder.take([output]):
            self.checkers.observe(member(name), event)
        self.ever[name] = group
        super().do(name, group, output)

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
    after some command or, if it `rests`, what everybody should have come to in the end."""
    world = Heard(group)
    try:
        for commands, _ in blocks_of(script):
            for line in commands:
                if line and not line.startswith("#"):
                    world.run(line)
                    if world.checkers is not None:
                        world.checkers.settle()
        if rests:
            world.check_rest()
    except Violation as violation:
        return violation
    return None
