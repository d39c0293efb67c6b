"""Blobs on the disk: killed, full, rotten, limited; both anyio backends."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from pathlib import Path
from random import Random

import anyio
import pytest

from consensus.blobs import fetch
from consensus.blobs.store import (
    BlobDamaged,
    BlobError,
    BlobLimit,
    BlobRef,
    BlobStore,
    BlobStoreBusy,
    BlobUnavailable,
    ByteChannel,
)
from consensus.core.blob.tree import CHUNK_SIZE
from tests.support.nodes.blobnet import DATA, QUICK, lying, network, stores, write

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "REOPEN_DELAYS_S", (0.0, 0.01))


KILLED = """
    import os, signal, sys
    import anyio
    from consensus.blobs.store import BlobStore, Source
    from consensus.core.blob.tree import parse_ref_untrusted
    from tests.support.network.streams import pair

    async def main(backend, holder, here, ref):
        ref = parse_ref_untrusted(ref)
        alice = await BlobStore.open(holder)
        bob = await BlobStore.open(here)
        async with anyio.create_task_group() as tasks:
            async def channel():
                mine, theirs = pair()
                tasks.start_soon(alice.serve, theirs)
                return mine
            def progress(told):
                if told.chunks == 7:
                    os.kill(os.getpid(), signal.SIGKILL)
            await bob.fetch(ref, [Source(b"a", channel)], on_progress=progress)

    anyio.run(main, *sys.argv[1:], backend=sys.argv[1])
"""


async def test_a_killed_process_loses_nothing_it_had_verified(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    data = Random(8).randbytes(20 * CHUNK_SIZE)
    async with stores(tmp_path, "alice") as (alice,):
        ref = await alice.share(write(tmp_path / "file", data))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), anyio_backend_name]
    command += [str(tmp_path / "alice"), str(tmp_path / "bob"), str(ref)]
    child = await anyio.run_process(command, check=False, cwd=Path(__file__).parents[3])
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        assert not bob.holds(ref)
        report = await bob.fetch(ref, [net.source(alice)], to=tmp_path / "out")
        assert report.resumed_chunks >= 7
        assert report.received_size == len(data) - report.resumed_chunks * CHUNK_SIZE
        assert (tmp_path / "out").read_bytes() == data


async def test_a_claim_that_is_not_true_is_not_believed(tmp_path: Path) -> None:
    """As after a loss of power: bits on the disk whose chunks never got there, torn chunks."""
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        with pytest.raises(BlobUnavailable):
            await bob.fetch(ref, [net.custom(lying(alice, after=4), b"m")])
        have = tmp_path / "bob" / f"{ref.name}.have"
        part = tmp_path / "bob" / f"{ref.name}.part"
        assert have.read_bytes() == b"\x0f"
        have.write_bytes(b"\xff")
        with part.open("r+b") as file:
            file.seek(CHUNK_SIZE)
            file.write(b"torn")
        report = await bob.fetch(ref, [net.source(alice)], to=tmp_path / "out")
        assert report.resumed_chunks == 3
        assert (tmp_path / "out").read_bytes() == DATA


FULL_DISK = """
    import subprocess, sys
    from pathlib import Path
    from random import Random
    import anyio
    from consensus.blobs.store import BlobDiskFull, BlobStore, Source
    from tests.support.network.streams import pair

    SIZE = 24 << 18

    async def main(backend, outside, inside):
        (Path(outside) / "file").write_bytes(Random(1).randbytes(SIZE))
        (Path(outside) / "small").write_bytes(Random(2).randbytes(1 << 18))
        alice = await BlobStore.open(Path(outside) / "alice")
        ref = await alice.share(Path(outside) / "file")
        bob = await BlobStore.open(Path(inside) / "bob")
        small = await bob.share(Path(outside) / "small")
        async with anyio.create_task_group() as tasks:
            async def channel():
                mine, theirs = pair()
                tasks.start_soon(alice.serve, theirs)
                return mine
            sources = [Source(b"a", channel)]
            try:
                await bob.fetch(ref, sources)
            except BlobDiskFull as error:
                print("full:", error)
            try:
                await bob.share(Path(outside) / "file")
            except BlobDiskFull as error:
                print("full:", error)
            print("left over:", len(list(Path(inside).glob("bob/import-*"))))
            await bob.export(small, Path(outside) / "small-again")
            assert (Path(outside) / "small-again").read_bytes() == Random(2).randbytes(1 << 18)
            subprocess.run(["mount", "-o", "remount,size=32m", inside], check=True)
            report = await bob.fetch(ref, sources, to=Path(outside) / "out")
            assert (Path(outside) / "out").read_bytes() == Random(1).randbytes(SIZE)
            print("resumed:", report.resumed_chunks, report.received_size)
            tasks.cancel_scope.cancel()

    anyio.run(main, *sys.argv[1:], backend=sys.argv[1])
