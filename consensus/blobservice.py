"""Blobs of a node: its store, opened when the first one comes, and the channels they travel over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio

from consensus.core.blobtree import BlobRef

BLOBS = "quorate.blobs"


class BlobService:
    def __init__(self, *a): pass
