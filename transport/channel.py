"""A channel: a reliable byte stream to a peer, one µTP connection inside the presence."""

from types import TracebackType
from typing import Protocol, Self

import anyio
import anyio.lowlevel

from transport.core.errors import LocalError, RemoteError
from utp_native import ChannelEvent, EventKind, Reason

READ_SIZE_MAX = 1 << 18
_BROKE = {
    Reason.RESET: "the peer gave it up before its end: what served or used it there failed or was"
    " cancelled, nothing is served by that name, or the node was closed",
    Reason.REFUSED: "the peer refused it",
    Reason.TIMED_OUT: "the peer was not heard for too long",
    Reason.PLANE_REMOVED: "the presence with the peer has ended",
    Reason.ABORTED: "there was no memory for it",
}
"""Why a channel may fail that was open or being opened, for its reader and its writer."""


class ChannelBroken(RemoteError):
    """The channel ended before its stream did: the peer vanished or gave it up."""


class Streams(Protocol):
    """What a channel asks of whoever holds them all, each by its handle."""

    def write(self, handle: int, data: memoryview) -> int:
        """Bytes taken; 0 when the send buffer is full. Raises ChannelBroken."""

    def read(self, handle: int, size: int) -> bytes:
        """What has arrived, at most `size` bytes."""

    def finish(self, handle: int) -> None:
        """Half-close. Raises ChannelBroken."""

    def close_channel(self, handle: int, *, abort: bool) -> None:
        """Close and forget; what was written is still delivered, unless it is to `abort`."""


class Channel:
    """A byte stream to one peer; both sides may write first. One reader and one writer at a time.

    A reader sees the end, `b""`, only of what its writer has ended: with `send_eof`, `aclose`, or,
    in a service, by returning. What is given up with `abort`, or left by an exception under
    `async with`, reaches it as ChannelBroken.

    Satisfies the byte channel that blobs travel over: `send`, `receive`, `send_eof`, `aclose`.
    """

    def __init__(self, streams: Streams, handle: int, peer: bytes) -> None:
        self._streams = streams
        self._handle = handle
        self.peer = peer
        self._readable = anyio.Event()
        self._writable = anyio.Event()
        self._eof = False
        self._sending = False
        self._receiving = False
        self._failed: str | None = None
        self._closed = False

    async def send(self, data: bytes) -> None:
        """Hand over all of `data`, a contiguous buffer; waits while the send buffer is full.

        Raises ChannelBroken when the peer is gone, LocalError after `aclose`. Cancelled while it
        waits, it has handed over a part that cannot be told.
        """
        view = memoryview(data)
        if not view.c_contiguous:
            raise LocalError("a channel sends contiguous buffers only")
        # Items of several bytes would be counted as one each. What is empty may have a shape that
        # cannot be cast.
        view = view.cast("B") if view.nbytes else memoryview(b"")
        # Before anything is done: a cancelled call that did nothing can be made again.
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._sending:
            raise LocalError("another task is sending on this channel")
        self._sending = True
        try:
            while len(view):
                self._check()
                self._writable = anyio.Event()
                taken = self._streams.write(self._handle, view)
                view = view[taken:]
                if len(view):
                    await self._writable.wait()
        finally:
            self._sending = False

    async def receive(self, max_bytes: int = READ_SIZE_MAX) -> bytes:
        """Between 1 and `max_bytes` bytes; b"" once the peer has finished its direction.

        Raises ChannelBroken when the peer is gone before that, LocalError after `aclose` and for a
        `max_bytes` below 1. Cancelled, it has taken nothing.
        """
        if max_bytes < 1:
            raise LocalError(f"a channel receives at least 1 byte, not {max_bytes}")
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._receiving:
            raise LocalError("another task is receiving from this channel")
        self._receiving = True
        try:
            return await self._receive(max_bytes)
        finally:
            self._receiving = False

    async def _receive(self, max_bytes: int) -> bytes:
        while True:
            if self._closed:
                raise LocalError("the channel is closed on this side")
            self._readable = anyio.Event()
            data = self._streams.read(self._handle, min(max_bytes, READ_SIZE_MAX))
            if data:
                return data
            if self._eof:
                return b""
            self._check()
            await self._readable.wait()

    async def send_eof(self) -> None:
        """Finish this direction; the other stays open."""
        self._check()
        self._streams.finish(self._handle)

    async def aclose(self) -> None:
        """Close both directions, in order: what was sent is still delivered while the presence
        lasts, and then its end. What has come and was not received is lost."""
        self._close(abort=False)

    def abort(self) -> None:
        """Give both directions up. The peer's reader and writer get ChannelBroken; what was sent
        and has not arrived is dropped."""
        self._close(abort=True)

    def _close(self, *, abort: bool) -> None:
        if not self._closed:
            self._closed = True
            self._streams.close_channel(self._handle, abort=abort)
            self.wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close in order, or, where an exception leaves the block, abort."""
        self._close(abort=error is not None)

    def _check(self) -> None:
        if self._closed:
            raise LocalError("the channel is closed on this side")
        if self._failed is not None:
            raise ChannelBroken(self._failed)

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._readable.set()
        self._writable.set()

    def take(self, event: ChannelEvent) -> None:
        """Note what the pump reports of this channel."""
        kind = event.kind
        if kind is EventKind.READABLE:
            self._readable.set()
        elif kind is EventKind.EOF:
            self._eof = True
            self._readable.set()
        elif kind is EventKind.WRITABLE or kind is EventKind.CONNECTED:
            self._writable.set()
        elif kind is EventKind.FAILED:
            self.fail(f"the channel broke: {_BROKE[event.reason]}")

    def fail(self, reason: str) -> None:
        """Nothing more will come or go."""
        if self._failed is None:
            self._failed = reason
        self.wake()
