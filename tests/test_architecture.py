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

# What a module may import although a rule forbids the package: pure functions behind a border.
EXCEPTIONS = {
    "transport.core.noise_native": {"utp_native.noise"},
    "transport.core.seal_native": {"utp_native.sealing"},
}


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
    allowed = EXCEPTIONS.get(module, set())
    found = {
        name
        for name in imports(module, source, is_package)
        if not any(within(name, exception) for exception in allowed)
    }
    return {
        name
        for where, forbidden in RULES
        if within(module, where)
        for name in found
        if any(within(name, prefix) for prefix in forbidden)
    }


def reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    """All that a module imports, directly and through modules of ours.

    The top packages are left out: they re-export what a user opens, which is edge.
    """
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        fresh = graph.get(ahead.pop(), set()) - seen - set(PACKAGES)
        seen |= fresh
        ahead += fresh
    return seen


def import_graph() -> dict[str, set[str]]:
    return {
        module: imports(module, path.read_text(), path.name == "__init__.py")
        for module, path in modules(*PACKAGES)
        if not within(module, "utp_native")  # its border is the rule, not what is behind it
    }


def impure(module: str, graph: dict[str, set[str]]) -> set[str]:
    """What a module that ought to be pure brings in, through whatever it imports."""
    found = reached(module, graph)
    return {name for name in found if any(within(name, world) for world in WORLD)}


def test_imports_run_along_the_arrows() -> None:
    found = {
        module: bad
        for module, path in modules(*PACKAGES)
        if (bad := breaches(module, path.read_text(), path.name == "__init__.py"))
    }
    assert not found


def test_pure_parts_are_pure_through_and_through() -> None:
    """The machine, and all of consensus and transport that the simulator imports."""
    graph = import_graph()
    driven = {
        name
        for module, names in graph.items()
        if within(module, "scenarios")
        for name in names
        if name.split(".")[0] in ("consensus", "transport") and name in graph
    }
    found = {name: bad for name in {*driven, "consensus.machine"} if (bad := impure(name, graph))}
    assert not found


def test_impurity_is_seen_through_a_module_in_between() -> None:
    graph = {
        "consensus.machine": {"consensus.helper", "consensus.helper.thing"},
        "consensus.helper": {"transport.core.wire"},
        "transport.core.wire": {"os.path"},
        "consensus.values": {"struct"},
    }
    assert impure("consensus.machine", graph) == {"os.path"}
    assert not impure("consensus.values", graph)


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


def test_every_source_is_utf8_without_tabs_or_trailing_blanks() -> None:
    for path in sources():
        if path.suffix == ".py":
            with path.open("rb") as file:
                assert tokenize.detect_encoding(file.readline)[0] == "utf-8"
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [number for number, line in enumerate(lines, 1) if line != line.rstrip()], path
