"""What a user asks for, checked before anything is made of it: each mistake is one clear error."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

from consensus.codec import pack
from consensus.core.blob.tree import BlobRef
from consensus.core.config import DEADLINE_MS_MAX
from consensus.core.errors import GroupError
from consensus.core.evidence.founding import NAME_SIZE_MAX
from consensus.core.types import Content

RESERVED_PREFIX = "quorate."
"""Kinds that begin so are the framework's own questions."""
KEY_SIZE = 32
TIMEOUT_MAX_S = 366 * 24 * 3600.0


def make_content(kind: str, body: Any, blobs: Sequence[BlobRef], deadline_s: float) -> Content:
    """A proposal's content. Raises ValueRefused for the body, GroupError for the rest."""
    check_kind(kind)
    named: tuple[tuple[bytes, int], ...] = ()
    if blobs:
        if not all(isinstance(ref, BlobRef) for ref in blobs):
            raise GroupError("blobs are named by what `share` or `parse_ref_untrusted` returned")
        named = tuple((ref.root, ref.size) for ref in blobs)
    check_seconds("deadline_s", deadline_s, DEADLINE_MS_MAX / 1000)
    return Content(kind, pack(body), named, ceil(1000 * deadline_s))


def check_kind(kind: str) -> None:
    """Raise GroupError for what is no kind of a user's."""
    if not isinstance(kind, str):
        raise GroupError(f"a kind is text, not {_a(kind)}")
    if kind.startswith(RESERVED_PREFIX):
        raise GroupError(f"kinds that begin with {RESERVED_PREFIX!r} are the framework's own")
    if not kind.isascii():
        try:
            kind.encode()
        except UnicodeEncodeError:
            raise GroupError(f"a kind of text that is none: {kind!r}") from None


def check_name(name: str) -> None:
    """Raise GroupError for what cannot name a group: invitations carry it."""
    if not isinstance(name, str):
        raise GroupError(f"a group's name is text, not {_a(name)}")
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= NAME_SIZE_MAX or not name.isprintable():
        raise GroupError(f"a group's name has 1 to {NAME_SIZE_MAX} bytes of printable text")


def check_handler(handler: object) -> None:
    """Raise GroupError for what cannot be called."""
    if not callable(handler):
        raise GroupError(f"a handler is a function that takes a Proposal, not {_a(handler)}")


def check_key(key: bytes) -> None:
    """Raise GroupError for what cannot be a peer's key."""
    if not isinstance(key, bytes) or len(key) != KEY_SIZE:
        raise GroupError(f"a peer is named by its key of {KEY_SIZE} bytes, not by {_a(key)}")


def check_kind_of(name: str, value: object, *kinds: type, needed: bool = False) -> None:
    """Raise GroupError for an argument that is of none of these, or is `needed` and None."""
    if not isinstance(value, kinds) and (needed or value is not None):
        wanted = " or ".join("text" if kind is str else kind.__name__ for kind in kinds)
        raise GroupError(f"{name} is {wanted}, not {_a(value)}")


def check_timeout(timeout_s: float | None) -> None:
    """Raise GroupError for what is no timeout; None is none at all."""
    if timeout_s is not None:
        check_seconds("timeout_s", timeout_s, TIMEOUT_MAX_S)


def check_seconds(name: str, value: float, most: float) -> None:
    """Raise GroupError for what is no positive number of at most `most` seconds."""
    plain = type(value) is float or type(value) is int
    if not plain and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise GroupError(f"{name} is a number of seconds, not {_a(value)}")
    if not 0 < value <= most:
        raise GroupError(f"{name} is above 0 and at most {most:.0f} seconds, not {value}")


def _a(value: object) -> str:
    name = type(value).__name__
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name}" + (f" of {len(value)}" if isinstance(value, bytes) else "")
