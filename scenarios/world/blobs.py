"""Blobs in the simulated world: the pure transfer over channels of a pump without a socket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from consensus.core.blob.fetch import Fetch
from consensus.core.blob.fetch_events import Failed, Finished, SourceDropped, StoreChunk
from consensus.core.blob.serve import Opened, ReadChunk, ReadNodes, Serve
from consensus.core.blob.tree import CHUNK_SIZE, BlobRef, Tree, TreeHasher
from consensus.core.blob.wire import TransferError
from transport.core.types import RandomBytes
from utp_native import ChannelEvent, EventKind, NativeError, Pump

READ_SIZE = 1 << 18


@dataclass
class Held:
    """A blob, or as much of it as has come."""

    tree: Tree
    chunks: dict[int, bytes] = field(default_factory=dict)

    @property
    def mask(self) -> int:
        """The chunks that are here."""
        return sum(1 << index for index in self.chunks)


class MemoryBlobs:
    """The blobs of one simulated node, and their transfers. `tell(ref, ok)` ends a fetch."""

    def __init__(
        self, pump: Pump, random: RandomBytes, tell: Callable[[BlobRef, bool], None]
    ) -> None:
        self._pump = pump
        self._random = random
        self._tell = tell
        self.held: dict[BlobRef, Held] = {}
        self._fetches: dict[BlobRef, Fetch] = {}
        self._sources: dict[int, tuple[BlobRef, int]] = {}
        self._serving: dict[int, Serve] = {}
        self._pending: dict[int, bytearray] = {}

    def share(self, data: bytes) -> BlobRef:
        """Hold `data` whole."""
        hasher = TreeHasher()
        hasher.update(data)
        tree = hasher.finish()
        pieces = range(0, len(data), CHUNK_SIZE)
        chunks = {index: data[at : at + CHUNK_SIZE] for index, at in enumerate(pieces)}
        self.held[tree.ref] = Held(tree, chunks)
        return tree.ref

    def data(self, ref: BlobRef) -> bytes:
        """All bytes of a blob that is held whole."""
        chunks = self.held[ref].chunks
        return b"".join(chunks[index] for index in range(ref.chunks))

    def fetch(self, ref: BlobRef, planes: list[int], now: float) -> None:
        """Get a blob over new channels in these planes."""
        fetch = self._fetches[ref] = Fetch(ref, self._random, now)
        self.held[ref] = Held(fetch.tree)
        for plane in planes:
            channel = self._pump.open_channel(plane)
            self._pending[channel] = bytearray()
            self._sources[channel] = (ref, fetch.add_source(now))
        fetch.no_more_sources(now)
        self._advance(ref, now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        for ref, fetch in list(self._fetches.items()):
            at = fetch.next_timeout()
            if at is not None and at <= now:
                fetch.handle_timeout(now)
                self._advance(ref, now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` has something to do."""
        times = [at for fetch in self._fetches.values() if (at := fetch.next_timeout()) is not None]
        return min(times, default=None)

    def take(self, event: ChannelEvent, now: float) -> None:
        """Something happened to a channel."""
        channel = event.channel
        if event.kind is EventKind.ACCEPTED:
            self._serving[channel] = Serve()
            self._pending[channel] = bytearray()
        if event.kind in (EventKind.ACCEPTED, EventKind.READABLE):
            self._read(channel, now)
        elif event.kind in (EventKind.WRITABLE, EventKind.CONNECTED):
            self._write(channel, b"")
        else:
            self._read(channel, now)
            self._end(channel, now)

    def _read(self, channel: int, now: float) -> None:
        while channel in self._pending:
            try:
                data = self._pump.read(channel, READ_SIZE)
            except NativeError:
                return
            if not data:
                return
            source = self._sources.get(channel)
            if source is not None:
                self._fetches[source[0]].receive_data(source[1], data, now)
                self._advance(source[0], now)
            else:
                self._serve(channel, data, now)

    def _serve(self, channel: int, data: bytes, now: float) -> None:
        serve = self._serving[channel]
        try:
            given = serve.receive_data_untrusted(data)
        except TransferError:
            self._end(channel, now)
            return
        for other in self._serving.values():
            if other is not serve and other.ref == serve.ref:
                other.given(given)
        while (wanted := serve.poll()) is not None:
            held = self.held.get(serve.ref) if serve.ref is not None else None
            match wanted:
                case Opened():
                    if held is not None and held.tree.complete:
                        serve.holding(held.mask)
                    else:
                        serve.absent()
                case ReadNodes(page) if held is not None:
                    hashes = held.tree.page_hashes if page is None else held.tree.page(page)
                    assert hashes is not None  # It offers only what has its tree whole.
                    serve.nodes_read(page, hashes)
                case ReadChunk(index) if held is not None:
                    serve.chunk_read(index, held.chunks[index])
        self._flush_serving()

    def _flush_serving(self) -> None:
        for channel, serve in list(self._serving.items()):
            self._write(channel, b"".join(serve.poll_writes()))

    def _advance(self, ref: BlobRef, now: float) -> None:
        fetch, held = self._fetches[ref], self.held[ref]
        channels = {number: channel for channel, (_, number) in self._sources.items()}
        ended: bool | None = None
        while (output := fetch.poll()) is not None:
            match output:
                case StoreChunk(index, data):
                    held.chunks[index] = bytes(data)
                    fetch.chunk_stored(index, now)
                    for serve in self._serving.values():
                        if serve.ref == ref:
                            serve.holding(held.mask)
                            serve.gained(1 << index)
                case SourceDropped(number):
                    self._end(channels[number], now)
                case Finished():
                    ended = True
                case Failed():
                    ended = False
        for number, data in fetch.poll_writes():
            self._write(channels[number], data)
        self._flush_serving()
        if ended is not None:
            del self._fetches[ref]
            for channel, (of, _) in list(self._sources.items()):
                if of == ref:
                    self._end(channel, now)
            self._tell(ref, ended)

    def _write(self, channel: int, data: bytes) -> None:
        pending = self._pending.get(channel)
        if pending is None:
            return
        pending += data
        if pending:
            try:
                del pending[: self._pump.write(channel, bytes(pending))]
            except NativeError:
                pending.clear()

    def _end(self, channel: int, now: float) -> None:
        if self._pending.pop(channel, None) is None:
            return
        self._serving.pop(channel, None)
        source = self._sources.pop(channel, None)
        with suppress(NativeError):  # Its plane may have gone, and the channel with it.
            self._pump.close_channel(channel)
        if source is not None and source[0] in self._fetches:
            self._fetches[source[0]].source_closed(source[1], now)
            self._advance(source[0], now)
