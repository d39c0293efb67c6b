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
        async with await talker.open_channel(shouter.key, "capitals") as channel:
            await channel.send(b"all is well")
            await channel.send_eof()
            heard = b""
            while data := await channel.receive():
                heard += data
        print(heard.decode())


if __name__ == "__main__":
    anyio.run(main)
