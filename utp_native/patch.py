"""Line edits of a source we do not keep: each names the lines it replaces and their hash.

A patch file is a comment (why, and the test that fails without it) and edits:

    @ file first-last sha256        replaces these lines, numbered in the untouched file
    @ file +line sha256             inserts after this line
    |text                           a new line

so it holds our lines only. An edit whose hash does not fit is refused: the source is not the one
the edit was made for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Edit", "Patch", "PatchError", "apply", "load", "load_all"]

_HEAD = re.compile(r"@ (\S+) (\+?)(\d+)(?:-(\d+))? ([0-9a-f]{64})")


class PatchError(Exception):
    """A patch is malformed, overlaps another, or does not fit the source."""


@dataclass(frozen=True)
class Edit:
    """Lines `first` to `last` (from 1, both included) become `text`; `insert` keeps them."""

    file: str
    first: int
    last: int
    insert: bool
    digest: str
    text: str
    patch: str


@dataclass(frozen=True)
class Patch:
    """One change to the fork."""

    name: str
    why: str
    test: str
    """The test that fails without it."""
    edits: tuple[Edit, ...]


def load(path: Path) -> Patch:
    """Read a patch. Raises `PatchError` if it is malformed or says no reason or no test."""
    why: list[str] = []
    test = ""
    edits: list[tuple[re.Match[str], list[str]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# test: "):
            test = line.removeprefix("# test: ")
        elif line.startswith("# "):
            why.append(line[2:])
        elif line.startswith("@ "):
            head = _HEAD.fullmatch(line)
            if head is None or (head[2] and head[4]) or (not head[2] and not head[4]):
                raise PatchError(f"{path.name}: no edit starts like this: {line}")
            edits.append((head, []))
        elif line.startswith("|") and edits:
            edits[-1][1].append(line[1:] + "\n")
        else:
            raise PatchError(f"{path.name}: no line looks like this: {line}")
    if not why or not test or not edits:
        raise PatchError(f"{path.name}: a patch needs a reason, a test and an edit")
    return Patch(
        path.stem,
        " ".join(why),
        test,
        tuple(
            Edit(
                file=head[1],
                first=int(head[3]),
                last=int(head[4] or head[3]),
                insert=bool(head[2]),
                digest=head[5],
                text="".join(text),
                patch=path.stem,
            )
            for head, text in edits
        ),
    )


def load_all(directory: Path) -> list[Patch]:
    """All patches of a directory, in the order of their names."""
    return [load(path) for path in sorted(directory.glob("*.patch"))]


def apply(sources: Mapping[str, bytes], patches: Iterable[Patch]) -> dict[str, bytes]:
    """The sources with all edits made. Raises `PatchError` if one does not fit or two overlap."""
    by_file: dict[str, list[Edit]] = {}
    for patch in patches:
        for edit in patch.edits:
            by_file.setdefault(edit.file, []).append(edit)
    result = dict(sources)
    for file, edits in by_file.items():
        if file not in sources:
            raise PatchError(f"{edits[0].patch}: there is no file {file}")
        result[file] = _edited(sources[file], edits)
    return result


def _edited(source: bytes, edits: list[Edit]) -> bytes:
    lines = source.splitlines(keepends=True)
    replaced: set[int] = set()
    for edit in edits:
        found = b"".join(lines[edit.first - 1 : edit.last])
        if (
            not 1 <= edit.first <= edit.last <= len(lines)
            or hashlib.sha256(found).hexdigest() != edit.digest
        ):
            raise PatchError(
                f"{edit.patch}: lines {edit.first} to {edit.last} of {edit.file} are not those "
                "the patch was made for"
            )
        if not edit.insert:
            span = set(range(edit.first, edit.last + 1))
            if span & replaced:
                raise PatchError(f"{edit.patch}: another patch replaces lines of {edit.file} too")
            replaced |= span
    # From the end, so that the numbers of what is before stay right. What is inserted after a line
    # stands behind its replacement, in the order of the patches.
    order = sorted(enumerate(edits), key=lambda item: (item[1].last, item[1].insert, item[0]))
    for _, edit in reversed(order):
        new = [edit.text.encode()] if edit.text else []
        if edit.insert:
            lines[edit.last : edit.last] = new
        else:
            lines[edit.first - 1 : edit.last] = new
    return b"".join(lines)
