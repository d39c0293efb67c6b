"""How a node's file comes to be, so that a making which was broken off can be taken up again.

A file that is empty may be one that was cut off, which must not be taken for a new one, or one
whose making came no further: the disk was full, or the process was killed. What tells them apart is
a mark beside it, an empty file NAME.new, which is on the disk before NAME is and goes when NAME is
whole.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["begin", "finished"]


def _mark(path: str) -> Path:
    return Path(f"{path}.new")


def begin(path: str) -> bool:
    """Make the file, private to its user, if there is none. Whether a making of it is not known to
    be finished, this one or an earlier one. Raises OSError."""
    if not os.path.lexists(path):
        mark = _mark(path)
        os.close(os.open(mark, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            _sync_directory(mark.parent)
            with suppress(FileExistsError):  # Somebody else was quicker, and holds it soon.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError:
            if not os.path.lexists(path):
                mark.unlink(missing_ok=True)
            raise
    return _mark(path).exists()


def finished(path: str) -> None:
    """The file is whole, and held by this process. A mark that cannot be removed does no harm as
    long as the file is not cut off."""
    with suppress(OSError):
        _mark(path).unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Have the names in it on the disk, where directories can be opened."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
