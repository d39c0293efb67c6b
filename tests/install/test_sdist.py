"""The source distribution is the whole repository, and libutp's sources, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.install.building import build_sdist, files_below, unpack
from tests.install.conftest import NESTED
from utp_native import source

pytestmark = pytest.mark.timeout(900)

ADDED = ("PKG-INFO", "setup.cfg", "quorate.egg-info/")
"""What setuptools writes into one."""


def own(files: set[str]) -> set[str]:
    return {name for name in files if not name.startswith(ADDED)}


def test_it_carries_every_file_of_the_project(
    project_files: set[str], sdist: Path, tmp_path: Path
) -> None:
    files = files_below(unpack(sdist, tmp_path))
    assert own(files) == project_files
    assert NESTED in files


def test_libutps_sources_in_it_are_the_pinned_ones(sdist: Path, tmp_path: Path) -> None:
    folder = unpack(sdist, tmp_path) / "third_party" / "libutp"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert source.digest(files) == source.digest(source.read_sources())
    assert b"BitTorrent" in files["LICENSE"]


def test_one_made_from_it_holds_the_same_files(
    sdist: Path, path_without_npm: str, tmp_path: Path
) -> None:
    first = unpack(sdist, tmp_path / "first")
    names = files_below(first)
    # As after a build: none of this comes along.
    for left in ("build/lib/consensus/old.py", ".cache/x", "consensus/__pycache__/x.pyc", "a.so"):
        (first / left).parent.mkdir(parents=True, exist_ok=True)
        (first / left).write_bytes(b"")
    again = build_sdist(first, tmp_path / "dist", path=path_without_npm)
    assert files_below(unpack(again, tmp_path / "second")) == names
