"""A disk that hangs for as long as a file is there, for a process with the library of `hang.c`."""

from __future__ import annotations

from pathlib import Path

from tests.support.preload import build

SOURCE = Path(__file__).with_suffix(".c")


def environment(directory: Path) -> dict[str, str]:
    """What a process is started with whose disk hangs once `directory / "hangs"` is there."""
    library = build(SOURCE, directory)
    return {"LD_PRELOAD": str(library), "HANGS": str(directory / "hangs")}
