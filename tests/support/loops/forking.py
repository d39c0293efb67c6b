"""A program that forks while it has a node, closes the node, and opens it again on the same port.

`python -m tests.support.loops.forking FOLDER BACKEND` prints "open again" if that works while the
child lives.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio

from consensus import ConsensusError, Node
from transport.core.errors import LocalError


async def _main(folder: Path) -> int:
    """The child's process id."""
    letter = folder / "letter"
    letter.write_bytes(b"hello")
    ours, theirs = os.pipe()
    async with Node.open(folder / "node") as node:
        await node.share(letter)  # Now the folder of the blobs is locked, too.
        port = node.address[1]
        child = os.fork()
        if child == 0:
            os.close(theirs)
            os.read(ours, 1)  # Until the parent has ended.
            os._exit(0)
    try:
        async with Node.open(folder / "node", listen=f"127.0.0.1:{port}") as node:
            await node.share(letter)
            print("open again")
    except (ConsensusError, LocalError) as error:
        print(f"{type(error).__name__}: {error}")
    os.close(theirs)
    return child


if __name__ == "__main__":
    os.waitpid(anyio.run(_main, Path(sys.argv[1]), backend=sys.argv[2]), 0)
