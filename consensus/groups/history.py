"""The last events of a group, and readers of them at their own pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, cast

import anyio
import anyio.lowlevel

from consensus.core import types as core
from consensus.core.errors import GroupError
from consensus.decision import Decision, GroupEnded, SuspensionChanged, ViewChanged, ViewInfo

EVENTS_KEPT = 4096
"""Events that a slow reader may be behind."""

TURN = 64
"""Events a reader takes in a row before other tasks get their turn."""

Told = tuple[core.Decision, ViewInfo]
"""A decision as the engine told it, and the view that was in force."""
GroupEventKind = Decision | ViewChanged | SuspensionChanged | GroupEnded
E = TypeVar("E", bound=GroupEventKind)


class EventsMissed(GroupError):
    """The reader fell so far behind that events were dropped. It goes on with the oldest kept."""


class History:
    """One list for all readers: it does not grow with them, nor with how slow they are. What a
    decision looks like to a user is worked out when one reads it: most members have no reader."""

    def __init__(self, describe: Callable[[core.Decision, ViewInfo], Decision]) -> None:
        self.events: deque[GroupEventKind | Told] = deque(maxlen=EVENTS_KEPT)
        self._describe = describe
        self.number = 0
        """How many there have been."""
        self.ended = anyio.Event()
        self._news: anyio.Event | None = None

    def add(self, event: GroupEventKind | Told) -> None:
        """One more."""
        self.events.append(event)
        self.number += 1
        if self._news is not None:
            self._news.set()
            self._news = None
        if type(event) is GroupEnded:
            self.ended.set()

    def begin_again(self) -> None:
        """What was told is void: it is from a time before the state that was just received."""
        self.events.clear()

    def decision(self, index: int) -> Decision | None:
        """The decision of that index, if it is among the last events."""
        for event in reversed(self.events):
            if type(event) is tuple and event[0].index == index and index > 0:
                return self._describe(*event)
        return None

    def event(self, behind: int) -> GroupEventKind:
        """The last event (1), or one before it."""
        event = self.events[-behind]
        return self._describe(*event) if type(event) is tuple else cast(GroupEventKind, event)

    async def changed(self) -> None:
        """Until the next event."""
        if self._news is None:
            self._news = anyio.Event()
        await self._news.wait()


class Events(Generic[E]):
    """An asynchronous iterator over what happens in a group, from the oldest event kept or from
    now on. It costs nothing to drop one."""

    def __init__(self, history: History, kind: type[E] | None, *, from_now: bool) -> None:
        self._history = history
        self._kind = kind
        self._at = history.number if from_now else history.number - len(history.events)
        self._in_a_row = 0

    def __aiter__(self) -> Events[E]:
        return self

    async def __anext__(self) -> E:
        history = self._history
        while True:
            while self._at < history.number:
                behind = history.number - self._at
                if behind > len(history.events):
                    self._at = history.number - len(history.events)
                    raise EventsMissed(f"more than {EVENTS_KEPT} events behind")
                event = history.event(behind)
                self._at += 1
                if self._kind is None or isinstance(event, self._kind):
                    # Others get their turn even if there is always another event.
                    self._in_a_row += 1
                    if self._in_a_row % TURN == 0:
                        await anyio.lowlevel.checkpoint()
                    return cast(E, event)
            if history.ended.is_set():
                raise StopAsyncIteration
            self._in_a_row = 0
            await history.changed()
