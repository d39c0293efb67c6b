"""A proposal that names a file: every member holds it, verified, before it votes."""

import tempfile
from pathlib import Path

import anyio

from quorate import Node, accept


async def main() -> None:
    """Two members, one of whom shares a file."""
    async with Node.open() as alice, Node.open() as bob:
        group = await alice.found("library")
        joined = await bob.join(group.invite(bob.key))
        bob.on("publish")(lambda proposal: accept(sum(blob.size for blob in proposal.blobs)))

        with tempfile.TemporaryDirectory() as directory:
            report = Path(directory, "report.txt")
            report.write_bytes(b"all is well\n" * 100_000)
            blob = await group.share(report)
            decision = await group.propose("publish", {"title": "report"}, blobs=[blob])
            print(decision.outcome.name, decision.answers[bob.key], "bytes held by bob")

            copy = Path(directory, "copy.txt")
            fetched = await joined.fetch(blob, to=copy, timeout_s=60)
            print("fetched anew:", fetched.received_size, "bytes, as bob holds it already")
            print("the same bytes:", copy.read_bytes() == report.read_bytes())


if __name__ == "__main__":
    anyio.run(main)
