"""The three things an endpoint needs of an event loop, on both of anyio's backends.

anyio has them too, but waiting for readability through it registers and unregisters the socket
around every wait and switches tasks, which costs more than opening a small datagram does. Here
the socket stays registered, and the callbacks run in the loop itself.
"""

import asyncio
import contextvars
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, cast

import anyio
from anyio.abc import TaskGroup


class Waiter(Protocol):
    """Something one task waits for, once. Far cheaper than an event for many."""

    def set(self) -> None:
        """It has happened. Harmless when repeated, or when the task was cancelled."""

    async def wait(self) -> None:
        """Until it has happened."""


class Loop(Protocol):
    """Callbacks on the running event loop. Times are seconds on the loop's own clock."""

    cheap_turns: bool
    """A turn of the loop costs little, so that it can look into a socket without sleeping."""

    def time(self) -> float:
        """The loop's clock, in seconds."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call once, after what is ready now."""

    def call_at(self, when: float | None, callback: Callable[[], None]) -> None:
        """Call at `when`; replaces the call asked for before, None withdraws it."""

    def waiter(self) -> Waiter:
        """A new waiter."""

    def spawn(self, tasks: TaskGroup, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a task in `tasks`, from wherever in the loop's thread this is called."""

    async def run(self, fd: int, readable: Callable[[], None]) -> None:
        """Call `readable` whenever `fd` is, until cancelled."""


class _FutureWaiter:
    __slots__ = ("_future",)

    def __init__(self, future: "asyncio.Future[None]") -> None:
        self._future = future

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        await self._future


class AsyncioLoop:
    """On asyncio: `add_reader`, `call_soon`, `call_at`."""

    cheap_turns = True

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._context = _telling_asyncio()
        """What the callbacks run in, and the tasks that begin in them."""
        self.time = self._loop.time

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback, context=self._context)

    def call_at(self, when: float | None, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if when is not None:
            self._timer = self._loop.call_at(when, callback, context=self._context)

    def waiter(self) -> Waiter:
        return _FutureWaiter(self._loop.create_future())

    def spawn(self, tasks: TaskGroup, function: Callable[..., Any], *arguments: Any) -> None:
        # In a copy: a callback may be in the context itself, which nobody can enter twice.
        self._context.copy().run(tasks.start_soon, function, *arguments)

    async def run(self, fd: int, readable: Callable[[], None]) -> None:
        # A reader keeps the context that it is registered in.
        self._context.run(self._loop.add_reader, fd, readable)
        try:
            await anyio.sleep_forever()
        finally:
            self._loop.remove_reader(fd)
            self.call_at(None, readable)


class TrioLoop:
    """On trio: a task that waits for readability, a task whose deadline moves."""

    cheap_turns = False  # to call something soon wakes the loop through a socket of its own

    def __init__(self) -> None:
        import trio

        self._trio = trio
        self._token = trio.lowlevel.current_trio_token()
        self.time: Callable[[], float] = trio.current_time
        self._scope = trio.CancelScope()
        self._callback: Callable[[], None] = _nothing

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._token.run_sync_soon(callback)

    def call_at(self, when: float | None, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._scope.deadline = math.inf if when is None else when

    def waiter(self) -> Waiter:
        return cast(Waiter, self._trio.Event())

    def spawn(self, tasks: TaskGroup, function: Callable[..., Any], *arguments: Any) -> None:
        tasks.start_soon(function, *arguments)

    async def run(self, fd: int, readable: Callable[[], None]) -> None:
        async with self._trio.open_nursery() as nursery:
            nursery.start_soon(self._tick)
            while True:
                await self._trio.lowlevel.wait_readable(fd)
                readable()

    async def _tick(self) -> None:
        while True:
            with self._scope:
                await self._trio.sleep_forever()
            self._scope = self._trio.CancelScope()
            self._callback()


def _telling_asyncio() -> contextvars.Context:
    """This task's context, in which whoever asks for the library that runs is told asyncio.

    anyio asks sniffio if that is installed, which may come with any other package, and sniffio
    sees asyncio only inside of a task. A callback is in none, and could neither start a task nor
    make an event or a scope; nor could the plain handlers of a program that are called there.
    """
    context = contextvars.copy_context()
    with suppress(ModuleNotFoundError):
        import sniffio

        context.run(sniffio.current_async_library_cvar.set, "asyncio")
    return context


def _nothing() -> None:
    return None


_apart: set["asyncio.Task[None]"] = set()
"""Tasks of asyncio's that nobody waits for: it keeps weak references only."""


def spawn_apart(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start a task that no scope and no task group of the caller's ends; only the loop's end does.
    What it raises is lost on asyncio, and ends trio: it has to catch everything."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        trio.lowlevel.spawn_system_task(function, context=contextvars.copy_context())
        return
    task = loop.create_task(function())
    _apart.add(task)
    task.add_done_callback(_apart.discard)


def current() -> Loop:
    """The loop this task runs on."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return TrioLoop()
    return AsyncioLoop()
