"""How much each table of a group holds, and the most that it may: what I9 is asked of.

The bounds are worked out here once more from the constants of `consensus.core.config`, so that an
engine that forgets one of its own is found out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.core.config import (
    BACKLOG_MAX,
    CONTENT_OVERHEAD,
    DEPARTURES_MAX,
    HOLD_FACTOR,
    REASON_SIZE_MAX,
    STOPPED_MAX,
    STRUCK_MAX,
    WINDOW_BYTES,
)
from consensus.core.engine.failure_detection import LINKS_MAX
from consensus.core.engine.group import Group
from consensus.core.engine.membership import JOINERS_MAX
from consensus.core.engine.reads import READS_MAX
from consensus.core.view import VIEW_SIZE_MAX
from scenarios.check.facts import Violation

__all__ = ["TABLES", "check_bounds", "check_group", "sizes"]

Sizes = Mapping[str, tuple[int, int]]
"""The size and the bound of each table, by name."""

TABLES = (
    "_accepts", "_backlog", "_ballots", "_charges", "_committed_changes", "_down", "_feeds",
    "_gone", "_open", "_open_bytes", "_others", "_out", "_overdue", "_rank_of", "_reached",
    "_reads", "_ready", "_sponsored", "_stopped", "_strikes", "_told_ready",
)  # fmt: skip
"""The attributes of a group that hold more or less: each is measured by `sizes`, and so are those
of its parts (order, matrix, synod, leases). The two records of views are values of one size."""

MATRIX = ("agreed", "disputed", "down", "stalled")
JOINS_MAX = VIEW_SIZE_MAX * JOINERS_MAX
"""Joins that all members together sponsor at a time."""
KNOWN_MAX = VIEW_SIZE_MAX + JOINS_MAX
"""Members and those who are about to be."""
_DEPARTURES_BYTES = DEPARTURES_MAX * (REASON_SIZE_MAX + CONTENT_OVERHEAD)


def check_bounds(who: Any, tables: Sizes) -> None:
    """I9: raises Violation if something is larger than its stated bound.

    `tables` is what `sizes` returned, or what a log says that it was.
    """
    for name, (size, bound) in tables.items():
        if size > bound:
            raise Violation("9 bounded memory", (who,), f"{name} holds {size}, bound {bound}")


def check_group(who: Any, group: Group) -> None:
    """The same of a group that was polled."""
    check_bounds(who, sizes(group))


def sizes(group: Group) -> dict[str, tuple[int, int]]:
    """The size and the bound of each table of a group that was polled after its last input."""
    config = group.config
    members = len(group._view.members)
    share = members or 1
    held = HOLD_FACTOR * (max(1, config.window_total // share) + DEPARTURES_MAX)
    held_bytes = HOLD_FACTOR * (WINDOW_BYTES // share + _DEPARTURES_BYTES)
    early = 2 * (config.window_total + members * DEPARTURES_MAX) * max(members - 1, 1)
    proposals = members * held
    order, ballots = group._order, group._ballots
    said = reasons = 0
    for ballot in ballots.values():
        if ballot.answers is not None and len(ballot.answers) > said:
            said = len(ballot.answers)
        if ballot.reasons is not None and len(ballot.reasons) > reasons:
            reasons = len(ballot.reasons)
    tables = {
        "outputs not polled": (len(group._out), 0),
        "votes not sent": (len(group._accepts), 0),
        # What falls out of a view waits as well, and so do kicks of liars and joins sponsored.
        "backlog": (
            len(group._backlog),
            BACKLOG_MAX + config.window_total + DEPARTURES_MAX + VIEW_SIZE_MAX + JOINERS_MAX,
        ),
        "ballots": (len(ballots), proposals + early),
        "early votes": (group._early, early),
        "answers of one ballot": (said, members),
        "reasons of one ballot": (reasons, members),
        "open per proposer": (max(group._open, default=0), held),
        "open bytes per proposer": (max(group._open_bytes, default=0), held_bytes),
        "rows of proposers": (max(len(group._open), len(group._open_bytes)), members),
        "order.queue": (len(order.queue), proposals),
        "order.log": (len(order.log), proposals),
        "order.queue and order.log": (len(order.queue) + len(order.log), proposals),
        "order.heard": (len(order.heard), members),
        "order.marks": (len(order.marks), members),
    }
    tables.update(_sizes_of_changes(group, members, proposals))
    return tables


def _sizes_of_changes(group: Group, members: int, proposals: int) -> dict[str, tuple[int, int]]:
    """Of what changes of the view and reads leave behind."""
    synod, leases, matrix, stopped = group._synod, group._leases, group._matrix, group._stopped
    return {
        "links down": (len(group._down), LINKS_MAX),
        "ended incarnations": (len(group._gone), KNOWN_MAX),
        "ranks": (max(len(group._rank_of), len(group._others)), members),
        "sponsored": (len(group._sponsored), JOINERS_MAX),
        "feeds": (len(group._feeds), JOINERS_MAX),
        "joiners ready": (len(group._ready), JOINS_MAX),
        "committed changes": (len(group._committed_changes), proposals),
        "overdue kicks": (len(group._overdue), proposals),
        "answers to STALL": (len(group._stall.said), members),
        "charges": (len(group._charges), members),
        "strikes": (len(group._strikes), STRUCK_MAX),
        "reached": (len(group._reached), 2 * VIEW_SIZE_MAX),
        "reached, told": (len(group._told_ready), VIEW_SIZE_MAX),
        "stopped lanes": (len(stopped), KNOWN_MAX),
        "a stopped lane": (max(map(len, stopped.values()), default=0), STOPPED_MAX),
        "reads": (len(group._reads), READS_MAX),
        "leases": (max(len(leases.grants), len(leases.running)), members),
        "matrix": (max(len(getattr(matrix, part)) for part in MATRIX), members),
        "promises": (max(len(synod.promises), len(synod.acceptors)), members),
    }
