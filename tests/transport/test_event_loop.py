"""What the endpoint needs of an event loop, on both of them."""

import socket

import anyio
import pytest

from tests.support.waiting import PATIENCE_S, cancelled_in, turns, until
from transport import event_loop

pytestmark = pytest.mark.anyio


async def test_a_readable_socket_is_told_until_cancelled() -> None:
    here, there = socket.socketpair(type=socket.SOCK_DGRAM)
    with here, there:
        here.setblocking(False)
        got: list[bytes] = []
        three = anyio.Event()

        def readable() -> None:
            got.append(here.recv(10))
            if len(got) == 3:
                three.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(event_loop.current().run, here.fileno(), readable)
            for data in (b"1", b"2", b"3"):
                there.send(data)
            with anyio.fail_after(PATIENCE_S):
                await three.wait()
            tasks.cancel_scope.cancel()
        there.send(b"4")
        await turns()
        assert got == [b"1", b"2", b"3"]


async def test_the_last_time_asked_for_counts_and_none_withdraws_it() -> None:
    here, there = socket.socketpair(type=socket.SOCK_DGRAM)
    with here, there:
        current = event_loop.current()
        called: list[str] = []
        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(current.run, here.fileno(), lambda: None)
            await anyio.wait_all_tasks_blocked()
            current.call_at(current.time() - 1.0, lambda: called.append("withdrawn"))
            current.call_at(None, lambda: called.append("never"))
            await turns()
            assert called == []
            current.call_at(current.time() + 3600, lambda: called.append("late"))
            current.call_at(current.time() + 0.01, done.set)
            with anyio.fail_after(PATIENCE_S):
                await done.wait()
            current.call_at(current.time() - 1.0, lambda: called.append("past"))
            await until(lambda: called)
            await turns()
            tasks.cancel_scope.cancel()
        assert called == ["past"]


async def test_what_is_called_soon_is_called_once_and_in_order() -> None:
    here, there = socket.socketpair(type=socket.SOCK_DGRAM)
    with here, there:
        current = event_loop.current()
        called: list[int] = []
        for number in range(5):
            current.call_soon(lambda number=number: called.append(number))  # type: ignore[misc]
        assert called == []
        await until(lambda: len(called) >= 5)
        await turns()
        assert called == [0, 1, 2, 3, 4]


async def test_a_waiter_is_set_before_or_after_it_is_waited_for() -> None:
    current = event_loop.current()
    early = current.waiter()
    early.set()
    early.set()
    with anyio.fail_after(PATIENCE_S):
        await early.wait()
    late = current.waiter()
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late.wait)
            await anyio.wait_all_tasks_blocked()
            late.set()
    cancelled = current.waiter()
    await cancelled_in(cancelled.wait)
    cancelled.set()  # Too late, and harmless.
