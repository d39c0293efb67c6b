"""The limit of a blob store: what makes room and what does not; both anyio backends."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from consensus.blobs import disk
from consensus.blobs import fetch as blobfetch
from consensus.blobs.disk import PartialBlob
from consensus.blobs.import_file import Import
from consensus.blobs.store import (
    BlobDiskFull,
    BlobError,
    BlobLimit,
    BlobRef,
    BlobStore,
    BlobUnavailable,
    ByteChannel,
    Progress,
    Source,
)
from consensus.core.blob.tree import CHUNK_SIZE
from tests.support.network.streams import MemoryChannel
from tests.support.nodes.blobnet import DATA, QUICK, lying, network, stores, write
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.anyio
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobfetch, "REOPEN_DELAYS_S", (0.0, 0.01))


def made_up(size: int) -> BlobRef:
    return BlobRef(os.urandom(32), size)


async def limited(path: Path, limit_bytes: int) -> BlobStore:
    return await BlobStore.open(path, limit_bytes)


async def test_a_name_that_was_made_up_costs_no_room_and_leaves_nothing(tmp_path: Path) -> None:
    async with stores(tmp_path, "carol") as (carol,), network() as net:
        bob = await limited(tmp_path / "bob", 4 * MIB)
        async with bob:
            mine = [await bob.share(write(tmp_path / "file", bytes((n,)) * MIB)) for n in range(3)]
            for _ in range(20):
                with pytest.raises(BlobUnavailable):
                    await bob.fetch(made_up(4 * MIB), [net.source(carol)], config=QUICK)
            assert bob.refs() == sorted(mine)
            assert bob.used_bytes == 3 * MIB
            assert len(os.listdir(tmp_path / "bob")) == 1 + 2 * len(mine)


async def test_what_a_killed_process_fetched_nothing_of_goes(tmp_path: Path) -> None:
    async with stores(tmp_path, "bob"):
        pass
    ref = made_up(MIB)
    PartialBlob(disk.Files(tmp_path / "bob", ref)).close()
    assert len(os.listdir(tmp_path / "bob")) == 4
    async with stores(tmp_path, "bob") as (bob,):
        assert os.listdir(tmp_path / "bob") == ["lock"]
        assert bob.used_bytes == 0


async def test_a_blob_makes_room_once_its_size_is_verified(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice") as (alice,), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        async with await limited(tmp_path / "bob", len(DATA) + 10) as bob:
            old = await bob.share(write(tmp_path / "old", b"x" * 100))
            with pytest.raises(BlobUnavailable):
                await bob.fetch(ref, [net.custom(lying(alice, after=2), b"m")])
            assert bob.refs() == []  # It was what it said, and two chunks of it are kept.
            assert bob.used_bytes == len(DATA)
            assert (await bob.fetch(ref, [net.source(alice)])).resumed_chunks == 2
            assert bob.used_bytes == len(DATA)
            await bob.pin(ref)
            with pytest.raises(BlobLimit):
                await bob.share(tmp_path / "old")
            assert not bob.holds(old)


async def test_files_taken_in_at_once_keep_to_the_limit_together(tmp_path: Path) -> None:
    async with await limited(tmp_path / "bob", 3 * MIB // 2) as bob:
        refused: list[BlobLimit] = []
        most = 0

        async def share(name: str) -> None:
            try:
                await bob.share(write(tmp_path / name, os.urandom(MIB)))
            except BlobLimit as error:
                refused.append(error)

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, bob.used_bytes, _on_disk(tmp_path / "bob"))
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            async with anyio.create_task_group() as sharing:
                for name in "ab":
                    sharing.start_soon(share, name)
            tasks.cancel_scope.cancel()
        assert most <= 3 * MIB // 2
        assert len(refused) <= 1  # Or the second removed the first, which was done.
        assert bob.used_bytes == MIB


def _on_disk(directory: Path) -> int:
    found = 0
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            found += 0 if path.suffix == ".tree" else path.stat().st_size
    return found


async def test_a_file_that_grows_while_it_is_taken_in_keeps_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "file", bytes(range(256)) * 1024)
    step = Import.step

    def grows(self: Import, until: int) -> bool:
        with path.open("ab") as file:
            file.write(bytes(range(256)) * 2048)
        return step(self, until)

    monkeypatch.setattr(Import, "step", grows)
    async with await limited(tmp_path / "bob", MIB) as bob:
        with pytest.raises(BlobLimit):
            await bob.share(path)
        assert os.listdir(tmp_path / "bob") == ["lock"]
        assert bob.used_bytes == 0
        monkeypatch.undo()
        path.write_bytes(b"grown")
        taken = Import(tmp_path / "bob", path, copy=True)
        path.write_bytes(b"grown a bit")
        taken.close()
        assert bob.holds(await bob.share(path))


async def test_what_comes_into_use_while_room_is_made_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await limited(tmp_path / "bob", 2 * MIB) as bob:
        refs = [await bob.share(write(tmp_path / n, os.urandom(MIB))) for n in "ab"]
        shelf, oldest = bob._shelf, bob._shelf._oldest
        chosen: list[BlobRef] = []
        scopes: list[Any] = []

        def choose(among: set[BlobRef]) -> BlobRef:
            chosen.append(oldest(among))
            if not scopes:
                scopes.append(shelf.held(chosen))
                scopes[0].__enter__()
            return chosen[-1]

        monkeypatch.setattr(shelf, "_oldest", choose)
        await bob.share(write(tmp_path / "c", os.urandom(MIB)))
        assert bob.holds(chosen[0])
        assert sorted(chosen) == sorted(refs)


async def test_what_is_held_for_a_vote_makes_no_room(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice") as (alice,), network() as net:
        first, second = [await alice.share(write(tmp_path / n, os.urandom(MIB))) for n in "ab"]
        async with await limited(tmp_path / "bob", 3 * MIB // 2) as bob:
            with pytest.raises(BlobLimit, match="the 2 blobs together"):
                bob.check_fits((first, second))
            bob.check_fits((first, first))
            with bob.held((first, second)):
                await bob.fetch(first, [net.source(alice)])
                with pytest.raises(BlobLimit, match="in use"):
                    await bob.fetch(second, [net.source(alice)])
                with pytest.raises(BlobError, match="in use"):
                    await bob.remove(first)
                assert bob.holds(first)
            await bob.fetch(second, [net.source(alice)])
            assert not bob.holds(first)


def fails(number: int) -> Any:
    def refuse(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    return refuse


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files there")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("what", ["pread", "read_tree"])
async def test_a_disk_that_fails_as_a_fetch_goes_on_is_a_blob_error_and_leaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, number: int
) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        with pytest.raises(BlobUnavailable):
            await bob.fetch(ref, [net.custom(lying(alice, after=2), b"m")])
        await until(lambda: not alice._shelf.in_use)
        before = handles()
        with monkeypatch.context() as patched:
            if what == "pread":
                patched.setattr(os, "pread", fails(number))
            else:
                patched.setattr(disk, "read_tree", fails(number))
            expected = BlobDiskFull if number == errno.ENOSPC else BlobError
            with pytest.raises(expected):
                await bob.fetch(ref, [net.source(alice)])
        await until(lambda: not alice._shelf.in_use)
        assert handles() == before
        assert (await bob.fetch(ref, [net.source(alice)])).resumed_chunks == 2


async def test_unpinning_tells_a_disk_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stores(tmp_path, "alice") as (alice,):
        ref = await alice.share(write(tmp_path / "file", DATA))
        await alice.pin(ref)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", fails(errno.EIO))
            with pytest.raises(BlobError, match="refuses"):
                await alice.unpin(ref)
        await alice.unpin(ref)


def pausing(
    store: BlobStore, chunks: int, until: anyio.Event, *, lies: bool = False
) -> Callable[[ByteChannel], Coroutine[Any, Any, object]]:
    """Serves like `store`, but stops after so many chunks until something has happened."""

    class Pausing:
        def __init__(self, channel: ByteChannel) -> None:
            self._given = 0
            self.channel = channel
            self.receive = channel.receive
            self.aclose = channel.aclose

        async def send(self, data: bytes) -> None:
            if len(data) > CHUNK_SIZE // 4:
                self._given += 1
                if self._given > chunks:
                    await until.wait()
                    data = data[:-1] + bytes((data[-1] ^ lies,))
            await self.channel.send(data)

    return lambda channel: store.serve(Pausing(channel))


async def test_a_chunk_that_rots_while_the_rest_comes_is_fetched_again(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob", "carol") as (alice, bob, carol), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        rotten = anyio.Event()
        begun = False
        noticed: list[BlobError] = []

        async def serve(channel: ByteChannel) -> None:
            try:
                await bob.serve(channel)
            except BlobError as error:
                noticed.append(error)
                rotten.set()

        async def ask_bob() -> None:
            await carol.fetch(ref, [net.custom(serve)])

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:

                def progress(told: Progress) -> None:
                    nonlocal begun
                    if told.chunks < 3 or begun:
                        return
                    begun = True
                    with (tmp_path / "bob" / f"{ref.name}.part").open("r+b") as file:
                        file.write(b"rot")
                    tasks.start_soon(ask_bob)

                report = await bob.fetch(
                    ref,
                    [net.custom(pausing(alice, 3, rotten))],
                    to=tmp_path / "out",
                    on_progress=progress,
                )
        assert report.received_size == len(DATA) + CHUNK_SIZE
        assert "chunk 0" in str(noticed[0])
        assert carol.holds(ref)
        assert (tmp_path / "out").read_bytes() == DATA


@pytest.mark.parametrize("lies", [True, False])
@pytest.mark.parametrize("copy", [True, False])
async def test_a_file_is_shared_while_it_is_being_fetched(
    tmp_path: Path, copy: bool, lies: bool
) -> None:
    """What gives it stops after two chunks, until the file is shared; then it lies."""
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        path = write(tmp_path / "file", DATA)
        ref = await alice.share(path)
        fetched, shared = anyio.Event(), anyio.Event()
        source = net.custom(pausing(alice, 2, shared, lies=lies), b"m")

        def progress(told: Progress) -> None:
            if told.chunks == 2:
                fetched.set()

        async with anyio.create_task_group() as tasks:

            async def fetch() -> None:
                await bob.fetch(ref, [source], tmp_path / "out", progress)

            tasks.start_soon(fetch)
            await fetched.wait()
            assert await bob.share(path, copy=copy) == ref
            shared.set()
        assert (tmp_path / "out").read_bytes() == DATA
        assert bob.holds(ref)
        left = {each.suffix for each in (tmp_path / "bob").iterdir()} - {""}
        assert left == {".tree", ".link" if lies and not copy else ".blob"}
        assert bob.used_bytes == (0 if lies and not copy else len(DATA))


async def test_who_waited_and_left_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        elsewhere = await BlobStore.open(tmp_path / "elsewhere")
        ref = await elsewhere.share(write(tmp_path / "file", DATA))
        elsewhere.close()
        open_whole = alice._uses.open_whole

        def left(wanted: BlobRef) -> Any:
            alice._uses.waiting.clear()
            return open_whole(wanted)

        monkeypatch.setattr(alice._uses, "open_whole", left)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bob.fetch, ref, [net.source(alice)])
            await until(lambda: alice._uses.waiting)
            await alice.share(tmp_path / "file")
            assert alice._shelf.in_use == {}
            tasks.cancel_scope.cancel()


async def test_a_source_that_cannot_be_reached_leaves_nothing(tmp_path: Path) -> None:
    async def unreachable() -> MemoryChannel:
        raise OSError("no route")

    async with stores(tmp_path, "bob") as (bob,):
        with pytest.raises(BlobUnavailable):
            await bob.fetch(made_up(MIB), [Source(b"x", unreachable)])
        assert os.listdir(tmp_path / "bob") == ["lock"]
