"""Taking a file into the store, step by step. Everything here blocks, as in `disk`."""

import os
from pathlib import Path

from consensus.blobs.disk import (
    STEP_SIZE,
    ZEROS,
    Files,
    Origin,
    sync_directory,
    write_at,
    write_origin,
    write_tree,
)
from consensus.blobs.errors import BlobError, disk_error
from consensus.core.blob.tree import CHUNK_SIZE, BlobRef, Tree, TreeHasher
from transport.surroundings import current


class Import:
    """Takes a file into the store, step by step: copied, or left in place and remembered."""

    def __init__(self, directory: Path, path: Path, copy: bool) -> None:
        self._directory = directory
        self._path = path
        self._hasher = TreeHasher()
        self._tree: Tree | None = None
        self._temporary = directory / f"import-{current().random(8).hex()}" if copy else None
        self._target: int | None = None
        self._source: int | None = None
        self.at = 0
        """Bytes taken in."""
        try:
            self._source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not block
            status = os.fstat(self._source)
            if not os.path.isfile(self._source):
                raise BlobError(f"{path} is not a file")
            if self._temporary is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                self._target = os.open(self._temporary, flags, 0o600)
        except OSError as error:
            self.close()
            raise disk_error(error, str(path)) from error
        except BaseException:
            self.close()
            raise
        self.size = status.st_size
        self._origin = Origin(str(path.resolve()), status.st_size, status.st_mtime_ns)

    def step(self, until: int) -> bool:
        """Take in up to 16 MiB more, and nothing beyond `until`; False when there is no more."""
        assert self._source is not None
        end = min(self.at + STEP_SIZE, until)
        try:
            while self.at < end:
                data = os.pread(self._source, min(CHUNK_SIZE, end - self.at), self.at)
                if not data:
                    return False
                self._hasher.update(data)
                if self._target is not None and data != ZEROS[: len(data)]:
                    write_at(self._target, data, self.at)
                self.at += len(data)
            return bool(os.pread(self._source, 1, self.at))
        except OSError as error:
            raise disk_error(error, str(self._path)) from error

    def name(self) -> BlobRef:
        """All was taken in: what it is."""
        self._tree = self._hasher.finish()
        return self._tree.ref

    def finish(self, being_fetched: bool) -> bool:
        """Put the blob, which has been named, in its place; whether it is shared in place. What a
        fetch that is under way has written stays: it is still at it."""
        assert self._tree is not None
        files = Files(self._directory, self._tree.ref)
        try:
            if files["blob"].exists() and self._target is None:
                return False
            write_tree(files, self._tree)
            if self._target is not None and self._temporary is not None:
                os.ftruncate(self._target, self.at)
                os.fsync(self._target)
                self._temporary.replace(files["blob"])
                files["link"].unlink(missing_ok=True)
            else:
                if self.at != self._origin.size:
                    raise BlobError(f"{self._path} changed while it was read")
                write_origin(files, self._origin)
            if not being_fetched:
                files["part"].unlink(missing_ok=True)
                files["have"].unlink(missing_ok=True)
            sync_directory(self._directory)
        except OSError as error:
            raise disk_error(error, str(self._path)) from error
        return self._target is None

    def close(self) -> None:
        """Let the files go; what was not finished leaves nothing behind."""
        for handle in (self._source, self._target):
            if handle is not None:
                os.close(handle)
        if self._temporary is not None:
            try:
                self._temporary.unlink(missing_ok=True)
            except OSError as error:
                raise disk_error(error, str(self._temporary)) from error
