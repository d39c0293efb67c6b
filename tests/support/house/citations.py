"""What is cited by an id: where each id is defined, and what is wrong with the citations.

A rule, invariant or difference has an id such as `R12`: a prefix, and a number from 1 on. Its page
defines it once, at the beginning of a line, of an item of a list or of a row of a table, in bold
and with a full stop (`- **R12.** ...`, `**RD1. Its words.**`, `| **HR3.** ... |`). Whoever speaks
of it, in code or on a page, cites the id alone. Texts come in as values, so that all of this is
tried on small made-up ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

GROUPS, HANDSHAKE = "docs/protocol/groups.md", "docs/protocol/handshake.md"
PRESENCE, BLOBS = "docs/protocol/presence.md", "docs/protocol/blobs.md"
HOUSE = "docs/architecture.md"

PAGES = {
    **dict.fromkeys(("OP", "VC", "RD", "LC", "DL", "VE", "R", "I", "D", "S", "KT"), GROUPS),
    **dict.fromkeys(("HC", "HD", "HR"), HANDSHAKE),
    **dict.fromkeys(("LP", "PD", "PR"), PRESENCE),
    "BT": BLOBS,
    "HS": HOUSE,
}
"""The page that defines the ids of each prefix."""

CITED_IN = {"R": "consensus/", "I": "scenarios/"}
"""Where code has to cite every id of a prefix: rules by the engine, invariants by who checks."""

SUFFIXES = frozenset((".py", ".pyi", ".md", ".toml", ".c", ".cpp", ".h", ".inc"))
GENERATED = frozenset(("build", "dist", "node_modules", "testdata", "vectors"))
"""Directories that hold what nobody writes by hand: bytes and numbers look like ids there."""

NUMBER = re.compile(r"\b(?:rules?|invariants?)[\s#*`]+\d", re.IGNORECASE)
DESIGN = re.compile(r"\bdesign,?[\s#*]+section\b|\bsection \d+ of the (?:\w+ )?design\b", re.I)
SECTION = re.compile(r"\b(docs/[\w/]+\.md),[\s#*]+sections?[\s#*]+(\d+)")
BANNED = {"a number without its prefix": NUMBER, "a text that is not here": DESIGN}


class Found(NamedTuple):
    """An id as it stands in a text."""

    id: str
    path: str
    line: int


def _alternatives(prefixes: Mapping[str, str]) -> str:
    return "|".join(sorted(prefixes, key=lambda prefix: (-len(prefix), prefix)))


def defined(texts: Mapping[str, str], prefixes: Mapping[str, str] = PAGES) -> list[Found]:
    """Every definition of an id, on whatever page it stands."""
    head = re.compile(rf"(?m)^(?:[-*] |\| )?\*\*((?:{_alternatives(prefixes)})[1-9]\d*)\.")
    return [found for path in texts if path.endswith(".md") for found in _find(head, path, texts)]


def cited(texts: Mapping[str, str], prefixes: Mapping[str, str] = PAGES) -> list[Found]:
    """Every id in the texts, definitions included. What is part of a longer word is none."""
    word = re.compile(rf"(?<![\w.&/+-])((?:{_alternatives(prefixes)})[1-9]\d*)(?![\w/])")
    return [found for path in texts for found in _find(word, path, texts)]


def _find(pattern: re.Pattern[str], path: str, texts: Mapping[str, str]) -> Iterator[Found]:
    text = texts[path]
    for match in pattern.finditer(text):
        yield Found(match[1], path, text.count("\n", 0, match.start()) + 1)


def _number(id: str) -> tuple[str, int]:
    prefix = id.rstrip("0123456789")
    return prefix, int(id[len(prefix) :])


def _wrong_definitions(texts: Mapping[str, str], prefixes: Mapping[str, str]) -> Iterator[str]:
    """Ids defined twice, on another page or out of order, and tables of ids that say another
    range. A number may be left out: that of a rule that went stays unused."""
    known: dict[str, Found] = {}
    last = dict.fromkeys(prefixes, 0)
    for found in defined(texts, prefixes):
        prefix, number = _number(found.id)
        if found.id in known:
            yield f"{found.path}:{found.line}: {found.id} is defined twice"
        elif found.path != prefixes[prefix]:
            yield f"{found.path}:{found.line}: {found.id} belongs on {prefixes[prefix]}"
        elif number <= last[prefix]:
            yield f"{found.path}:{found.line}: {found.id} comes after {prefix}{last[prefix]}"
        known.setdefault(found.id, found)
        last[prefix] = number
    for prefix, page in prefixes.items():
        if f"\n| `{prefix}1` to `{prefix}{last[prefix]}` |" not in texts.get(page, ""):
            yield f"{page}: its table of ids lacks {prefix}1 to {prefix}{last[prefix]}"


def _wrong_sections(texts: Mapping[str, str]) -> Iterator[str]:
    """Citations of a numbered section (its page, then its number) that the page does not have."""
    for path, text in texts.items():
        for match in SECTION.finditer(text):
            page, number = match.groups()
            if f"\n## {number}. " not in texts.get(page, ""):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{path}:{line}: {page} has no section {number}"


def complaints(
    texts: Mapping[str, str],
    prefixes: Mapping[str, str] = PAGES,
    cited_in: Mapping[str, str] = CITED_IN,
) -> list[str]:
    """All that is wrong with the texts (by path), each as a line that says where."""
    wrong = [*_wrong_definitions(texts, prefixes), *_wrong_sections(texts)]
    known = {found.id for found in defined(texts, prefixes)}
    citations = cited(texts, prefixes)
    wrong += [f"{f.path}:{f.line}: {f.id} is not defined" for f in citations if f.id not in known]
    for id in sorted(known, key=_number):
        where = cited_in.get(_number(id)[0])
        if where and not any(f.id == id and f.path.startswith(where) for f in citations):
            wrong.append(f"{where}: nothing cites {id}")
    for what, pattern in BANNED.items():
        for path, text in texts.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                wrong.append(f"{path}:{line}: {' '.join(match[0].split())!r} is {what}")
    return wrong


def texts_of(root: Path) -> dict[str, str]:
    """Code and documents below `root` by path, without what is hidden or generated."""
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        hidden = any(part.startswith(".") or part in GENERATED for part in relative.parts)
        if not hidden and (path.suffix in SUFFIXES or path.name == "Makefile") and path.is_file():
            found[str(relative)] = path.read_text()
    return found
