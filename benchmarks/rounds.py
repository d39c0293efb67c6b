"""Request and answer, counted: all systems in the same run, taking turns in every round."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from benchmarks.report import percentile, row

WINDOW = 32
"""Requests in flight at once, where more than one is."""
_FAST = 0.05
"""On a machine that is busy with other things, the time when it was not."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class System(NamedTuple):
    """Something that answers requests."""

    name: str
    call: Callable[[int], Awaitable[object]]
    """One request and its answer, by the worker of this number, 0 to `WINDOW` - 1."""
    pid: int
    """The process of the other side."""
    at_once: bool = True
    """More than one request can be in flight."""


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process has used, in steps of 10 ms."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


async def _one_at_a_time(system: System, seconds: float) -> list[float]:
    taken = []
    before = time.perf_counter()
    end = before + seconds
    while before < end:
        await system.call(0)
        after = time.perf_counter()
        taken.append(after - before)
        before = after
    return taken


async def _many_at_once(system: System, seconds: float) -> float:
    started = time.perf_counter()
    end = started + seconds

    async def work(worker: int) -> int:
        count = 0
        while time.perf_counter() < end:
            await system.call(worker)
            count += 1
        return count

    counts = await asyncio.gather(*map(work, range(WINDOW)))
    return sum(counts) / (time.perf_counter() - started)


async def measure(bench: str, systems: Sequence[System], rounds: int, seconds: float) -> None:
    """Print the rows of all systems; `seconds` for each of them and each way, in every round."""
    rates: dict[str, list[float]] = {system.name: [] for system in systems}
    medians: dict[str, list[float]] = {system.name: [] for system in systems}
    fast: dict[str, list[float]] = {system.name: [] for system in systems}
    costs: dict[str, list[float]] = {system.name: [] for system in systems}
    together: dict[str, list[float]] = {system.name: [] for system in systems if system.at_once}
    for system in systems:
        await _one_at_a_time(system, seconds / 4)
    for _ in range(rounds):
        for system in systems:
            before = time.process_time() + processor_s(system.pid)
            taken = await _one_at_a_time(system, seconds)
            spent = time.process_time() + processor_s(system.pid) - before
            rates[system.name].append(len(taken) / sum(taken))
            medians[system.name].append(1e6 * percentile(taken, 0.5))
            fast[system.name].append(1e6 * percentile(taken, _FAST))
            costs[system.name].append(1e6 * spent / len(taken))
            if system.at_once:
                together[system.name].append(await _many_at_once(system, seconds))
    for system in systems:
        name = system.name
        row(bench, name, "one at a time", rates[name], "1/s")
        row(bench, name, "median time", medians[name], "us")
        row(bench, name, f"time of the fastest {_FAST:.0%}", fast[name], "us")
        row(bench, name, "processor time, both sides", costs[name], "us")
        if system.at_once:
            row(bench, name, f"{WINDOW} in flight", together[name], "1/s")
