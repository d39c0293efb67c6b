"""The tree that names a blob.

A blob is named by the root of a BLAKE2b-256 tree in BLAKE2b's own tree mode (the BLAKE2 paper,
section 2.10, and `hashlib.blake2b`'s tree parameters), three levels deep:

    leaf i   depth 0, offset i, last node marked:  chunk i, 256 KiB (the last one may be shorter)
    page j   depth 1, offset j, last node marked:  the hashes of leaves 1024 j .. 1024 j + 1023
    root     depth 2, offset 0, marked last:       the hashes of all pages | size of the blob (8)

Depth and offset are parameters of the hash, so no node stands for a node of another kind or in
another place, and the size is part of the root. A fetcher knows root and size; it verifies the
list of page hashes against the root (40 hashes for 10 GiB), each page of leaf hashes against its
page hash, and each chunk against its leaf hash, so that no source makes it hold more than one
unverified piece: 256 KiB.
"""

import base64
import struct
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

from consensus.core.errors import ConsensusError

CHUNK_SIZE = 1 << 18
PAGE_LEAVES = 1024
HASH_SIZE = 32
PAGE_SIZE = PAGE_LEAVES * HASH_SIZE
BLOB_SIZE_MAX = 1 << 36
"""64 GiB: 262,144 chunks, 256 pages, 8 MiB of leaf hashes."""
CHUNKS_MAX = BLOB_SIZE_MAX // CHUNK_SIZE
PAGES_MAX = CHUNKS_MAX // PAGE_LEAVES
REF_SIZE = 40
REF_PREFIX = "quorate-blob:"
REF_TEXT_SIZE_MAX = 96

_PERSON = b"quorate blob 1"
_SIZE = struct.Struct("!Q")
_REF = struct.Struct("!32sQ")


class BlobRefError(ConsensusError):
    """Text or bytes that are no reference to a blob."""


