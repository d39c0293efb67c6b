"""Uses of the system's clocks and randomness that go past `transport.surroundings`."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.house.imports import ROOT

PACKAGES = ("transport", "consensus")
"""What runs inside a node. The native package's own measurements, and the command, are no node."""
DOOR = ROOT / "transport" / "surroundings.py"

WAYS = {
    "os": frozenset({"urandom", "getrandom", "times"}),
    "time": frozenset(
        {
            "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns",
            "clock_gettime", "clock_gettime_ns", "sleep", "localtime", "gmtime",
        }
    ),
    "uuid": frozenset({"uuid1", "uuid4"}),
}  # fmt: skip
"""By module: what asks the system."""
NEVER = frozenset({"secrets", "random", "datetime"})
"""Modules that are there for nothing else."""


def past(source: str) -> Iterator[tuple[int, str]]:
    """Where a source asks the system itself: line, and by what."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in WAYS.get(node.value.id, ()):
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            names = [each.name for each in node.names]
            if module in NEVER:
                yield node.lineno, module
            yield from (
                (node.lineno, f"{module}.{name}") for name in names if name in WAYS.get(module, ())
            )
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names if each.name in NEVER)


def sources() -> Iterator[Path]:
    """What is held against this."""
    for package in PACKAGES:
        yield from (path for path in sorted((ROOT / package).rglob("*.py")) if path != DOOR)
