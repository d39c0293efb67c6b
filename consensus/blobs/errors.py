"""What can go wrong with blobs; each error says whose fault it is and what to do."""

import errno
from typing import ClassVar

from consensus.core.errors import ConsensusError


class BlobError(ConsensusError):
    """Base of what the blob store raises."""

    told: ClassVar[str] = "the disk refuses it"
    """The reason as other members hear it: no path and nothing else of this machine's is in it."""


class BlobDiskFull(BlobError):
    """The disk, or a quota, has no room. What was verified so far is kept."""

    told = "no room on the disk"


class BlobLimit(BlobError):
    """The blob does not fit within the store's size limit, with what is pinned there."""

    told = "no room within the limit of the store"


class BlobUnavailable(BlobError):
    """No source had all of the blob. What was verified so far is kept."""

    told = "nobody gave all of it"


class BlobDamaged(BlobError):
    """What is on this disk is not the blob any more."""

    def __init__(self, message: str, chunk: int | None = None) -> None:
        super().__init__(message)
        self.chunk = chunk
        """Which chunk it is, if it is one of them."""


class BlobStoreBusy(BlobError):
    """Another process uses the directory."""

    told = "the store is in use"


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def disk_error(error: OSError, what: str) -> BlobError:
    """The error to raise for one of the disk's."""
    if error.errno in _FULL:
        return BlobDiskFull(
            f"no room on the disk for {what} ({error.strerror}): make room and fetch again, what"
            " was verified is kept"
        )
    return BlobError(f"the disk refuses {what}: {error.strerror}")
