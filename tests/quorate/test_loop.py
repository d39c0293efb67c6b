"""The loop of a simulated world: virtual time, and lives that end or stand still."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from quorate.simulation.loop import LIFE, Life, NobodyWakes, TimeStandsStill, VirtualLoop


def within(loop: VirtualLoop, life: Life, function: Callable[[], Any]) -> "asyncio.Task[Any]":
    """A task of that life."""
    context = Context()
    context.run(LIFE.set, life)
    return loop.create_task(function(), context=context)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


async def passed(seconds: float) -> None:
    """In virtual time."""
    await anyio.sleep(seconds)


async def count(seen: list[float]) -> None:
    """Once a second, and what a program does at its end."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    try:
        while True:
            seen.append(loop.now)
            await passed(1)
    finally:
        seen.append(-1.0)


def test_years_pass_at_once_and_in_order(loop: VirtualLoop) -> None:
    seen = list[str]()

    async def story() -> None:
        async with anyio.create_task_group() as tasks:
            for name, after in (("late", 1e9), ("soon", 1.0), ("later", 2.0)):
                tasks.start_soon(note, name, after)

    async def note(name: str, after: float) -> None:
        with anyio.CancelScope(deadline=5e8):
            await passed(after)
        seen.append(f"{name} {loop.now:g}")

    loop.run_until_complete(story())
    assert seen == ["soon 1", "later 2", "late 5e+08"]


def test_a_dead_life_runs_nothing_more_and_no_finally(loop: VirtualLoop) -> None:
    life, seen, other = Life(), list[float](), list[float]()

    async def story() -> None:
        within(loop, life, lambda: count(seen))
        within(loop, Life(), lambda: count(other))
        await passed(2.5)
        life.dead = True
        await passed(2)
        gc.collect()

    loop.run_until_complete(story())
    assert seen == [0.0, 1.0, 2.0]
    assert other == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_paused_life_goes_on_late(loop: VirtualLoop) -> None:
    life, seen = Life(), list[float]()

    async def story() -> None:
        within(loop, life, lambda: count(seen))
        await passed(1.5)
        life.kept = []
        await passed(10)
        loop.resume(life)
        await passed(1.25)

    loop.run_until_complete(story())
    assert seen == [0.0, 1.0, 11.5, 12.5]


def test_a_reader_runs_in_the_life_that_registered_it(loop: VirtualLoop) -> None:
    life, lives = Life(), list[Life | None]()

    async def register() -> None:
        loop.add_reader(7, lambda: lives.append(LIFE.get()))

    async def story() -> None:
        await within(loop, life, register)
        assert loop.readable(7)
        await anyio.lowlevel.checkpoint()
        assert loop.remove_reader(7)
        assert not loop.readable(7)

    loop.run_until_complete(story())
    assert lives == [life]


def test_who_never_wakes_is_told(loop: VirtualLoop) -> None:
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(NobodyWakes):
        loop.run_until_complete(waits())


def test_who_never_rests_is_told(loop: VirtualLoop) -> None:
    async def spins() -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    with pytest.raises(TimeStandsStill):
        loop.run_until_complete(spins())


def test_tasks_in_a_set_stand_in_the_order_they_were_made(loop: VirtualLoop) -> None:
    async def nothing() -> None:
        await passed(1)

    async def story() -> None:
        tasks = [asyncio.create_task(nothing()) for _ in range(20)]
        assert [hash(task) for task in tasks] == sorted(hash(task) for task in tasks)
        assert len({hash(task) for task in tasks}) == 20
        await asyncio.gather(*tasks)

    loop.run_until_complete(story())
