"""A program that starts its event loop in the way it is told, and what has to work under any.

`python -m tests.support.loops.program STARTER [no-sniffio]` prints versions and "all went well".
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

if "no-sniffio" in sys.argv:
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # As if it were not installed.

warnings.simplefilter("error")

import anyio.lowlevel  # noqa: E402 - after what is not to be found is hidden

from consensus import Accept, Channel, Node, Outcome, Proposal, accept  # noqa: E402


async def _all() -> None:
    async with Node.open() as a, Node.open() as b:

        @b.on("async")
        async def handler(proposal: Proposal) -> Accept:
            await anyio.lowlevel.checkpoint()
            return accept("hi")

        @b.on("plain")
        def plain(proposal: Proposal) -> Accept:
            return accept(
                type(anyio.current_time()).__name__
            )  # What it calls there is told the library, too.

        @b.serve("echo")
        async def echo(channel: Channel) -> None:
            await channel.send(await channel.receive())

        a.know(b.key, [b.address])
        assert await a.ask(b.key, "async") == "hi"
        assert await a.ask(b.key, "plain") == "float"
        channel = await a.open_channel(b.key, "echo")
        await channel.send(b"x")
        assert await channel.receive() == b"x"
        await channel.aclose()
        group = await a.found("group")
        await b.join(group.invite())
        assert (await group.propose("async")).outcome is Outcome.COMMITTED


def _asyncio() -> None:
    import asyncio

    asyncio.run(_all())


def _uvloop() -> None:
    import uvloop

    uvloop.run(_all())


def _trio() -> None:
    import trio

    trio.run(_all)


def _anyio_uvloop() -> None:
    anyio.run(_all, backend_options={"use_uvloop": True})


def _callback() -> None:
    """The node's plain functions are called from a callback of the loop, where there is no task."""
    import asyncio

    async def main(all_went_well: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await all_went_well()
        async with Node.open() as a, Node.open() as b:
            group = await a.found("group")
            b.on("kind")(lambda proposal: accept())
            done = asyncio.get_running_loop().create_future()

            def call() -> None:
                a.know(b.key, [b.address])
                done.set_result(group.invite())

            asyncio.get_running_loop().call_soon(call)
            await b.join(await done)

    asyncio.run(main(_all))


STARTERS: dict[str, Callable[[], None]] = {
    "asyncio.run": _asyncio,
    "asyncio.run, callbacks": _callback,
    "uvloop.run": _uvloop,
    "anyio.run": lambda: anyio.run(_all),
    "anyio.run, uvloop": _anyio_uvloop,
    "anyio.run, trio": lambda: anyio.run(_all, backend="trio"),
    "trio.run": _trio,
}


if __name__ == "__main__":
    STARTERS[sys.argv[1]]()
    sniffio = "no" if "no-sniffio" in sys.argv else version("sniffio")
    print(f"anyio {version('anyio')}, sniffio {sniffio}: all went well")
