"""A page of docs/changing as what it says to do: steps with edits, commands, and the tests that
fail until they are done.

An edit is a block of the kind `diff`, without line numbers, which would go stale: `+++` names a
file, `@@` begins another place in it, and the lines that stay and go must be there exactly once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Edit", "EditError", "Step", "apply", "steps_of"]

_STEP = re.compile(r"(?m)^## (\d+\. .+)$")
_BLOCK = re.compile(r"(?ms)^```(diff|sh)\n(.*?)^```$")
_TESTS = re.compile(r"(?ms)^Fails until then:(.*?)\n\n")


class EditError(Exception):
    """An edit of a page does not fit the file it names."""


@dataclass(frozen=True)
class Edit:
    """One place of one file: what stands there, and what is to."""

    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Step:
    """A numbered section of a page."""

    title: str
    edits: tuple[Edit, ...]
    commands: tuple[str, ...]
    """In order, after the edits."""
    tests: tuple[str, ...]
    """Ids of tests that fail until this step is done."""


def steps_of(page: str) -> list[Step]:
    """The steps of a page's text. Raises `EditError` for a block that makes no sense."""
    parts = _STEP.split(page + "\n\n")[1:]
    return [
        _step(title, body.split("\n## ")[0] + "\n\n")
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def _step(title: str, body: str) -> Step:
    blocks = _BLOCK.findall(body)
    edits = [edit for kind, text in blocks if kind == "diff" for edit in _edits(text)]
    commands = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    tests = [name for named in _TESTS.findall(body) for name in re.findall(r"`(.+?)`", named)]
    return Step(title, tuple(edits), tuple(commands), tuple(tests))


def _edits(text: str) -> list[Edit]:
    places: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("+++ "):
            places.append((line[4:], []))
        elif line == "@@" and places:
            places.append((places[-1][0], []))
        elif line[:1] in ("+", "-", " ", "") and places:
            places[-1][1].append(line or " ")
        else:
            raise EditError(f"no line of an edit: {line!r}")
    return [_edit(file, lines) for file, lines in places if lines]


def _edit(file: str, lines: list[str]) -> Edit:
    before, after = (
        "".join(f"{line[1:]}\n" for line in lines if line[0] in signs) for signs in (" -", " +")
    )
    return Edit(file, before, after)


def apply(root: Path, edit: Edit) -> None:
    """Make an edit below `root`. Raises `EditError` if it does not fit exactly one place."""
    path = root / edit.file
    if not edit.before:
        if path.exists():
            raise EditError(f"{edit.file} is there already")
        path.write_text(edit.after)
        return
    text = path.read_text() if path.exists() else ""
    found = list(re.finditer(f"(?m)^{re.escape(edit.before)}", text))
    if len(found) != 1:
        raise EditError(f"{edit.file} has this in {len(found)} places:\n{edit.before}")
    begin, end = found[0].span()
    path.write_text(text[:begin] + edit.after + text[end:])
