"""Blobs as files in a directory. Everything here blocks: it is called from worker threads.

For a blob whose root is NAME in base32:

    NAME.tree   its reference (40 bytes), the list of page hashes, the pages of leaf hashes
    NAME.part   the chunks that have come, each at its place, while the blob is incomplete
    NAME.have   one bit for each of those
    NAME.blob   the whole blob
    NAME.link   instead of that: path, size and time of change of a file that was shared in place
    NAME.pin    the blob is pinned

A chunk is written before its bit is, so a killed process loses nothing that was verified and
claimed. After a loss of power a bit may be on the disk and its chunk not; therefore every claimed
chunk is hashed again when a fetch is resumed. Hashes on the disk are verified when they are read.
"""

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from consensus.blobs.errors import BlobDamaged, disk_error
from consensus.core.blob.tree import (
    CHUNK_SIZE,
    HASH_SIZE,
    PAGE_SIZE,
    REF_SIZE,
    BlobRef,
    BlobRefError,
    Tree,
    decode_ref_untrusted,
)

STEP_SIZE = 16 << 20
"""Bytes taken in or given out by one call, so that there can be cancelled between two."""
ZEROS = bytes(CHUNK_SIZE)


@dataclass(frozen=True, slots=True)
class Origin:
    """A file that was shared in place, and how it looked then."""

    path: str
    size: int
    changed_ns: int


class Files:
    """The names of one blob's files."""

    __slots__ = ("directory", "ref")

    def __init__(self, directory: Path, ref: BlobRef) -> None:
        self.directory = directory
        self.ref = ref

    def __getitem__(self, suffix: str) -> Path:
        return self.directory / f"{self.ref.name}.{suffix}"

    def remove(self) -> None:
        """Remove all of them; the tree last, since it is what makes the others known."""
        for suffix in ("pin", "link", "blob", "part", "have", "tree"):
            self[suffix].unlink(missing_ok=True)

    def touch(self) -> None:
        """The blob was used now."""
        with contextlib.suppress(OSError):
            os.utime(self["tree"])


def write_tree(files: Files, tree: Tree) -> None:
    """Write a complete tree, whole or not at all."""
    temporary = files["tree-new"]
    with temporary.open("wb") as file:
        file.write(files.ref.encode())
        file.write(tree.page_hashes or b"")
        for page in range(files.ref.pages):
            file.write(tree.page(page))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(files["tree"])


def read_tree(files: Files) -> Tree:
    """The tree on the disk, as much of it as verifies. Raises BlobError when it is not read."""
    tree = Tree(files.ref)
    try:
        with files["tree"].open("rb") as file:
            if file.read(REF_SIZE) != files.ref.encode():
                return tree
            if tree.add_root_untrusted(file.read(files.ref.pages * HASH_SIZE)):
                for page in range(files.ref.pages):
                    tree.add_page_untrusted(page, file.read(files.ref.page_length(page)))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise disk_error(error, f"{files.ref}") from error
    return tree


def claims_nothing(files: Files) -> bool:
    """No chunk of the incomplete blob was ever written. Raises OSError."""
    try:
        return not any(files["have"].read_bytes())
    except FileNotFoundError:
        return True


def read_ref(path: Path) -> BlobRef | None:
    """The reference at the head of a tree file; None if there is none."""
    try:
        with path.open("rb") as file:
            ref = decode_ref_untrusted(file.read(REF_SIZE))
    except (OSError, BlobRefError):
        return None
    return ref if path.name == f"{ref.name}.tree" else None


