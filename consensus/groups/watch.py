"""Tells the log, in words, of groups that are held up, and by what."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import anyio

from consensus.groups.handle import Group
from consensus.status import GroupStatus

log = logging.getLogger("quorate.group")
LOOK_S = 1.0
"""How often the groups are looked at. Nothing is sent for it."""
AGAIN_S = 10.0
"""After so long a line is written again, if nothing has changed."""

_Cause = tuple[object, ...]


class Watch:
    """All groups of one node."""

    def __init__(self, groups: Callable[[], Iterable[Group]]) -> None:
        self._groups = groups
        self._told: dict[Group, tuple[_Cause, float]] = {}
        """Of the groups that are held up: what was told last, and when."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await anyio.sleep(LOOK_S)
            self.look(anyio.current_time())

    def look(self, now: float) -> None:
        """Look once, and tell what is new or has lasted; `now` in seconds."""
        groups = list(self._groups())
        self._told = {group: told for group, told in self._told.items() if group in groups}
        for group in groups:
            status = group.status()
            if status.held_up:
                self._tell(group, status, now)
            elif self._told.pop(group, None) is not None:
                log.info("%s goes on", status)

    def _tell(self, group: Group, status: GroupStatus, now: float) -> None:
        cause = _cause(status)
        before, told_at = self._told.get(group, (None, 0.0))
        if cause != before or now - told_at >= AGAIN_S:
            self._told[group] = cause, now
            log.warning("%s", status)


def _cause(status: GroupStatus) -> _Cause:
    """What holds a group up, without how long it has done so."""
    first = status.proposals[0] if status.proposals else None
    return (
        tuple((member.key, member.suspected_by) for member in status.members),
        None if first is None else (first.kind, first.waits_for),
        status.changing,
        status.suspended,
    )
