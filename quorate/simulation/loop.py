"""An asyncio event loop in virtual time, without a selector, whose callbacks belong to lives.

Every callback runs in a context, and a context variable there says which life of which host it is
of. So a crash is that callbacks of that life never run again, without any `finally`, as after
SIGKILL; and a pause is that they are kept until later, as between SIGSTOP and SIGCONT. Time moves
on when nothing is ready, straight to what is due next.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVarTuple, Unpack

__all__ = ["LIFE", "Life", "NobodyWakes", "TimeStandsStill", "VirtualLoop"]

_Ts = TypeVarTuple("_Ts")

CALLBACKS_PER_INSTANT_MAX = 200_000
"""More at one instant are a program that never lets time pass."""


class TimeStandsStill(RuntimeError):
    """Something goes on and on at one instant."""


class NobodyWakes(RuntimeError):
    """Nothing is ready and nothing is due: what is waited for never comes."""


class Life:
    """From a start of a host's program to its end."""

    def __init__(self) -> None:
        self.dead = False
        self.kept: list[asyncio.Handle] | None = None
        """While it is paused: what would have run, in order."""
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """Those that have not ended. Held here, so that a dead life's are never collected: their
        `finally` would run then."""


LIFE: ContextVar[Life | None] = ContextVar("quorate_life", default=None)


class _Task(asyncio.Task[Any]):
    """A task whose hash is a number of its own: anyio keeps tasks in sets, whose order would come
    from addresses in memory."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, number: int, **named: Any) -> None:
        self._number = number
        super().__init__(coro, **named)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Time is a number, in seconds from the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._queue: deque[tuple[asyncio.Handle, Life | None]] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Life | None]] = []
        self._numbers = self._tasks = self._at_once = 0
        self._readers: dict[object, tuple[Callable[..., object], tuple[Any, ...], Context]] = {}
        self.set_task_factory(self._new_task)

    def _new_task(self, loop: Any, coro: Any, **named: Any) -> asyncio.Task[Any]:
        self._tasks += 1
        task = _Task(coro, loop=loop, number=self._tasks, **named)
        context = named.get("context")
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            life.tasks[task] = None
            task.add_done_callback(life.tasks.pop)
        return task

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        life = LIFE.get() if context is None else context.get(LIFE)
        handle = asyncio.Handle(callback, args, self, context)
        self._queue.append((handle, life))
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        life = LIFE.get() if context is None else context.get(LIFE)
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._timers, (max(when, self.now), self._numbers, handle, life))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Those are passed over when their time comes."""

    def add_reader(self, fd: Any, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts) -> None:
        self._readers[fd] = callback, args, contextvars.copy_context()

    def remove_reader(self, fd: Any) -> bool:
        return self._readers.pop(fd, None) is not None

    def readable(self, fd: int) -> bool:
        """The simulated socket has something. False when nobody waits for it."""
        found = self._readers.get(fd)
        if found is None:
            return False
        callback, args, context = found
        self.call_soon(callback, *args, context=context)
        return True

    def resume(self, life: Life) -> None:
        """A paused life goes on, with all that came meanwhile."""
        kept, life.kept = life.kept or [], None
        self._queue.extend((handle, life) for handle in kept)

    def _process_events(self, event_list: Any) -> None:
        """There is no selector."""

    def _write_to_self(self) -> None:
        """Nor a thread that would have to wake it."""

    def _run_once(self) -> None:
        if not self._queue:
            self._move_on()
        for _ in range(len(self._queue)):
            handle, life = self._queue.popleft()
            if handle.cancelled() or (life is not None and life.dead):
                continue
            if life is not None and life.kept is not None:
                life.kept.append(handle)
                continue
            self._at_once += 1
            if self._at_once > CALLBACKS_PER_INSTANT_MAX:
                raise TimeStandsStill(f"at {self.now} s: {handle!r}")
            handle._run()

    def _move_on(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise NobodyWakes("nothing is ready and nothing is due")
        self.now, self._at_once = timers[0][0], 0
        while timers and timers[0][0] <= self.now:
            _, _, handle, life = heapq.heappop(timers)
            self._queue.append((handle, life))
