"""One incoming channel over which a blob is given away.

Pure: the shell feeds `receive_data`, does what `poll` asks for one by one, answers through
`holding`, `absent`, `nodes_read` and `chunk_read`, and sends what `poll_writes` returns. A holder
need not have all of a blob: what comes later is told with `gained`.
"""

from collections import deque
from dataclasses import dataclass

from consensus.core.blob import wire
from consensus.core.blob.tree import BlobRef, BlobRefError, decode_ref_untrusted
from consensus.core.blob.wire import ROOT_PAGE, TransferError

REQUESTS_MAX = 128
"""Unanswered requests on one channel; a fetcher keeps to half of it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The fetcher wants this blob: answer `holding` or `absent`."""

    ref: BlobRef


@dataclass(frozen=True, slots=True)
class ReadNodes:
    """Read a page of leaf hashes, or the list of page hashes (None), and call `nodes_read`."""

    page: int | None


@dataclass(frozen=True, slots=True)
class ReadChunk:
    """Read a chunk and call `chunk_read`."""

    index: int


ServeOutput = Opened | ReadNodes | ReadChunk


class Serve:
    """The holder's side of one transfer."""

    __slots__ = (
        "_gained", "_given", "_offered", "_outputs", "_reader", "_waiting", "_writes", "ref",
    )  # fmt: skip

    def __init__(self) -> None:
        self.ref: BlobRef | None = None
        self._reader = wire.FrameReader(wire.TO_HOLDER)
        self._outputs: deque[ServeOutput] = deque()
        self._waiting = 0
        self._writes: list[bytes] = []
        self._offered: int | None = None
        self._gained = 0
        self._given = 0

    def receive_data_untrusted(self, data: bytes) -> int:
        """Bytes from the channel. Raises TransferError: close the channel then.

        Returns the mask of the chunks that were asked for: tell the blob's other channels `given`
        at once, so that their fetchers ask for others.
        """
        asked = 0
        for kind, body in self._reader.frames_untrusted(data):
            if kind == wire.OPEN:
                self._open_untrusted(body)
            else:
                index = wire.index_untrusted(body)
                self._request_untrusted(kind, index)
                if kind == wire.WANT_CHUNK:
                    asked |= 1 << index
        return asked

    def poll(self) -> ServeOutput | None:
        """The next thing to do; None when there is nothing."""
        return self._outputs.popleft() if self._outputs else None

    def holding(self, mask: int) -> None:
        """The blob's tree and the chunks of `mask` are here; later ones go to `gained`."""
        if self.ref is None or self._offered is not None:
            return
        self._offered = mask
        self._writes.append(wire.frame(wire.HOLDING, wire.bitmap(mask, self.ref.chunks)))

    def absent(self) -> None:
        """Nothing of the blob is here yet; `holding` may follow."""
        if self._offered is None:
            self._writes.append(wire.frame(wire.ABSENT))

    def nodes_read(self, page: int | None, hashes: bytes) -> None:
        """Answer to ReadNodes."""
        self._waiting -= 1
        self._writes.append(wire.indexed(wire.NODES, ROOT_PAGE if page is None else page, hashes))

    def chunk_read(self, index: int, data: bytes | memoryview) -> None:
        """Answer to ReadChunk."""
        self._waiting -= 1
        self._writes.append(wire.indexed(wire.CHUNK, index, data))

    def gained(self, mask: int) -> None:
        """More chunks are here."""
        if self._offered is not None:
            self._gained |= mask & ~self._offered
            self._offered |= mask

    def given(self, mask: int) -> None:
        """Others are being given these chunks, so this fetcher may soon have them from there."""
        if self._offered is not None:
            self._given |= mask & self._offered

    def poll_writes(self) -> list[bytes]:
        """What is to be sent, in order. Announcements that piled up go out as one."""
        writes = self._writes
        self._writes = []
        if self._gained:
            writes += wire.indexes(wire.HAVE, self._gained)
            self._gained = 0
        if self._given:
            writes += wire.indexes(wire.GIVEN, self._given)
            self._given = 0
        return writes

    def _open_untrusted(self, body: bytes) -> None:
        if self.ref is not None:
            raise TransferError("opened twice")
        if body[:1] != bytes((wire.VERSION,)):
            raise TransferError("a version of the transfer that is not known here")
        try:
            self.ref = decode_ref_untrusted(body[1:])
        except BlobRefError as error:
            raise TransferError(str(error)) from error
        self._outputs.append(Opened(self.ref))

    def _request_untrusted(self, kind: int, index: int) -> None:
        if self.ref is None or self._offered is None:
            raise TransferError("a request before anything was offered")
        if self._waiting >= REQUESTS_MAX:
            raise TransferError(f"more than {REQUESTS_MAX} requests at once")
        if kind == wire.WANT_CHUNK:
            if index >= self.ref.chunks or not self._offered >> index & 1:
                raise TransferError(f"a request for chunk {index}, which was not offered")
            self._outputs.append(ReadChunk(index))
        elif index == ROOT_PAGE:
            self._outputs.append(ReadNodes(None))
        elif index < self.ref.pages:
            self._outputs.append(ReadNodes(index))
        else:
            raise TransferError(f"a request for page {index} of {self.ref.pages}")
        self._waiting += 1
