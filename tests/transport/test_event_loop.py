"""What the endpoint needs of an event loop, on both of them."""

import socket

import anyio
import pytest

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
            with anyio.fail_after(10):
                await three.wait()
            tasks.cancel_scope.cancel()
        there.send(b"4")
        await anyio.sleep(0.05)
        assert got == [b"1", b"2", b"3"]


async def test_the_last_time_asked_for_counts_and_none_withdraws_it() -> None:
    here, there = socket.socketpair(type=socket.SOCK_DGRAM)
    with here, there:
        current = event_loop.current()
        called: list[str] = []
        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(current.run, here.fileno(), lambda: None)
            await anyio.sleep(0.01)
            current.call_at(current.time() + 0.01, lambda: called.append("withdrawn"))
            current.call_at(None, lambda: called.append("never"))
            await anyio.sleep(0.05)
            assert called == []
            current.call_at(current.time() + 3600, lambda: called.append("late"))
            current.call_at(current.time() + 0.01, done.set)
            with anyio.fail_after(10):
                await done.wait()
            current.call_at(current.time() - 1.0, lambda: called.append("past"))
            await anyio.sleep(0.05)
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
        await anyio.sleep(0.05)
        assert called == [0, 1, 2, 3, 4]


async def test_a_waiter_is_set_before_or_after_it_is_waited_for() -> None:
    current = event_loop.current()
    early = current.waiter()
    early.set()
    early.set()
    with anyio.fail_after(10):
        await early.wait()
    late = current.waiter()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late.wait)
            await anyio.wait_all_tasks_blocked()
            late.set()
    cancelled = current.waiter()
    with anyio.move_on_after(0.01) as scope:
        await cancelled.wait()
    assert scope.cancelled_caught
    cancelled.set()  # Too late, and harmless.
