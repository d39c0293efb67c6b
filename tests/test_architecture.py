"""The seven rules of the house, as docs/architecture.md states them, held against every file.

What does the holding is in `tests.support.house`, and is itself tried in `tests/house`.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.house.citations import CITED_IN, PAGES, complaints, defined, texts_of
from tests.support.house.imports import (
    PACKAGES,
    ROOT,
    between,
    circles,
    everything,
    modules,
)
from tests.support.house.lengths import FILE_LINES_MAX, LONG, lines_of, long_functions
from tests.support.house.names import TWICE, repeated
from tests.support.house.purity import breaches, impure, simulated
from tests.support.house.rooms import crowded, running_up
from tests.support.house.words import GLOSSARY, entries, excludes, identifiers
from tests.support.house.words import PACKAGES as WORDS_OF

SUFFIXES = (".py", ".c", ".cpp", ".h", ".inc")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "fuzz", "docs")


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders or FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and "build" not in path.parts:
                yield path


# HS1: no circle, imports for typing included.


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(between(everything())) == []


# HS2: rooms from bottom to top.


def test_no_import_runs_up() -> None:
    assert list(running_up(between(everything()))) == []


def test_imports_run_along_the_arrows() -> None:
    found = {
        module: bad
        for module, path in modules(*PACKAGES)
        if (bad := breaches(module, path.read_text(), path.name == "__init__.py"))
    }
    assert not found


def test_pure_parts_are_pure_through_and_through() -> None:
    """The machine, and all of consensus and transport that the simulator imports."""
    graph = everything()
    # What is behind utp_native's border is not pure; the border is the rule.
    graph = {module: names for module, names in graph.items() if not module.startswith("utp_")}
    pure = {*simulated(graph), *(name for name in graph if name.startswith("consensus.machine"))}
    assert not {name: bad for name in pure if (bad := impure(name, graph))}


# HS3: small rooms, each of which says what lives in it.


def test_no_room_is_crowded() -> None:
    folders = [ROOT / package for package in PACKAGES]
    assert crowded(folders, SUFFIXES) == {}


def test_rooms_modules_and_public_classes_say_what_they_are() -> None:
    silent = []
    for module, path in modules(*PACKAGES):
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None:
            silent.append(module)
        silent += [
            f"{module}.{node.name}"
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node) is None
        ]
    assert not silent


# HS4: no module name twice without a reason.


def test_a_module_name_stands_once_or_for_a_reason() -> None:
    named = [module for module, path in modules(*PACKAGES) if path.name != "__init__.py"]
    assert set(repeated(named)) == set(TWICE)


# HS5: a word has one meaning.


@cache
def names(section: str) -> list[tuple[str, str]]:
    return list(identifiers(*WORDS_OF[section]))


@pytest.mark.parametrize(
    ("section", "pattern"),
    [
        pytest.param(entry.section, pattern, id=f"{entry.word}, not {pattern}")
        for entry in entries(GLOSSARY.read_text())
        for pattern in entry.excluded
    ],
)
def test_what_is_not_the_word_is_no_identifier(section: str, pattern: str) -> None:
    found = [f"{where}: {name}" for name, where in names(section) if excludes(pattern, name)]
    assert not found


# HS6: lengths.


def test_files_are_small() -> None:
    found = {str(path.relative_to(ROOT)): lines_of(path) for path in sources()}
    assert not {path: lines for path, lines in found.items() if lines > FILE_LINES_MAX}


def test_functions_are_small_or_hot() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{name}"
        for folder in (*PACKAGES, "benchmarks", "fuzz", "docs")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name, _ in long_functions(path.read_text())
    }
    assert found == set(LONG)


# HS7: what is cited is there.


def test_every_citation_is_defined_and_every_rule_cited() -> None:
    assert complaints(texts_of(ROOT)) == []


def test_no_page_and_no_part_of_the_code_is_overlooked() -> None:
    texts = texts_of(ROOT)
    assert set(PAGES.values()) <= set(texts)
    assert {Path(path).suffix for path in texts} >= {".py", ".md", ".cpp", ".h", ".toml"}
    for prefix in PAGES:
        assert any(found.id.startswith(prefix) for found in defined(texts)), prefix
    for prefix, where in CITED_IN.items():
        assert any(path.startswith(where) for path in texts), prefix


# What else every file keeps to.


def written() -> Iterator[Path]:
    """What people read: sources, documents, what builds."""
    yield from sources()
    yield from (path for path in ROOT.glob("*") if path.is_file() and not path.is_symlink())
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield from (path for path in (ROOT / ".ci").glob("*") if path.is_file())


# Put together here so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:" + "work|root|home|Users" + r")/\w")
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))


@pytest.mark.parametrize(
    ("what", "pattern"), [("a path of one machine", MACHINE_PATH), ("unfinished", UNFINISHED)]
)
def test_nothing_says(what: str, pattern: re.Pattern[str]) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for path in written()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    }
    assert not found, what


def test_untrusted_decoders_name_no_bare_except() -> None:
    """A decoder that catches everything hides a fault of ours behind one of a peer's."""
    found = [
        f"{module}.{function.name}"
        for module, path in modules("transport.core", "consensus.core")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert not found


def test_every_source_is_utf8_without_tabs_or_trailing_blanks() -> None:
    for path in sources():
        if path.suffix == ".py":
            with path.open("rb") as file:
                assert tokenize.detect_encoding(file.readline)[0] == "utf-8"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [number for number, line in enumerate(lines, 1) if line != line.rstrip()], path
