"""A process with one endpoint that takes channels and says nothing, to be killed by a test.

Prints its key and port on one line, then one line for each channel that has come.
"""

import anyio

from tests.support.network.endpoints import open_ends


async def main() -> None:
    """Until killed."""
    async with open_ends(1) as (end,):
        print(end.key.hex(), end.endpoint.address[1], flush=True)
        held = []
        while True:
            held.append(await end.accept())
            print("accepted", flush=True)


if __name__ == "__main__":
    anyio.run(main)
