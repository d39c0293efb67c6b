"""The blobs of a node: a content-addressed store on disk, and moving blobs between peers.

The store owns its directory. A fetch asks all its sources at once, verifies every chunk before it
is written, writes as it goes, and resumes where an earlier one ended, also one that was killed.
What is held of a blob is served while the rest is still being fetched. All disk work runs in
worker threads; memory is a few chunks for each channel and the hashes of the blobs in use.
"""

import fcntl
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, Self

import anyio
from anyio.to_thread import run_sync

from consensus.blobdisk import (
    Files,
    Import,
    PartialBlob,
    WholeBlob,
    export,
    read_ref,
)
from consensus.bloberrors import (
    BlobDamaged,
    BlobDiskFull,
    BlobError,
    BlobLimit,
    BlobStoreBusy,
    BlobUnavailable,
    disk_error,
)
from consensus.blobserve import CHANNEL_ERRORS, Holding, Session
from consensus.core.blobtree import BlobRef
from consensus.core.transferevents import Drop, FetchConfig, Progress

__all__ = [
    "CHANNEL_ERRORS",
    "BlobDamaged",
    "BlobDiskFull",
    "BlobError",
    "BlobLimit",
    "BlobRef",
    "BlobStore",
    "BlobStoreBusy",
    "BlobUnavailable",
    "ByteChannel",
    "Drop",
    "FetchReport",
    "Progress",
    "Source",
]
