"""A member that reads, is stopped, and reads again by clocks of which some have stood meanwhile.

    python -m tests.support.clocks.reader slept|slewed BACKEND

With the library of `stood.c` preloaded. It says its key in hex and its port, is given an
invitation, says "reads" when it holds a lease, and stops itself at once. After it was made to go on
it says what its next read gave: the sum that it knows, or "refused".
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import anyio

from quorate import ConsensusError, Node, Replica
from tests.support.clocks.stood import SLEPT, SLEWED

STAND = {"slept": SLEPT, "slewed": SLEWED}
"""Here what is slewed runs as slow as it can be."""


class Sum:
    """A state: the sum of its commands."""

    def __init__(self) -> None:
        self.value = 0
        self.replica = Replica(
            apply=self._add, snapshot=lambda: str(self.value).encode(), restore=self._restore
        )

    def _add(self, number: int) -> None:
        self.value += number

    def _restore(self, data: bytes) -> None:
        self.value = int(data)


def stop(clocks: set[int]) -> None:
    """Until somebody has this process go on, in a time that these clocks have not counted."""
    (counts,) = (SLEPT | SLEWED) - clocks
    before_ns = time.clock_gettime_ns(counts)
    os.kill(os.getpid(), signal.SIGSTOP)
    stood_ns = time.clock_gettime_ns(counts) - before_ns
    for clock in clocks:
        ctypes.CDLL(None).clock_stood(ctypes.c_int(clock), ctypes.c_int64(stood_ns))


async def main(how: str) -> None:
    """See the module."""
    async with Node.open(None) as node:
        print(node.key.hex(), node.address[1], flush=True)
        token = await anyio.to_thread.run_sync(sys.stdin.readline)
        state = Sum()
        group = await state.replica.join(node, token.strip())
        await group.read()  # Asks, and is granted a lease with the answer.
        print("reads", flush=True)
        stop(STAND[how])
        try:
            print(await state.replica.read(lambda: state.value), flush=True)
        except ConsensusError:
            print("refused", flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], backend=sys.argv[2])