@dataclass(frozen=True, slots=True, order=True)
class BlobRef:
    """What names a blob: the root of its tree and its size in bytes (at most BLOB_SIZE_MAX)."""

    root: bytes
    size: int

    def __post_init__(self) -> None:
        if len(self.root) != HASH_SIZE:
            raise BlobRefError("a blob's root is 32 bytes")
        if not 0 <= self.size <= BLOB_SIZE_MAX:
            raise BlobRefError(f"a blob has at most {BLOB_SIZE_MAX} bytes")

    @property
    def chunks(self) -> int:
        """Number of chunks; none in an empty blob."""
        return -(-self.size // CHUNK_SIZE)

    @property
    def pages(self) -> int:
        """Number of pages of leaf hashes."""
        return -(-self.chunks // PAGE_LEAVES)

    def chunk_length(self, index: int) -> int:
        """Bytes in chunk `index`: CHUNK_SIZE but for the last."""
        return min(CHUNK_SIZE, self.size - index * CHUNK_SIZE)

    def page_length(self, page: int) -> int:
        """Bytes of leaf hashes in `page`."""
        return min(PAGE_LEAVES, self.chunks - page * PAGE_LEAVES) * HASH_SIZE

    @property
    def name(self) -> str:
        """The root in base32: 52 characters that are safe in a file name."""
        return base64.b32encode(self.root).decode().rstrip("=").lower()

    def __str__(self) -> str:
        return f"{REF_PREFIX}{self.name}:{self.size}"

    def encode(self) -> bytes:
        """40 bytes: root, size."""
        return _REF.pack(self.root, self.size)


def decode_ref_untrusted(data: bytes) -> BlobRef:
    """The reference that `BlobRef.encode` made `data` of. Raises BlobRefError."""
    if len(data) != REF_SIZE:
        raise BlobRefError(f"a reference to a blob is {REF_SIZE} bytes")
    return BlobRef(*_REF.unpack(data))


def parse_ref_untrusted(text: str) -> BlobRef:
    """The reference that `str(ref)` wrote as `text`. Raises BlobRefError."""
    if len(text) > REF_TEXT_SIZE_MAX or not text.startswith(REF_PREFIX):
        raise BlobRefError(f"a reference to a blob begins with {REF_PREFIX}")
    name, _, size = text[len(REF_PREFIX) :].partition(":")
    if not (size.isascii() and size.isdecimal()) or len(size) > 20:
        raise BlobRefError("a reference to a blob ends in its size in bytes")
    try:
        root = base64.b32decode(name.upper() + "====")
    except ValueError:
        raise BlobRefError("the root of the blob is not 52 characters of base32") from None
    ref = BlobRef(root, int(size))
    if str(ref) != text:
        raise BlobRefError("the reference to the blob is not written as it should be")
    return ref


def leaf_hash(index: int, chunk: bytes | bytearray | memoryview, last: bool) -> bytes:
    """The hash of chunk `index`, which is or is not the last of its blob."""
    return blake2b(
        chunk,
        digest_size=HASH_SIZE,
        person=_PERSON,
        fanout=0,
        depth=3,
        leaf_size=CHUNK_SIZE,
        node_offset=index,
        inner_size=HASH_SIZE,
        last_node=last,
    ).digest()


def page_hash(page: int, leaves: bytes, last: bool) -> bytes:
    """The hash of a page of leaf hashes, which is or is not the last of its blob."""
    return blake2b(
        leaves,
        digest_size=HASH_SIZE,
        person=_PERSON,
        fanout=0,
        depth=3,
        leaf_size=CHUNK_SIZE,
        node_offset=page,
        node_depth=1,
        inner_size=HASH_SIZE,
        last_node=last,
    ).digest()


def root_hash(page_hashes: bytes, size: int) -> bytes:
    """The name of the blob of `size` bytes with these page hashes, one after the other."""
    return blake2b(
        page_hashes + _SIZE.pack(size),
        digest_size=HASH_SIZE,
        person=_PERSON,
        fanout=0,
        depth=3,
        leaf_size=CHUNK_SIZE,
        node_offset=0,
        node_depth=2,
        inner_size=HASH_SIZE,
        last_node=True,
    ).digest()


class Tree:
    """A blob's hashes as far as they are known, each verified before it is taken in.

    At most 8 MiB (BLOB_SIZE_MAX), 1.3 MiB for 10 GiB.
    """

    __slots__ = ("_missing", "_pages", "page_hashes", "ref")

    def __init__(self, ref: BlobRef) -> None:
        self.ref = ref
        self.page_hashes: bytes | None = None
        self._pages: dict[int, bytes] = {}
        self._missing = ref.pages
        if ref.chunks == 0:
            self.add_root_untrusted(b"")

    @property
    def complete(self) -> bool:
        """Every page of leaf hashes is here."""
        return self.page_hashes is not None and self._missing == 0

    def has_page(self, page: int) -> bool:
        """The leaf hashes of `page` are here."""
        return page in self._pages

    def page(self, page: int) -> bytes:
        """The leaf hashes of `page`, which is here."""
        return self._pages[page]

    def add_root_untrusted(self, page_hashes: bytes) -> bool:
        """Take the list of page hashes in, if it belongs to the root."""
        if len(page_hashes) != self.ref.pages * HASH_SIZE:
            return False
        if not compare_digest(root_hash(page_hashes, self.ref.size), self.ref.root):
            return False
        self.page_hashes = page_hashes
        return True

    def add_page_untrusted(self, page: int, leaves: bytes) -> bool:
        """Take the leaf hashes of `page` in, if they belong to its hash; the root comes first."""
        if self.page_hashes is None or not 0 <= page < self.ref.pages:
            return False
        if len(leaves) != self.ref.page_length(page):
            return False
        wanted = self.page_hashes[page * HASH_SIZE : (page + 1) * HASH_SIZE]
        if not compare_digest(page_hash(page, leaves, page == self.ref.pages - 1), wanted):
            return False
        if page not in self._pages:
            self._missing -= 1
            self._pages[page] = leaves
        return True

    def verify_chunk(self, index: int, chunk: bytes | memoryview) -> bool:
        """`chunk` is chunk `index` of the blob. False also while its page is not here."""
        if not 0 <= index < self.ref.chunks or len(chunk) != self.ref.chunk_length(index):
            return False
        leaves = self._pages.get(index // PAGE_LEAVES)
        if leaves is None:
            return False
        at = index % PAGE_LEAVES * HASH_SIZE
        found = leaf_hash(index, chunk, index == self.ref.chunks - 1)
        return compare_digest(found, leaves[at : at + HASH_SIZE])


class TreeHasher:
    """Names a stream: feed it with `update`, in pieces of any size.

    A leaf's hash depends on its being the last one, so one chunk is held back. Memory: a chunk
    and 32 bytes for each chunk seen. Raises BlobRefError above BLOB_SIZE_MAX.
    """

    __slots__ = ("_held", "_leaves", "_size")

    def __init__(self) -> None:
        self._held = bytearray()
        self._leaves = bytearray()
        self._size = 0

    def update(self, data: bytes | memoryview) -> None:
        """More of the stream."""
        self._size += len(data)
        if self._size > BLOB_SIZE_MAX:
            raise BlobRefError(f"a blob has at most {BLOB_SIZE_MAX} bytes")
        view = memoryview(data)
        while len(view):
            if len(self._held) == CHUNK_SIZE:
                self._flush(last=False)
            room = CHUNK_SIZE - len(self._held)
            self._held += view[:room]
            view = view[room:]

    def finish(self) -> Tree:
        """The tree of all that was fed; the hasher is spent."""
        if self._held:
            self._flush(last=True)
        chunks = len(self._leaves) // HASH_SIZE
        pages = -(-chunks // PAGE_LEAVES)
        lists = [
            bytes(self._leaves[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]) for page in range(pages)
        ]
        page_hashes = b"".join(
            page_hash(page, leaves, page == pages - 1) for page, leaves in enumerate(lists)
        )
        tree = Tree(BlobRef(root_hash(page_hashes, self._size), self._size))
        tree.add_root_untrusted(page_hashes)
        for page, leaves in enumerate(lists):
            tree.add_page_untrusted(page, leaves)
        return tree

    def _flush(self, last: bool) -> None:
        index = len(self._leaves) // HASH_SIZE
        self._leaves += leaf_hash(index, self._held, last)
        self._held.clear()
