"""Which room stands above which, and how full each is."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.house.imports import ROOT, Graph, within

FLOORS = (
    "utp_native",
    "transport.core",
    "transport.core.crypto",
    "transport.core.handshake",
    "transport.core.config",
    "transport.core.responder",
    "transport.core.initiator",
    "transport.core.lane",
    "transport.core.presence",
    "transport.core.peer",
    "transport.core.establish",
    "transport.core.dispatch",
    "transport.core.peers",
    "transport",
    "consensus.core",
    "consensus.core.tables",
    "consensus.core.evidence",
    "consensus.core.blob",
    "consensus.core.engine",
    "consensus.core.durable",
    "consensus.codec",
    "consensus.arguments",
    "consensus.decision",
    "consensus.status",
    "consensus.life",
    "consensus.machine",
    "consensus.config",
    "consensus.clocks",
    "consensus.node_context",
    "consensus.storage",
    "consensus.startup",
    "consensus.network",
    "consensus.blobs",
    "consensus.groups",
    "consensus.node",
    "consensus",
    "scenarios.native",
    "scenarios.world",
    "scenarios.check",
    "scenarios.stage",
    "scenarios.cases",
    "scenarios.search",
    "scenarios",
    "quorate.simulation",
    "quorate.cli.progress",
    "quorate.cli.demo",
    "quorate.cli",
    "quorate",
)
"""Rooms from bottom to top. A file that stands here by itself is a floor of its own; what lies in a
folder beside such files and rooms is on the floor of the folder's name."""

FILES_MAX = 12
"""Files in a room, besides its `__init__`."""


def floor(module: str, floors: Sequence[str] = FLOORS) -> int:
    """How high a module stands. Raises LookupError for one that no room is named for."""
    found = [(len(name), at) for at, name in enumerate(floors) if within(module, name)]
    if not found:
        raise LookupError(module)
    return max(found)[1]


def running_up(graph: Graph, floors: Sequence[str] = FLOORS) -> Iterator[str]:
    """The imports from a room above the importing one."""
    for module, names in sorted(graph.items()):
        at = floor(module, floors)
        yield from (f"{module} -> {name}" for name in sorted(names) if floor(name, floors) > at)


def crowded(
    folders: Sequence[Path], suffixes: Sequence[str], most: int = FILES_MAX
) -> dict[str, int]:
    """The folders, and those below them, that hold more files than a room does."""
    rooms = [room for top in folders for room in (top, *top.rglob("*")) if room.is_dir()]
    counts = {
        str(room.relative_to(ROOT) if room.is_relative_to(ROOT) else room): sum(
            path.suffix in suffixes and path.stem != "__init__" for path in room.iterdir()
        )
        for room in rooms
    }
    return {room: count for room, count in counts.items() if count > most}