class WholeBlob:
    """A complete blob, open for reading. Every chunk read is verified: disks rot, files change."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.tree = read_tree(files)
        if not self.tree.complete:
            raise BlobDamaged(f"{files.ref}: its hashes on the disk are damaged")
        path = files["blob"]
        if files["link"].exists():
            path = Path(read_origin(files).path)
        try:
            self._handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise BlobDamaged(f"{files.ref}: {path} cannot be read: {error.strerror}") from error

    @property
    def mask(self) -> int:
        """All chunks."""
        return (1 << self.files.ref.chunks) - 1

    def read_chunk(self, index: int) -> bytes:
        """Chunk `index`. Raises BlobDamaged if it is not what it was."""
        length = self.files.ref.chunk_length(index)
        try:
            data = os.pread(self._handle, length, index * CHUNK_SIZE)
        except OSError as error:
            raise disk_error(error, f"{self.files.ref}") from error
        if not self.tree.verify_chunk(index, data):
            raise BlobDamaged(f"{self.files.ref}: chunk {index} was changed on the disk")
        return data

    def close(self) -> None:
        """Let the file go."""
        os.close(self._handle)


class PartialBlob:
    """An incomplete blob, open for writing; what an earlier attempt left is verified and kept."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._mutex = threading.Lock()
        self._handles: list[int] = []
        try:
            adopted = self._adopt()
            self._tree_handle = self._open("tree")
            self._data_handle = self._open("part")
            self._have_handle = self._open("have")
            if os.fstat(self._tree_handle).st_size == 0:
                write_at(self._tree_handle, files.ref.encode(), 0)
            os.ftruncate(self._data_handle, files.ref.size)
            self.tree = read_tree(files)
            size = -(-files.ref.chunks // 8)
            self._bitmap = bytearray(size)
            claimed = b"\xff" * size if adopted else os.pread(self._have_handle, size, 0)
            self.mask = self._verified(claimed)
        except OSError as error:
            self.close()
            raise disk_error(error, f"{files.ref}") from error
        except BaseException:
            self.close()
            raise

    def _open(self, suffix: str) -> int:
        handle = os.open(self.files[suffix], os.O_RDWR | os.O_CREAT, 0o600)
        self._handles.append(handle)
        return handle

    def _adopt(self) -> bool:
        """Take over what there is of a blob that was whole once and is damaged now."""
        self.files["link"].unlink(missing_ok=True)
        if not self.files["blob"].exists():
            return False
        self.files["blob"].replace(self.files["part"])
        return True

    def _verified(self, claimed: bytes) -> int:
        """The chunks of `claimed` that are what they should be."""
        for index in range(self.files.ref.chunks):
            byte, bit = index >> 3, 1 << (index & 7)
            if byte < len(claimed) and claimed[byte] & bit:
                chunk = self._pread(index)
                if self.tree.verify_chunk(index, chunk):
                    self._bitmap[byte] |= bit
        write_at(self._have_handle, bytes(self._bitmap), 0)
        return int.from_bytes(self._bitmap, "little")

    def _pread(self, index: int) -> bytes:
        length = self.files.ref.chunk_length(index)
        try:
            return os.pread(self._data_handle, length, index * CHUNK_SIZE)
        except OSError as error:
            raise disk_error(error, f"{self.files.ref}") from error

    def write_root(self, page_hashes: bytes) -> None:
        """Keep the verified list of page hashes."""
        self._write(self._tree_handle, page_hashes, REF_SIZE)

    def write_page(self, page: int, leaves: bytes) -> None:
        """Keep a verified page of leaf hashes."""
        at = REF_SIZE + self.files.ref.pages * HASH_SIZE + page * PAGE_SIZE
        self._write(self._tree_handle, leaves, at)

    def write_chunk(self, index: int, data: bytes | memoryview) -> None:
        """Write a verified chunk, and only then claim it. Raises BlobDiskFull, BlobError."""
        plain = bytes(data)  # compares 30 times faster than a view
        hole = plain == ZEROS[: len(plain)] and self._pread(index) == plain
        if not hole:
            self._write(self._data_handle, data, index * CHUNK_SIZE)
        byte = index >> 3
        with self._mutex:
            self._bitmap[byte] |= 1 << (index & 7)
            self._write(self._have_handle, self._bitmap[byte : byte + 1], byte)

    def read_chunk(self, index: int) -> bytes:
        """A chunk that was written. Raises BlobDamaged if it is not what it was."""
        data = self._pread(index)
        if not self.tree.verify_chunk(index, data):
            raise BlobDamaged(f"{self.files.ref}: chunk {index} was changed on the disk", index)
        return data

    def disclaim(self, index: int) -> None:
        """A chunk that was written is not what it was. Raises BlobDiskFull, BlobError."""
        byte = index >> 3
        with self._mutex:
            self._bitmap[byte] &= ~(1 << (index & 7)) & 0xFF
            self._write(self._have_handle, self._bitmap[byte : byte + 1], byte)

    def abandon(self) -> None:
        """The blob is here by another way. Raises BlobError."""
        try:
            for suffix in ("part", "have"):
                self.files[suffix].unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, f"{self.files.ref}") from error

    def finish(self) -> None:
        """All chunks are written: make it a whole blob, on the disk to stay."""
        try:
            os.fsync(self._tree_handle)
            os.fsync(self._data_handle)
            self.files["part"].replace(self.files["blob"])
            for suffix in ("have", "link"):  # A link, if it was shared in place meanwhile.
                self.files[suffix].unlink(missing_ok=True)
            sync_directory(self.files.directory)
        except OSError as error:
            raise disk_error(error, f"{self.files.ref}") from error

    def close(self) -> None:
        """Let the files go; what was written stays for another attempt."""
        for handle in self._handles:
            os.close(handle)
        self._handles.clear()

    def _write(self, handle: int, data: bytes | bytearray | memoryview, at: int) -> None:
        try:
            write_at(handle, data, at)
        except OSError as error:
            raise disk_error(error, f"{self.files.ref}") from error


def read_origin(files: Files) -> Origin:
    """Where a blob that was shared in place lies. Raises BlobDamaged if that file has changed."""
    try:
        origin = Origin(**json.loads(files["link"].read_text()))
        status = Path(origin.path).stat()
    except (OSError, ValueError, TypeError) as error:
        raise BlobDamaged(f"{files.ref}: the file it was shared from is gone") from error
    if (status.st_size, status.st_mtime_ns) != (origin.size, origin.changed_ns):
        raise BlobDamaged(f"{files.ref}: {origin.path} has changed since it was shared")
    return origin


def write_origin(files: Files, origin: Origin) -> None:
    """Remember where a blob that is shared in place lies, and how it looks."""
    temporary = files["link-new"]
    record = {"path": origin.path, "size": origin.size, "changed_ns": origin.changed_ns}
    temporary.write_text(json.dumps(record))
    temporary.replace(files["link"])


def sync_directory(directory: Path) -> None:
    """Make renames in a directory last."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_at(handle: int, data: bytes | bytearray | memoryview, at: int) -> None:
    """Write all of `data` at its place."""
    view = memoryview(data)
    while len(view):
        written = os.pwrite(handle, view, at)
        at += written
        view = view[written:]
