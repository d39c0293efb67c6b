"""The frames that fetch a blob over a channel.

`length of the body (4, big-endian) | kind (1) | body`. The fetcher opened the channel:

    fetcher → holder   OPEN     version (1) | root (32) | size (8)      first, once
                       WANT_NODES  page (4), or 2^32 - 1 for the list of page hashes
                       WANT_CHUNK  index (4)
    holder → fetcher   ABSENT   nothing: not here; HOLDING may follow while the channel is open
                       HOLDING  bitmap of the chunks held, the lowest bit of a byte first
                       NODES    page (4) | hashes
                       CHUNK    index (4) | data
                       HAVE     indexes (4 each): chunks that have come since
                       GIVEN    indexes (4 each): chunks that other fetchers are being given

Each reader knows the longest body of each kind, so that a peer makes it hold one chunk at most.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping

from consensus.core.blob.tree import CHUNK_SIZE, CHUNKS_MAX, PAGE_SIZE, REF_SIZE
from consensus.core.errors import ConsensusError

VERSION = 1
ROOT_PAGE = 0xFFFFFFFF
"""In WANT_NODES and NODES: the list of page hashes rather than a page."""
INDEXES_MAX = 256
"""Indexes in one HAVE or GIVEN."""

OPEN, WANT_NODES, WANT_CHUNK = 1, 2, 3
ABSENT, HOLDING, NODES, CHUNK, HAVE, GIVEN = 16, 17, 18, 19, 20, 21

TO_HOLDER: Mapping[int, int] = {OPEN: 1 + REF_SIZE, WANT_NODES: 4, WANT_CHUNK: 4}
"""Longest body of each kind that a holder reads."""
TO_FETCHER: Mapping[int, int] = {
    ABSENT: 0,
    HOLDING: CHUNKS_MAX // 8,
    NODES: 4 + PAGE_SIZE,
    CHUNK: 4 + CHUNK_SIZE,
    HAVE: 4 * INDEXES_MAX,
    GIVEN: 4 * INDEXES_MAX,
}
"""Longest body of each kind that a fetcher reads."""

_HEAD = struct.Struct("!IB")
_INDEX = struct.Struct("!I")


class TransferError(ConsensusError):
    """The other side of a transfer did not keep to the protocol."""


class FrameReader:
    """Cuts a stream into frames; holds one incomplete frame at most."""

    __slots__ = ("_buffer", "_limits")

    def __init__(self, limits: Mapping[int, int]) -> None:
        self._buffer = bytearray()
        self._limits = limits

    def frames_untrusted(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that `data` completes: kind and body. Raises TransferError."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _HEAD.size:
            length, kind = _HEAD.unpack_from(buffer)
            longest = self._limits.get(kind)
            if longest is None:
                raise TransferError(f"a frame of unknown kind {kind}")
            if length > longest:
                raise TransferError(f"a frame of kind {kind} with {length} bytes")
            end = _HEAD.size + length
            if len(buffer) < end:
                return
            with memoryview(buffer) as view:
                body = bytes(view[_HEAD.size : end])
            del buffer[:end]
            yield kind, body


def frame(kind: int, body: bytes = b"") -> bytes:
    """One frame."""
    return _HEAD.pack(len(body), kind) + body


def indexed(kind: int, index: int, data: bytes | memoryview = b"") -> bytes:
    """A frame whose body is an index, with or without data after it."""
    return b"".join((_HEAD.pack(_INDEX.size + len(data), kind), _INDEX.pack(index), data))


def index_untrusted(body: bytes) -> int:
    """The index that begins a body. Raises TransferError."""
    if len(body) < _INDEX.size:
        raise TransferError("a frame without its index")
    return int(_INDEX.unpack_from(body)[0])


def indexes(kind: int, mask: int) -> Iterator[bytes]:
    """Frames with the indexes of the bits of `mask`."""
    batch: list[bytes] = []
    for index in bits(mask):
        batch.append(_INDEX.pack(index))
        if len(batch) == INDEXES_MAX:
            yield frame(kind, b"".join(batch))
            batch.clear()
    if batch:
        yield frame(kind, b"".join(batch))


def indexes_untrusted(bodies: Iterable[bytes], chunks: int) -> int:
    """The mask of the indexes in these bodies, each below `chunks`. Raises TransferError."""
    found = bytearray(-(-chunks // 8))
    for body in bodies:
        if not body or len(body) % _INDEX.size:
            raise TransferError("a list of indexes that is none")
        for (index,) in _INDEX.iter_unpack(body):
            if index >= chunks:
                raise TransferError(f"chunk {index} of {chunks}")
            found[index >> 3] |= 1 << (index & 7)
    return int.from_bytes(found, "little")


def bitmap(mask: int, chunks: int) -> bytes:
    """The bits of `mask` as bytes, the lowest first."""
    return mask.to_bytes(-(-chunks // 8), "little")


def bitmap_untrusted(body: bytes, chunks: int) -> int:
    """The mask that a bitmap of `chunks` bits holds. Raises TransferError."""
    mask = int.from_bytes(body, "little")
    if len(body) != -(-chunks // 8) or mask >> chunks:
        raise TransferError(f"a bitmap that is not one of {chunks} chunks")
    return mask


def bits(mask: int) -> Iterator[int]:
    """The positions of the bits of `mask`, ascending."""
    for at, byte in enumerate(mask.to_bytes(-(-mask.bit_length() // 8), "little")):
        base = at * 8
        while byte:
            low = byte & -byte
            yield base + low.bit_length() - 1
            byte ^= low
