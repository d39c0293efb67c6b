"""Blob stores on a real disk that serve each other over channels in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import anyio

from consensus.blobs.store import BlobStore, ByteChannel, FetchConfig, Source
from consensus.core.blob import wire
from consensus.core.blob.tree import CHUNK_SIZE
from tests.support.network.streams import Broken, MemoryChannel, pair

DATA = Random(7).randbytes(5 * CHUNK_SIZE + 12_345)
QUICK = FetchConfig(absent_grace_s=0.05, starved_s=0.2)


class Net:
    """Stores that serve each other; channels are made when a source is opened."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._tasks = tasks
        self.channels: list[MemoryChannel] = []
        self.opened = 0

    def source(self, store: BlobStore, name: bytes = b"peer") -> Source:
        return self.custom(store.serve, name)

    def custom(
        self, serve: Callable[[ByteChannel], Coroutine[Any, Any, object]], name: bytes = b"peer"
    ) -> Source:
        async def open_channel() -> MemoryChannel:
            mine, theirs = pair()
            self.opened += 1
            self.channels.append(mine)
            self._tasks.start_soon(serve, theirs)
            return mine

        return Source(name, open_channel)


@asynccontextmanager
async def network() -> AsyncIterator[Net]:
    async with anyio.create_task_group() as tasks:
        yield Net(tasks)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def stores(directory: Path, *names: str) -> AsyncIterator[list[BlobStore]]:
    made = [await BlobStore.open(directory / name) for name in names]
    try:
        yield made
    finally:
        for store in made:
            store.close()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def lying(store: BlobStore, after: int) -> Callable[[ByteChannel], Coroutine[Any, Any, object]]:
    """Serves like `store`, but flips a bit in every chunk from the `after`-th on."""

    async def serve(channel: ByteChannel) -> None:
        inner, outer = pair()
        chunks = 0

        async def forward() -> None:
            while data := await channel.receive():
                await outer.send(data)
            await outer.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.serve, inner)
            tasks.start_soon(forward)
            reader = wire.FrameReader(wire.TO_FETCHER)
            with suppress(Broken):
                while data := await outer.receive():
                    for kind, body in reader.frames_untrusted(data):
                        if kind == wire.CHUNK:
                            chunks += 1
                            if chunks > after:
                                body = body[:-1] + bytes((body[-1] ^ 1,))
                        await channel.send(wire.frame(kind, body))
            tasks.cancel_scope.cancel()

    return serve
