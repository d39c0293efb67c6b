"""Which module of the project imports which, imports for typing and inside functions included."""

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("quorate", "consensus", "transport", "utp_native", "scenarios")

Graph = Mapping[str, Collection[str]]
"""By module: what it imports. Everything is a dotted name."""


def modules(*packages: str, root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """Every module of the packages: its dotted name and its file."""
    for package in packages:
        for path in sorted((root / Path(*package.split("."))).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def within(module: str, prefix: str) -> bool:
    """Whether a module is the one named, or lies below it."""
    return module == prefix or module.startswith(prefix + ".")


def imports(module: str, source: str, is_package: bool = False) -> set[str]:
    """What `module` imports, dotted; `from a import b` counts as `a.b` too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, module, is_package)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ("__import__", "import_module") and node.args:
                argument = node.args[0]
                found.add(str(argument.value) if isinstance(argument, ast.Constant) else "?")
    return found


def _base(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """What an `import from` names before its `import`, from the top."""
    base = node.module or ""
    if not node.level:
        return base
    parts = module.split(".")
    kept = len(parts) - node.level + (1 if is_package else 0)
    return ".".join([*parts[:kept], *([base] if base else [])])


def everything() -> dict[str, set[str]]:
    """All that each module of the project imports, also from elsewhere."""
    return {
        module: imports(module, path.read_text(), path.name == "__init__.py")
        for module, path in modules(*PACKAGES)
    }


def between(graph: Graph) -> dict[str, set[str]]:
    """What is left of a graph when only its own modules count.

    `from room import module` is an import of the module: the room's `__init__`, which is named on
    the way, only counts for what else is taken from it.
    """
    found = {}
    for module, names in graph.items():
        ours = {name for name in names if name in graph and name != module}
        passed = {name for name in ours for other in ours if other.startswith(name + ".")}
        found[module] = ours - passed
    return found


def circles(graph: Graph) -> list[set[str]]:
    """The groups of modules each of which is reached from all others of its group (Tarjan 1972)."""
    numbers: dict[str, int] = {}
    lows: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lows[module] = len(numbers)
        stack.append(module)
        for name in sorted(graph[module]):
            if name not in numbers:
                visit(name)
                lows[module] = min(lows[module], lows[name])
            elif name in stack:
                lows[module] = min(lows[module], numbers[name])
        if lows[module] == numbers[module]:
            at = stack.index(module)
            circle = set(stack[at:])
            del stack[at:]
            if len(circle) > 1:
                found.append(circle)

    for module in sorted(graph):
        if module not in numbers:
            visit(module)
    return found
