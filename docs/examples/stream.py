"""A named service over channels: bytes in both directions, for what is no proposal."""

import anyio

from quorate import Channel, Node


async def main() -> None:
    """A peer that turns text into capitals, and one that uses it."""
    async with Node.open() as shouter, Node.open() as talker:

        @shouter.serve("capitals")
        async def capitals(channel: Channel) -> None:
            # Whatever this raises ends this channel only.
            while data := await channel.receive():
                await channel.send(data.upper())

        talker.know(shouter.key, [shouter.address])
        await talker.connect(shouter.key)
        channel = await talker.open_channel(shouter.key, "capitals")
        await channel.send(b"all is well")
        heard = b""
        while len(heard) < len(b"all is well"):
            heard += await channel.receive()
        print(heard.decode())
        await channel.aclose()


if __name__ == "__main__":
    anyio.run(main)
