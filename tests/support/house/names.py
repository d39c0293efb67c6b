"""Module names that stand more than once."""

from collections import defaultdict
from collections.abc import Iterable

TWICE = {
    "config": "each layer has settings of its own: the transport, a group, a node",
    "errors": "each layer raises errors of its own",
    "fetch": "the pure side of a blob's transfer, and the one with a disk and channels",
    "history": "what readers of a group are served from, and the log that checkers read",
    "introductions": "their part in the table of peers, and what a node does with them",
    "liveness": "of a presence, and of a whole simulated group",
    "member": "a process of the demonstration, and a node of the simulated world",
    "noise": "the border of the native code, and what calls it",
    "reads": "the engine's part, what holds it to its promise, and the cases explored for it",
    "serve": "the pure side of a blob's transfer, and the one with a disk and channels",
    "timers": "the clocks of a peer, and those of a node's groups",
    "types": "each layer has values of its own",
    "wire": "the layouts of the handshake, and those of a blob's transfer",
}
"""The reason for each."""


def repeated(modules: Iterable[str]) -> dict[str, list[str]]:
    """Names that several modules have, besides `__init__` and `__main__`."""
    found = defaultdict(list)
    for module in modules:
        found[module.rpartition(".")[2]].append(module)
    return {
        name: sorted(places)
        for name, places in found.items()
        if len(places) > 1 and not name.startswith("__")
    }
