"""Request and answer of 64 bytes between two tables of peers in one process, over real sockets.

The transport and nothing around it: what `ask` calls `quorate entries`, without a change of process
in between. Run in two checkouts in turn it compares them where `ask` drowns in the machine's noise.
"""

import asyncio
import time

import anyio

from benchmarks.quorate_sides import Transport, serving
from benchmarks.report import options, row
from benchmarks.rounds import WINDOW

_EXCHANGES = 32 * 200  # of a round


async def run(rounds: int, exchanges: int) -> None:
    """Print what one exchange costs of processor time, one at a time and many in flight."""
    here, there = Transport(answers=False), Transport(answers=True)
    async with serving(here, there):
        key = there.identity.key
        await here.call(key, [there.endpoint.address])

        async def work(count: int) -> None:
            for _ in range(count):
                await here.call(key, [])

        costs: dict[int, list[float]] = {1: [], WINDOW: []}
        for number in range(rounds + 1):
            for window, found in costs.items():
                before = time.process_time()
                await asyncio.gather(*(work(exchanges // window) for _ in range(window)))
                if number:  # the first round warms up
                    found.append(1e6 * (time.process_time() - before) / exchanges)
        for window, found in costs.items():
            row("exchange", f"{window} in flight", "processor time, both sides", found, "us")


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    anyio.run(run, chosen.rounds, _EXCHANGES // 10 if chosen.quick else _EXCHANGES)


if __name__ == "__main__":
    main()
