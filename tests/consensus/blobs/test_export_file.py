"""A blob as a file of the user's: whole or not at all, copied or linked; both anyio backends."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from consensus.blobs import disk
from consensus.blobs.errors import BlobError
from tests.support.nodes.blobnet import DATA, stores, write

pytestmark = pytest.mark.anyio


async def test_a_copy_that_is_given_up_stops_between_two_steps_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.blobs.export_file.STEP_CHUNKS", 1)
    async with stores(tmp_path, "alice") as (alice,):
        ref = await alice.share(write(tmp_path / "file", DATA))
        read = disk.WholeBlob.read_chunk
        indexes: list[int] = []
        with anyio.CancelScope() as scope:

            def stop(self: disk.WholeBlob, index: int) -> bytes:
                indexes.append(index)
                if index == 2:
                    anyio.from_thread.run_sync(scope.cancel)
                return read(self, index)

            monkeypatch.setattr(disk.WholeBlob, "read_chunk", stop)
            await alice.export(ref, tmp_path / "out")
        assert scope.cancelled_caught
        assert indexes == [0, 1, 2]
        assert sorted(os.listdir(tmp_path)) == ["alice", "file"]


async def test_a_link_takes_no_second_copy_and_has_the_modes_of_the_user(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice") as (alice,):
        ref = await alice.share(write(tmp_path / "file", DATA))
        out, blob = tmp_path / "out", tmp_path / "alice" / f"{ref.name}.blob"
        for _ in range(2):  # Also over itself.
            await alice.export(ref, out, link=True)
            assert out.samefile(blob)
        assert out.stat().st_mode == (tmp_path / "file").stat().st_mode
        in_place = await alice.share(write(tmp_path / "other", DATA[::-1]), copy=False)
        await alice.export(in_place, tmp_path / "copy", link=True)
        assert (tmp_path / "copy").read_bytes() == DATA[::-1]
        assert not (tmp_path / "copy").samefile(tmp_path / "other")
        assert sorted(os.listdir(tmp_path)) == ["alice", "copy", "file", "other", "out"]


@pytest.mark.parametrize("kind", ["pipe", "link", "dangling link", "folder"])
async def test_what_is_no_plain_file_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "folder":
        out.mkdir()
    else:
        if kind == "link":
            write(tmp_path / "target", b"old")
        out.symlink_to(tmp_path / "target")
    before, names = out.lstat(), sorted(os.listdir(tmp_path))
    async with stores(tmp_path, "alice") as (alice,):
        ref = await alice.share(write(tmp_path / "file", DATA))
        for link in (False, True):
            with pytest.raises(BlobError, match="no plain file"):
                await alice.export(ref, out, link=link)
    assert (out.lstat().st_mode, out.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "alice", "file"])
    if kind == "link":
        assert (tmp_path / "target").read_bytes() == b"old"