"""


def mounts(size: str, directory: Path, command: list[str]) -> list[str]:
    """`command` in a namespace of its own where `directory` is a disk of that size."""
    script = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", script, str(directory), *command]


async def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    """A real disk of 4 MiB, a blob of 6 MiB; then the disk grows and the fetch goes on."""
    inside = tmp_path / "disk"
    inside.mkdir()
    probe = await anyio.run_process(mounts("4m", inside, ["true"]), check=False)
    if probe.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    program = [sys.executable, "-c", textwrap.dedent(FULL_DISK), anyio_backend_name]
    command = mounts("4m", inside, [*program, str(tmp_path), str(inside)])
    child = await anyio.run_process(command, check=False, cwd=Path(__file__).parents[3])
    said = child.stdout.decode().splitlines()
    assert child.returncode == 0, child.stderr.decode()
    assert len(said) == 4
    assert said[0].startswith("full: no room on the disk")
    assert said[1].startswith("full: no room on the disk")
    assert said[2] == "left over: 0"
    _, resumed, received = said[3].split()
    assert 8 <= int(resumed) <= 15
    assert int(received) == (24 - int(resumed)) * CHUNK_SIZE


async def test_a_file_size_limit_is_told_as_a_full_disk(
    tmp_path: Path, anyio_backend_name: str
) -> None:
    script = """
        import resource, sys
        import anyio
        from consensus.blobs.store import BlobDiskFull, BlobStore

        async def main(backend, directory):
            store = await BlobStore.open(directory + "/store")
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            try:
                await store.share(directory + "/file")
            except BlobDiskFull as error:
                print(error)

        anyio.run(main, *sys.argv[1:], backend=sys.argv[1])
    """
    write(tmp_path / "file", Random(1).randbytes(3 << 20))
    command = [sys.executable, "-c", textwrap.dedent(script), anyio_backend_name, str(tmp_path)]
    child = await anyio.run_process(command, cwd=Path(__file__).parents[3])
    assert child.stdout.decode().startswith("no room on the disk")


BIG = """
    import sys
    import anyio
    from consensus.blobs.store import BlobStore, Source
    from tests.support.network.streams import pair

    async def main(backend, directory):
        alice = await BlobStore.open(directory + "/alice", limit_bytes=1 << 36)
        bob = await BlobStore.open(directory + "/bob", limit_bytes=1 << 36)
        ref = await alice.share(directory + "/file")
        async with anyio.create_task_group() as tasks:
            async def channel():
                mine, theirs = pair()
                tasks.start_soon(alice.serve, theirs)
                return mine
            await bob.fetch(ref, [Source(b"a", channel)] * 3, to=directory + "/out")
            tasks.cancel_scope.cancel()
        with open("/proc/self/status") as status:  # rusage's figure outlives fork and exec
            (line,) = (line for line in status if line.startswith("VmHWM:"))
        print(int(line.split()[1]) // 1024)

    anyio.run(main, *sys.argv[1:], backend=sys.argv[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the figure is Linux's")
async def test_memory_does_not_depend_on_the_size(tmp_path: Path, anyio_backend_name: str) -> None:
    """Both sides in one process, three channels. QUORATE_BIG_BLOB_GIB=10 for the whole distance."""
    size = int(os.environ.get("QUORATE_BIG_BLOB_GIB", "0")) << 30 or 96 << 20
    with (tmp_path / "file").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"not only zeros")
    command = [sys.executable, "-c", textwrap.dedent(BIG), anyio_backend_name, str(tmp_path)]
    child = await anyio.run_process(command, cwd=Path(__file__).parents[3])
    assert int(child.stdout) < 64
    for name in ("out", "file"):
        assert (tmp_path / name).stat().st_size == size
        assert (tmp_path / name).stat().st_blocks * 512 < 4 << 20  # holes stay holes


async def test_a_file_shared_in_place_is_served_until_it_changes(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob", "carol") as (alice, bob, carol), network() as net:
        path = write(tmp_path / "file", DATA)
        ref = await alice.share(path, copy=False)
        assert alice.used_bytes == 0
        assert not list((tmp_path / "alice").glob("*.blob"))
        await bob.fetch(ref, [net.source(alice)])
        write(path, DATA[::-1])

        failed: list[BlobError] = []

        async def serve(channel: ByteChannel) -> None:
            try:
                await alice.serve(channel)
            except BlobError as error:
                failed.append(error)

        while not failed:  # It may have been too quick to give up, before it was given anything.
            with pytest.raises(BlobUnavailable):
                await carol.fetch(ref, [net.custom(serve)], config=QUICK)
        assert isinstance(failed[0], BlobDamaged)
        assert "has changed since it was shared" in str(failed[0])
        assert not alice.holds(ref)


async def test_a_blob_that_rots_is_noticed_and_mended(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        await bob.fetch(ref, [net.source(alice)])
        with (tmp_path / "bob" / f"{ref.name}.blob").open("r+b") as file:
            file.seek(2 * CHUNK_SIZE)
            file.write(b"rot")
        with pytest.raises(BlobDamaged, match="chunk 2"):
            await bob.export(ref, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert not bob.holds(ref)
        report = await bob.fetch(ref, [net.source(alice)], to=tmp_path / "out")
        assert report.received_size == CHUNK_SIZE
        assert (tmp_path / "out").read_bytes() == DATA


async def test_the_limit_removes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    store = await BlobStore.open(tmp_path / "store", limit_bytes=3 * CHUNK_SIZE)
    with Closing(store):
        refs = []
        for number in range(3):
            data = bytes((number,)) * CHUNK_SIZE
            refs.append(await store.share(write(tmp_path / "file", data)))
            os.utime(tmp_path / "store" / f"{refs[-1].name}.tree", (number, number))
        await store.pin(refs[0])
        fourth = await store.share(write(tmp_path / "file", b"x" * CHUNK_SIZE))
        assert set(store.refs()) == {refs[0], refs[2], fourth}
        assert store.used_bytes == 3 * CHUNK_SIZE
        await store.pin(refs[2])
        await store.pin(fourth)
        with pytest.raises(BlobLimit, match="pinned"):
            await store.share(write(tmp_path / "file", b"y"))
        with pytest.raises(BlobLimit, match="limit"):
            await store.fetch(BlobRef(bytes(32), 3 * CHUNK_SIZE + 1), [])
        await store.unpin(fourth)
        await store.share(write(tmp_path / "file", b"y"))
        assert fourth not in store.refs()
    async with stores(tmp_path, "store") as (again,):
        assert again.holds(refs[0])
        assert refs[0] in again._shelf.pinned
        await again.remove(refs[0])
        assert not again.holds(refs[0])
        assert not list((tmp_path / "store").glob(f"{refs[0].name}*"))


class Closing:
    """Closes a store at the end of a block."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._store.close()


async def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice"):
        with pytest.raises(BlobStoreBusy):
            await BlobStore.open(tmp_path / "alice")
        script = (
            "import sys, anyio\nfrom consensus.blobs.store import BlobStore\n"
            "anyio.run(BlobStore.open, sys.argv[1])"
        )
        child = await anyio.run_process(
            [sys.executable, "-c", script, str(tmp_path / "alice")],
            check=False,
            cwd=Path(__file__).parents[3],
        )
        assert b"BlobStoreBusy" in child.stderr
    (await BlobStore.open(tmp_path / "alice")).close()


async def test_what_cannot_be_shared_is_said(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice") as (alice,):
        with pytest.raises(BlobError, match="No such file"):
            await alice.share(tmp_path / "missing")
        with pytest.raises(BlobError, match="is not a file"):
            await alice.share(tmp_path)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(BlobError, match="is not a file"):
            await alice.share(tmp_path / "pipe")
        for wish in (alice.pin, lambda ref: alice.export(ref, tmp_path / "out")):
            with pytest.raises(BlobUnavailable, match="fetch it first"):
                await wish(BlobRef(bytes(32), 1))
        write(tmp_path / "file", b"in the way")
        with pytest.raises(BlobError):
            await BlobStore.open(tmp_path / "file")


async def test_a_half_done_import_is_cleared_away(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice"):
        pass
    write(tmp_path / "alice" / "import-123", b"half")
    write(tmp_path / "alice" / "bogus.tree", b"not a tree at all")
    async with stores(tmp_path, "alice") as (alice,):
        assert alice.refs() == []
    assert not (tmp_path / "alice" / "import-123").exists()
