"""How tests wait: for what happens, never for so many seconds.

A test that sleeps for a moment and then looks, or says how soon something has to be over, holds on
a machine that has nothing else to do. What must come is waited for with patience; what must not
come is given every turn of the event loop that it could come in; and what takes its time in the
product is given virtual time. `tests/test_real_clock.py` holds that.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

PATIENCE_S = 300.0
"""How long a test waits for what must come: far longer than it takes on a machine that others use,
so that only a hang fails."""
_POLL_S = 0.01
_TURNS = 50


async def until(true: Callable[[], object]) -> None:
    """What goes on beside this task comes to this."""
    with anyio.fail_after(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what a test looks at tells nobody of itself
            await anyio.sleep(_POLL_S)


def until_true(true: Callable[[], object], why: Callable[[], object] = lambda: "") -> None:
    """What other processes and threads do comes to this; `why` is asked what to say if not."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(_POLL_S)


async def turns() -> None:
    """More turns of the event loop than it takes to deal with whatever is ready: a datagram in a
    socket, a time that has passed, a call asked for. No time has to pass for them."""
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()


async def cancelled_in(call: Callable[[], Awaitable[object]]) -> None:
    """Begin what waits for something that does not come, and cancel it there."""
    ended = False

    async def run() -> None:
        nonlocal ended
        await call()
        ended = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert not ended, "it did not wait"
