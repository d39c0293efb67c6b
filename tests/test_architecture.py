"""The arrows and house rules of docs/architecture.md, as a test."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("consensus", "transport", "utp_native", "scenarios")
LINES_MAX = 450

# Modules that bring the world in: input, output, time, randomness, threads.
WORLD = {
    *("anyio", "asyncio", "trio", "socket", "ssl", "select", "selectors", "http", "urllib"),
    *("time", "datetime", "sched", "random", "secrets", "uuid"),
    *("os", "sys", "io", "pathlib", "shutil", "tempfile", "fcntl", "mmap", "sqlite3", "logging"),
    *("threading", "multiprocessing", "concurrent", "subprocess", "signal", "queue", "contextvars"),
}

# (where, what may not be imported there): prefixes of module names.
RULES = [
    ("transport.core", {"consensus", "utp_native", "scenarios"} | WORLD),
    ("consensus.core", {"transport", "utp_native", "scenarios"} | WORLD),
    ("consensus.machine", {"utp_native", "scenarios"} | WORLD),
    ("transport", {"consensus", "scenarios"}),
    ("utp_native", {"consensus", "transport", "scenarios"}),
    ("consensus", {"utp_native"}),
]

# What is pure, so that the simulator may drive it; the rest of these packages is edge.
PURE = (
    "transport.core",
    "consensus.core",
    "consensus.machine",
    "consensus.values",
    "utp_native",
    "scenarios",
)


def modules(*packages: str) -> Iterator[tuple[str, Path]]:
    """Every module of the packages: its dotted name and its file."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def imports(module: str, source: str, is_package: bool = False) -> set[str]:
    """What `module` imports, dotted; `from a import b` counts as `a.b` too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:kept], *([base] if base else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ("__import__", "import_module") and node.args:
                argument = node.args[0]
                found.add(str(argument.value) if isinstance(argument, ast.Constant) else "?")
    return found


def breaches(module: str, source: str, is_package: bool = False) -> set[str]:
    """The imports of `module` that a rule forbids."""
    found = imports(module, source, is_package)
    bad = {
        name
        for where, forbidden in RULES
        if within(module, where)
        for name in found
        if any(within(name, prefix) for prefix in forbidden)
    }
    if within(module, "scenarios"):
        ours = {name for name in found if name.split(".")[0] in PACKAGES}
        bad |= {
            name
            for name in ours
            if name not in PACKAGES and not any(within(name, pure) for pure in PURE)
        }
    return bad


def test_imports_run_along_the_arrows() -> None:
    found = {
        module: bad
        for module, path in modules(*PACKAGES)
        if (bad := breaches(module, path.read_text(), path.name == "__init__.py"))
    }
    assert not found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("transport.core.wire", "import os"),
        ("transport.core.wire", "def f():\n    from time import monotonic"),
        ("transport.core.wire", "from consensus.core import view"),
        ("transport.core.wire", "import asyncio.events"),
        ("transport.core.wire", "from ...consensus import core"),
        ("transport.core.wire", "__import__('random')"),
        ("transport.core.wire", "import importlib\nimportlib.import_module('socket')"),
        ("transport.endpoint", "import consensus"),
        ("consensus.core.view", "from transport.core import wire"),
        ("consensus.core.view", "import threading"),
        ("consensus.machine", "import anyio"),
        ("consensus.node", "import utp_native"),
        ("utp_native.context", "from transport.core import types"),
        ("scenarios.world", "from consensus.node import Node"),
        ("scenarios.world", "from transport import endpoint"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert breaches(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("transport.core.wire", "import struct, hmac\nfrom nacl import bindings"),
        ("transport.core.wire", "from .errors import WireError\nfrom . import types"),
        ("consensus.machine", "from transport.core.peers import Peers"),
        ("consensus.node", "import anyio, os\nfrom transport.endpoint import Endpoint"),
        ("transport.endpoint", "from utp_native import Pump"),
        ("scenarios.world", "from consensus.machine import Machine\nimport utp_native"),
    ],
)
def test_what_is_allowed_is_no_breach(module: str, source: str) -> None:
    assert not breaches(module, source)


def sources() -> Iterator[Path]:
    for package in (*PACKAGES, "tests", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".cpp", ".h", ".hpp") and "build" not in path.parts:
                yield path


def test_files_are_small() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > LINES_MAX
    }
    assert not long


def written() -> Iterator[Path]:
    """What people read: sources, documents, what builds."""
    yield from sources()
    yield from (path for path in ROOT.glob("*") if path.is_file() and not path.is_symlink())
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.suffix in (".md", ".py"):
            yield path
    yield from (path for path in (ROOT / ".ci").glob("*") if path.is_file())


# Put together here so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:" + "work|root|home|Users" + r")/\w")
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "not " + "implemented")))


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


def public_definitions(tree: ast.Module) -> Iterator[ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node


def test_public_classes_and_modules_say_what_they_are() -> None:
    silent = []
    for module, path in modules(*PACKAGES):
        tree = ast.parse(path.read_text())
        if tree.body and ast.get_docstring(tree) is None:
            silent.append(module)
        silent += [
            f"{module}.{node.name}"
            for node in public_definitions(tree)
            if ast.get_docstring(node) is None
        ]
    assert not silent


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


def test_pure_code_checks_with_errors_and_not_with_assert() -> None:
    """`python -O` drops assertions: nothing that matters may rest on one."""
    found = [
        f"{module}:{node.lineno}"
        for module, path in modules("transport", "consensus", "utp_native")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert) and not narrows_a_type(node)
        and not within(module, "transport.core.constants")
    ]
    assert not found


def narrows_a_type(node: ast.Assert) -> bool:
    """`assert x is not None` and `assert isinstance(...)` tell the type checker only."""
    text = ast.unparse(node.test)
    return text.endswith(" is not None") or text.startswith("isinstance(")


def test_every_source_is_utf8_without_tabs_or_trailing_blanks() -> None:
    for path in sources():
        if path.suffix == ".py":
            with path.open("rb") as file:
                assert tokenize.detect_encoding(file.readline)[0] == "utf-8"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [number for number, line in enumerate(lines, 1) if line != line.rstrip()], path
