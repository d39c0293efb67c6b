"""Two processes that move bytes over a channel at a steady pace.

The server serves `pull`, which writes, and `push`, which reads; the client uses one of them. What
reads prints how many bytes came in all.
"""

import sys
from functools import partial

import anyio
from anyio.to_thread import run_sync

from quorate import Node
from transport.channel import Channel

PIECES, PIECE, PAUSE_S = 150, bytes(16_384), 0.01


async def write(channel: Channel) -> None:
    """Everything, at its pace."""
    for number in range(PIECES):
        await channel.send(PIECE)
        await anyio.sleep(PAUSE_S)
        if number == PIECES // 5:
            print("under way", flush=True)
    await channel.send_eof()


async def read(channel: Channel) -> None:
    """Everything."""
    size = 0
    while data := await channel.receive():
        size += len(data)
    print(size, flush=True)


async def serve(address: str) -> None:
    """Until standard input ends."""
    async with Node.open(None, listen=f"{address}:0") as node:
        node.serve("pull")(write)
        node.serve("push")(read)
        print(node.key.hex(), node.address[1], flush=True)
        await run_sync(sys.stdin.readline)


async def use(service: str, key: str, address: str, port: str) -> None:
    """One channel."""
    peer = bytes.fromhex(key)
    async with Node.open(None, listen="0.0.0.0:0") as node:
        node.know(peer, [(address, int(port))])
        await node.connect(peer)
        channel = await node.open_channel(peer, service)
        await (write if service == "push" else read)(channel)
        await run_sync(sys.stdin.readline)


if __name__ == "__main__":
    given = sys.argv[1:]
    anyio.run(partial(serve, *given) if len(given) == 1 else partial(use, *given))
