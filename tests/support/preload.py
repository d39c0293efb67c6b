"""Libraries that are preloaded into a process, so that the system is to it as a test has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build(source: Path, directory: Path) -> Path:
    """The library, compiled into a directory."""
    library = directory / source.with_suffix(".so").name
    command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library
