"""Nodes under every way of starting an event loop, with and without sniffio, and after a fork.

With other versions of anyio: `tests/install/test_loops.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.loops.program import STARTERS


def python(module: str, *arguments: str | Path) -> str:
    """What a program of ours says, which has to end well."""
    command = [sys.executable, "-m", f"tests.support.loops.{module}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("starter", STARTERS)
def test_a_node_runs_however_the_loop_was_started(starter: str) -> None:
    assert "all went well" in python("program", starter)


@pytest.mark.parametrize("starter", [name for name in STARTERS if "trio" not in name])
def test_and_where_there_is_no_sniffio(starter: str) -> None:
    assert "sniffio no: all went well" in python("program", starter, "no-sniffio")


def test_a_forked_child_holds_neither_port_nor_lock(anyio_backend: str, tmp_path: Path) -> None:
    assert python("forking", tmp_path, anyio_backend) == "open again\n"


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("the block exits", 3),
        ("a plain handler exits", 3),
        ("a handler exits", 3),
        ("interrupted", 4),
    ],
)
def test_an_exit_and_an_interrupt_come_through_as_themselves(
    how: str, status: int, anyio_backend: str
) -> None:
    command = [sys.executable, "-m", "tests.support.loops.leaving", anyio_backend, how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")
