"""What a fetch tells its shell, and how it deals with its sources."""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class FetchConfig:
    """How a fetch deals with its sources."""

    window_min: int = 4
    """Pieces asked of a source before the first has come. Memory does not depend on it."""
    window_max: int = 64
    """Pieces asked of a fast source; at most half of what a holder accepts."""
    pipeline_s: float = 0.5
    """Pieces asked ahead are worth this much time at the source's pace."""
    piece_timeout_s: float = 30.0
    """A source that finishes no piece for so long is dropped: below 9 KB/s."""
    double_after_s: float = 2.0
    """At the end, what is under way for so long is asked of a second source."""
    absent_grace_s: float = 2.0
    """How long sources that all hold nothing may take to begin holding."""
    starved_s: float = 30.0
    """How long nobody may offer what is missing."""
    stalled_s: float = 60.0
    """How long no piece may come at all, whatever was promised: two sources' patience."""


class Drop(Enum):
    """Why a source was dropped."""

    LYING = "sent bytes that do not match the blob"
    BROKE_PROTOCOL = "did not keep to the protocol"
    SLOW = "sent nothing useful for too long"
    GONE = "closed the channel"


@dataclass(frozen=True, slots=True)
class StoreRoot:
    """Keep the verified list of page hashes."""

    page_hashes: bytes


@dataclass(frozen=True, slots=True)
class StorePage:
    """Keep a verified page of leaf hashes."""

    page: int
    leaves: bytes
    tree_complete: bool
    """From now on what is held may be offered to others."""


@dataclass(frozen=True, slots=True)
class StoreChunk:
    """Write a verified chunk, then call `chunk_stored`."""

    index: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the fetch has come."""

    chunks: int
    chunks_total: int
    bytes: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class SourceDropped:
    """The source is no longer used: close its channel."""

    source: int
    reason: Drop
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """Every chunk is stored."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The blob cannot be had from these sources."""

    reason: str


FetchOutput = StoreRoot | StorePage | StoreChunk | Progress | SourceDropped | Finished | Failed
