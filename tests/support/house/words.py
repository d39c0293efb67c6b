"""Words that are not used: what the glossary's last column says, and the identifiers of the code.

A name in that column is words joined by `_`; `*` stands for any words, or none. So `table` is the
whole identifier, and `*_gate_*` every identifier with that word in it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
GLOSSARY = ROOT / "docs/glossary.md"
PACKAGES = {
    "Between two machines": ("transport", "utp_native"),
    "Among several": ("quorate", "consensus", "scenarios"),
    "In the code": ("quorate", "consensus", "scenarios", "transport", "utp_native"),
}
"""Which packages a section of the glossary speaks of: a ticket is one thing in the transport, and
in the others nothing at all."""
HEAD = ("Word", "Meaning", "Not")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class Entry(NamedTuple):
    """A row of the glossary."""

    section: str
    word: str
    meaning: str
    excluded: tuple[str, ...]


def entries(page: str) -> list[Entry]:
    """All rows of the glossary's tables, in order. Raises `ValueError` for another layout."""
    found: list[Entry] = []
    section = ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = line[3:]
        if not line.startswith("|"):
            continue
        cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
        if len(cells) != len(HEAD) or section not in PACKAGES:
            raise ValueError(f"no row of the glossary: {line}")
        if cells != HEAD and set(cells[0]) != {"-"}:
            found.append(Entry(section, cells[0], cells[1], tuple(re.findall("`(.*?)`", cells[2]))))
    return found


def words_of(name: str) -> tuple[str, ...]:
    """The words of an identifier, whether it is written `like_this` or `LikeThis`."""
    return tuple(word.lower() for word in _WORD.findall(name))


def excludes(pattern: str, name: str) -> bool:
    """Whether a name of the last column excludes this identifier."""
    return _fits(tuple(pattern.split("_")), words_of(name))


def _fits(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "*":
        return any(_fits(pattern[1:], words[skipped:]) for skipped in range(len(words) + 1))
    return bool(words) and words[0] == pattern[0] and _fits(pattern[1:], words[1:])


def named(source: str) -> Iterator[tuple[str, int]]:
    """What a module gives a name to, and the line: functions, classes, parameters, variables,
    attributes. What others have named is theirs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


def identifiers(*packages: str) -> Iterator[tuple[str, str]]:
    """All names in the packages' Python, those of files and folders too, and where they stand."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            where = path.relative_to(ROOT)
            yield path.parent.name if path.stem == "__init__" else path.stem, str(where)
            for name, line in named(path.read_text()):
                yield name, f"{where}:{line}"
