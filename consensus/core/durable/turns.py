"""What one turn of a durable group put out, what of it is kept beside the log, and what a later
process says first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.numbers import Index
from consensus.core.outputs import (
    Arm,
    Decided,
    Ended,
    Expelled,
    Installed,
    Lost,
    Output,
    SnapshotReceived,
    Suspended,
)
from consensus.core.types import Decision, Member, Timer


class Turn(NamedTuple):
    """What one turn put out, and how far it had heard of whom."""

    seq: int
    outputs: list[Output]
    received: dict[Member, int]


def lasting(outputs: Sequence[Output]) -> tuple[tuple[Decision, ...], tuple[Index, bytes] | None]:
    """The decisions that became known, and the index and bytes of the state they follow, if one was
    received."""
    restored, decisions = None, list[Decision]()
    for output in outputs:
        if type(output) is Decided and output.decision.index:
            decisions.append(output.decision)
        elif type(output) is SnapshotReceived:
            restored, decisions = (output.index, output.data), []
    return tuple(decisions), restored


def on_waking(group: Group, timers: Mapping[Timer, float]) -> list[Output]:
    """Where a group stands that another process goes on with, and what it is still to be told."""
    outputs = list[Output]()
    if group.phase == Phase.MEMBER:
        outputs.append(Installed(group.view))
        if group.suspended:
            outputs.append(Suspended(True))
    elif group.reason:
        outputs.append(Expelled(group.reason))
    if group.phase == Phase.ENDED:
        if not group.reason:
            outputs.append(Lost("it had ended before the node was opened"))
        outputs.append(Ended())
    outputs += [Arm(timer, delay_s) for timer, delay_s in timers.items()]
    return outputs + group.unanswered()
