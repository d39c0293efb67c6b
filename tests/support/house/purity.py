"""Which modules may bring in the world, and which packages may know of each other."""

from collections.abc import Mapping

from tests.support.house.imports import PACKAGES, Graph, imports, within

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
    ("transport", {"consensus", "scenarios", "quorate"}),
    ("utp_native", {"consensus", "transport", "scenarios", "quorate"}),
    ("consensus", {"utp_native", "scenarios", "quorate"}),
    ("scenarios", {"quorate"}),
]

# What a module may import although a rule forbids the package: pure functions behind a border.
EXCEPTIONS = {
    "transport.core.crypto.noise_native": {"utp_native.noise"},
    "transport.core.crypto.aead_native": {"utp_native.sealing"},
}


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


def reached(start: str, graph: Graph) -> set[str]:
    """All that a module imports, directly and through modules of ours.

    The top packages are left out: they re-export what a user opens, which is edge.
    """
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        fresh = set(graph.get(ahead.pop(), ())) - seen - set(PACKAGES)
        seen |= fresh
        ahead += fresh
    return seen


def impure(module: str, graph: Graph) -> set[str]:
    """What a module that ought to be pure brings in, through whatever it imports."""
    return {name for name in reached(module, graph) if any(within(name, w) for w in WORLD)}


def simulated(graph: Mapping[str, set[str]]) -> set[str]:
    """The modules of consensus and transport that the simulator drives."""
    return {
        name
        for module, names in graph.items()
        if within(module, "scenarios")
        for name in names
        if name.split(".")[0] in ("consensus", "transport") and name in graph
    }
