"""A program that ends in the middle of what it does with a node.

`python -m tests.support.loops.leaving BACKEND HOW`: its exit status, and what it prints to stderr,
tell how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial

import anyio
import anyio.lowlevel

from consensus import Accept, Node, Proposal, accept


async def _main(how: str) -> None:
    async with Node.open() as a, Node.open() as b:

        @b.on("plain")
        def plain(proposal: Proposal) -> Accept:
            if how == "a plain handler exits":
                sys.exit(3)
            return accept()

        @b.on("async")
        async def handler(proposal: Proposal) -> Accept:
            await anyio.lowlevel.checkpoint()
            if how == "a handler exits":
                sys.exit(3)
            return accept()

        a.know(b.key, [b.address])
        await a.ask(b.key, "plain")
        await a.ask(b.key, "async")
        if how == "the block exits":
            sys.exit(3)
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        anyio.run(partial(_main, sys.argv[2]), backend=sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(4)
