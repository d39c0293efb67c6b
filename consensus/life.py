"""How a node lives: in a task of its own, from when it was opened until it has closed.

That task is a child of nobody's scope. So a node may be opened in one task and closed in another,
as the fixtures of test frameworks and the lifespans of web frameworks are, and whatever leaves the
block of `async with`, `SystemExit` and `KeyboardInterrupt` among it, leaves it as itself and in no
group of exceptions. What a parent would do is done here: a node that fails cancels the block, which
raises the failure, and a block that is cancelled waits until the node has closed, which is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Generic, TypeVar

import anyio

from transport import event_loop

__all__ = ["Life", "Opening", "leaf"]

T = TypeVar("T")
_within: ContextVar[Life | None] = ContextVar("_within", default=None)
"""The node whose task, or a task of which, this is."""


class Life:
    """Of one node: what its own task and those who close it tell each other."""

    def __init__(self) -> None:
        self.closing = anyio.Event()
        """Somebody wants it closed."""
        self._over = anyio.Event()
        self._failure: BaseException | None = None
        self._told: Callable[[], object] | None = None

    def tell(self, failed: Callable[[], object]) -> None:
        """Call this when the node fails, at once if it has."""
        self._told = failed
        if self._failure is not None:
            failed()

    @property
    def failure(self) -> BaseException | None:
        """What has ended it, if it was not closed."""
        return self._failure

    async def live(
        self, running: AbstractAsyncContextManager[T], begun: Callable[[T], None]
    ) -> None:
        """The task: until it is to close, or something in `running` fails."""
        _within.set(self)
        try:
            async with running as opened:
                begun(opened)
                await self.closing.wait()
        except anyio.get_cancelled_exc_class():
            raise  # The event loop ends, and nobody has closed the node.
        except BaseException as error:
            self._failure = leaf(error)
        finally:
            self._over.set()
            if self._failure is not None and self._told is not None:
                self._told()

    async def close(self) -> None:
        """Have it closed, and wait for that, also if this is cancelled meanwhile. One of the
        node's own tasks, such as a handler, only begins it: it has to end first."""
        self.closing.set()
        if _within.get() is self:
            return
        with anyio.CancelScope(shield=True):
            try:
                await self._over.wait()
            except anyio.get_cancelled_exc_class():  # asyncio's own, which no scope keeps out.
                await self._over.wait()
                raise


class Opening(Generic[T]):
    """A node about to be opened: `async with` it, or `await` it and call `aclose` in the end."""

    def __init__(self, running: Callable[[Life], AbstractAsyncContextManager[T]]) -> None:
        self._running = running
        self._life: Life | None = None
        self._scope: anyio.CancelScope | None = None
        self._task = 0

    def __await__(self) -> Generator[object, None, T]:
        return self._open().__await__()

    async def _open(self) -> T:
        if self._life is not None:
            raise RuntimeError("this was opened before: call Node.open() again")
        life = self._life = Life()
        there = anyio.Event()
        opened: list[T] = []

        def begun(one: T) -> None:
            opened.append(one)
            there.set()

        life.tell(there.set)
        event_loop.spawn_apart(lambda: life.live(self._running(life), begun))
        try:
            await there.wait()
        except BaseException:
            await life.close()
            raise
        if life.failure is not None:
            raise life.failure
        return opened[0]

    async def __aenter__(self) -> T:
        node = await self._open()
        assert self._life is not None
        self._task = anyio.get_current_task().id
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        self._life.tell(self._scope.cancel)
        return node

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._life is not None
        assert self._scope is not None
        try:
            await self._life.close()
        finally:
            # On asyncio a node may be left in another task than it was entered in; the scope
            # belongs to that one, and has nothing to cancel here.
            ours = anyio.get_current_task().id == self._task
            swallowed = ours and bool(self._scope.__exit__(kind, error, trace))
        failure = self._life.failure
        if failure is not None and (swallowed or error is None or isinstance(error, Exception)):
            raise failure  # Which is the only reason for the scope to have swallowed anything.


def leaf(error: BaseException) -> BaseException:
    """What one exception is about: of a group with one in it, that one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
