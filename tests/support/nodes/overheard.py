"""Has the checkers hear every step of the groups of whole simulated nodes."""

from __future__ import annotations

from typing import cast

import pytest

from consensus.core.engine.group import Group
from consensus.core.outputs import Output
from consensus.machine import machine
from scenarios.check.invariants import Checkers
from scenarios.stage.recorder import Recorder

__all__ = ["overhear"]


def overhear(patch: pytest.MonkeyPatch, casting_vote: bool = True) -> Checkers:
    """Checkers of the one group that the machines made from now on have together; what violates an
    invariant raises where it is done."""
    checkers = Checkers(casting_vote)
    recorders: dict[object, Recorder] = {}

    class Overheard(Group):
        """The shipped engine; what it puts out passes by here on its way to the machine."""

        def poll(self) -> list[Output]:
            outputs = super().poll()
            if outputs and self.config.ordered:
                recorder = recorders.setdefault(self.me, Recorder(self.me))
                for event in recorder.take(outputs):
                    checkers.observe(self.me, event)
                checkers.settle()
            return outputs

    patch.setattr(machine, "Group", cast(type[Group], Overheard))
    return checkers
