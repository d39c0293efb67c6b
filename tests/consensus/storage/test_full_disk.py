"""A full disk, or a kill, at any step loses nothing and locks nobody out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.disk.room import SOURCE, run
from tests.support.preload import build


@pytest.mark.parametrize("how", ["full", "killed"])
def test_files_are_taken_up_again_whatever_was_left(tmp_path: Path, how: str) -> None:
    done = run(build(SOURCE, tmp_path), "tests.support.disk.filled", how, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40  # Each step of making both files was hit.


def test_a_durable_member_ends_with_a_clear_error_and_goes_on(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    module = "tests.support.disk.full_node"
    done = run(build(SOURCE, tmp_path), module, str(tmp_path), anyio_backend_name)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
