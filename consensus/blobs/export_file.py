"""Giving a whole blob to the user as a file, step by step. Everything here blocks, as in
`disk`."""

import contextlib
import os
import stat
from pathlib import Path

from consensus.blobs.disk import STEP_SIZE, ZEROS, Files, WholeBlob, write_at
from consensus.blobs.errors import BlobError, disk_error
from consensus.core.blob.tree import CHUNK_SIZE
from transport.surroundings import current

STEP_CHUNKS = STEP_SIZE // CHUNK_SIZE


class Export:
    """Makes `target` of a whole blob: whole or not at all, each chunk verified, holes kept.

    With `link` no second copy is made where the file system can do without: `target` is then
    another name for the store's own file, which is for a store that goes when it has been used.
    """

    def __init__(self, files: Files, target: Path, link: bool) -> None:
        self._files = files
        self._target = target
        self._temporary = target.with_name(f".{target.name}.{current().random(8).hex()}")
        self._index = 0
        self._handle: int | None = None
        self._blob = WholeBlob(files)
        try:
            _refuse_special(target)
            self._handle = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            if link:
                self._link(os.fstat(self._handle).st_mode & 0o777)
        except OSError as error:
            self.close()
            raise disk_error(error, str(target)) from error
        except BaseException:
            self.close()
            raise

    def _link(self, mode: int) -> None:
        """Put a link in the place of the file, if that can be done, with the user's own mode."""
        linked = self._temporary.with_name(f"{self._temporary.name}-link")
        try:
            os.link(self._files["blob"], linked)
        except OSError:
            return  # Another file system, or one without links, or shared in place: a copy.
        try:
            linked.chmod(mode)
            linked.replace(self._temporary)
        finally:
            linked.unlink(missing_ok=True)
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def step(self) -> bool:
        """Up to 16 MiB more; False when there is no more."""
        end = min(self._index + STEP_CHUNKS, self._files.ref.chunks)
        try:
            while self._index < end:
                data = self._blob.read_chunk(self._index)
                if self._handle is not None and data != ZEROS[: len(data)]:
                    write_at(self._handle, data, self._index * CHUNK_SIZE)
                self._index += 1
            if self._handle is not None:
                os.fsync(self._handle)  # In each step, or the last one would take as long as all.
        except OSError as error:
            raise disk_error(error, str(self._target)) from error
        return self._index < self._files.ref.chunks

    def finish(self) -> None:
        """Put it in its place."""
        try:
            if self._handle is not None:
                os.ftruncate(self._handle, self._files.ref.size)
                os.fsync(self._handle)
            _refuse_special(self._target)
            self._temporary.replace(self._target)
        except OSError as error:
            raise disk_error(error, str(self._target)) from error

    def close(self) -> None:
        """Let the files go; what was not finished leaves nothing behind."""
        self._blob.close()
        if self._handle is not None:
            os.close(self._handle)
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _refuse_special(target: Path) -> None:
    """Raise BlobError for what is there and is no plain file: a device, a pipe, a link or a folder
    that a file took the place of would be gone, for everybody."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(target.lstat().st_mode):
            raise BlobError(f"{target} is there and no plain file: name another path")
