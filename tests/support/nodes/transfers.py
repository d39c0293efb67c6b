"""Fetching and serving in memory: a holder, and a fetch with its holders."""

from collections.abc import Callable
from random import Random

from consensus.core.blob import wire
from consensus.core.blob.fetch import Fetch
from consensus.core.blob.fetch_events import Drop, FetchOutput, SourceDropped, StoreChunk
from consensus.core.blob.serve import Opened, ReadChunk, ReadNodes, Serve
from consensus.core.blob.tree import CHUNK_SIZE, BlobRef, Tree, TreeHasher


def content(chunks: int, tail: int = 0) -> bytes:
    return b"".join(bytes((n % 251, n // 251)) * (CHUNK_SIZE // 2) for n in range(chunks)) + bytes(
        tail
    )


def tree_of(data: bytes) -> Tree:
    hasher = TreeHasher()
    hasher.update(data)
    return hasher.finish()


class Holder:
    """A holder with all or some of a blob in memory, and the channels it serves."""

    def __init__(self, data: bytes, tree: Tree, mask: int | None = None) -> None:
        self.data = data
        self.tree = tree
        self.mask = (1 << tree.ref.chunks) - 1 if mask is None else mask
        self.serves: list[Serve] = []
        self.alter: Callable[[int, bytes], bytes] = lambda index, chunk: chunk
        self.served = 0

    def channel(self) -> Serve:
        self.serves.append(Serve())
        return self.serves[-1]

    def work(self, serve: Serve) -> None:
        """Do everything the channel asks for."""
        while (output := serve.poll()) is not None:
            self.answer(serve, output)

    def answer(self, serve: Serve, output: Opened | ReadNodes | ReadChunk) -> None:
        if isinstance(output, Opened):
            if output.ref == self.tree.ref and self.tree.complete:
                serve.holding(self.mask)
            else:
                serve.absent()
        elif isinstance(output, ReadNodes):
            hashes = (
                self.tree.page_hashes if output.page is None else self.tree.page(output.page)
            )
            serve.nodes_read(output.page, hashes or b"")
        else:
            at = output.index * CHUNK_SIZE
            self.served += 1
            serve.chunk_read(
                output.index, self.alter(output.index, self.data[at : at + CHUNK_SIZE])
            )

    def receive(self, serve: Serve, data: bytes) -> None:
        """Bytes from a fetcher."""
        asked = serve.receive_data_untrusted(data)
        for other in self.serves:
            if other is not serve:
                other.given(asked)

    def gain(self, index: int) -> None:
        self.mask |= 1 << index
        for serve in self.serves:
            serve.gained(1 << index)


class Rig:
    """One fetch and its holders, time standing still unless told."""

    def __init__(self, ref: BlobRef, seed: int = 1, **options: object) -> None:
        self.random = Random(seed)
        self.fetch = Fetch(ref, self.random.randbytes, 0.0, **options)  # type: ignore[arg-type]
        self.channels: dict[int, tuple[Holder, Serve]] = {}
        self.outputs: list[FetchOutput] = []
        self.stored: dict[int, bytes] = {}
        self.now = 0.0
        self.piece = 1 << 16

    def add(self, holder: Holder) -> int:
        number = self.fetch.add_source(self.now)
        self.channels[number] = (holder, holder.channel())
        return number

    def run(self, rounds: int = 1_000_000) -> None:
        """Until nothing moves, or so many rounds."""
        moved = True
        while moved and rounds:
            rounds -= 1
            moved = self.step()

    def step(self) -> bool:
        moved = self.drain()
        for number, data in self.fetch.poll_writes():
            moved = True
            if number in self.channels:
                holder, serve = self.channels[number]
                holder.receive(serve, data)
        for number, (holder, serve) in list(self.channels.items()):
            holder.work(serve)
            data = b"".join(serve.poll_writes())
            for at in range(0, len(data), self.piece):
                moved = True
                self.fetch.receive_data(number, data[at : at + self.piece], self.now)
                self.drain()
        return moved

    def drain(self) -> bool:
        moved = False
        while (output := self.fetch.poll()) is not None:
            moved = True
            self.outputs.append(output)
            if isinstance(output, StoreChunk):
                assert output.index not in self.stored
                self.stored[output.index] = bytes(output.data)
                self.fetch.chunk_stored(output.index, self.now)
            elif isinstance(output, SourceDropped):
                self.channels.pop(output.source, None)
        return moved

    def wait(self) -> None:
        """To the next timeout."""
        at = self.fetch.next_timeout()
        assert at is not None
        self.now = max(self.now, at)
        self.fetch.handle_timeout(self.now)
        self.run()

    @property
    def whole(self) -> bytes:
        return b"".join(self.stored[index] for index in sorted(self.stored))

    def drops(self) -> list[tuple[int, Drop]]:
        return [(o.source, o.reason) for o in self.outputs if isinstance(o, SourceDropped)]

    def last(self) -> FetchOutput:
        return self.outputs[-1]


DATA = content(12, tail=77)
TREE = tree_of(DATA)

FULL = wire.frame(wire.HOLDING, wire.bitmap((1 << 13) - 1, 13))
"""What a holder of all of it says it holds."""
