"""Fetching blobs from stores that serve each other; both anyio backends."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from consensus.blobs import fetch as blobfetch
from consensus.blobs import serve
from consensus.blobs.serve import ByteChannel
from consensus.blobs.store import (
    BlobRef,
    BlobStore,
    BlobUnavailable,
    Drop,
    DroppedSource,
    Progress,
    Source,
)
from consensus.core.blob import wire
from consensus.core.blob.tree import CHUNK_SIZE
from consensus.core.blob.wire import TransferError
from tests.support.network.streams import BUFFER_SIZE, Broken, MemoryChannel, pair
from tests.support.nodes.blobnet import DATA, QUICK, lying, network, stores, write
from tests.support.waiting import PATIENCE_S, turns, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobfetch, "REOPEN_DELAYS_S", (0.0, 0.01))


async def test_a_shared_file_is_fetched_and_exported(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        assert alice.holds(ref)
        assert not bob.holds(ref)
        seen: list[Progress] = []
        out = tmp_path / "out"
        report = await bob.fetch(ref, [net.source(alice)], to=out, on_progress=seen.append)
        assert out.read_bytes() == DATA
        assert bob.holds(ref)
        assert bob.refs() == [ref]
        assert (report.received_size, report.resumed_chunks, report.dropped) == (len(DATA), 0, ())
        assert [each.chunks for each in seen] == [1, 2, 3, 4, 5, 6]
        assert (seen[-1].bytes, seen[-1].bytes_total) == (len(DATA), len(DATA))


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE])
async def test_sizes_at_the_edges(tmp_path: Path, size: int) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", bytes(size)))
        await bob.fetch(ref, [net.source(alice)], to=tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == bytes(size)


async def test_a_second_fetch_costs_nothing_and_two_at_once_are_one(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        sizes = []

        async def fetch() -> None:
            sizes.append((await bob.fetch(ref, [net.source(alice)])).received_size)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(fetch)
        assert sorted(sizes) == [0, 0, len(DATA)]
        assert net.opened == 1


async def test_a_lying_source_is_dropped_reported_and_replaced(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        told: list[DroppedSource] = []
        honest, lied = net.source(alice, b"alice"), anyio.Event()

        def dropped(source: DroppedSource) -> None:
            told.append(source)
            lied.set()

        async def later() -> ByteChannel:  # It could give all of it before anybody lies.
            await lied.wait()
            return await honest.open()

        report = await bob.fetch(
            ref,
            [net.custom(lying(alice, after=1), b"mallory"), Source(b"alice", later)],
            on_drop=dropped,
        )
        assert bob.holds(ref)
        assert [(each.peer, each.reason) for each in told] == [(b"mallory", Drop.LYING)]
        assert report.dropped == tuple(told)
        assert net.opened == 2  # a liar is not asked again
        await bob.export(ref, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == DATA


async def test_only_liars_is_an_error_and_what_was_true_is_kept(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        with pytest.raises(BlobUnavailable, match="no source is left"):
            await bob.fetch(ref, [net.custom(lying(alice, after=2), b"mallory")])
        assert not bob.holds(ref)
        report = await bob.fetch(ref, [net.source(alice)])
        assert report.resumed_chunks == 2
        assert report.received_size == len(DATA) - 2 * CHUNK_SIZE


async def test_nobody_holds_it(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob", "carol") as (alice, bob, carol), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        with pytest.raises(BlobUnavailable, match="no source is left"):
            await bob.fetch(ref, [])
        with pytest.raises(BlobUnavailable, match="no source holds any of it"):
            await bob.fetch(ref, [net.source(carol)], config=QUICK)

        async def unreachable() -> MemoryChannel:
            raise OSError("no route")

        with pytest.raises(BlobUnavailable, match="no source is left"):
            await bob.fetch(ref, [Source(b"x", unreachable)])


async def test_a_source_that_vanishes_is_opened_again(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))

        def cut(progress: Progress) -> None:
            if progress.chunks == 2:
                net.channels[0].cut()

        report = await bob.fetch(ref, [net.source(alice)], on_progress=cut)
        assert net.opened == 2
        assert [each.reason for each in report.dropped] == [Drop.GONE]
        assert bob.holds(ref)


async def test_members_pass_on_what_they_have(tmp_path: Path) -> None:
    """Bob knows Alice, Carol knows Bob only, and starts first."""
    async with stores(tmp_path, "alice", "bob", "carol") as (alice, bob, carol), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        started = anyio.Event()

        async def fetch_for_carol() -> None:
            started.set()
            await carol.fetch(ref, [net.source(bob)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetch_for_carol)
            await started.wait()
            await bob.fetch(ref, [net.source(alice)])
        assert carol.holds(ref)


async def test_who_waits_for_a_blob_gets_it_when_it_is_shared(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        elsewhere = await BlobStore.open(tmp_path / "elsewhere")
        ref = await elsewhere.share(write(tmp_path / "file", DATA))
        elsewhere.close()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bob.fetch, ref, [net.source(alice)])
            await until(lambda: alice._uses.waiting)
            assert await alice.share(tmp_path / "file") == ref
        assert bob.holds(ref)


async def test_a_cancelled_fetch_keeps_what_it_verified(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        with anyio.CancelScope() as scope:

            def stop(progress: Progress) -> None:
                if progress.chunks == 3:
                    scope.cancel()

            await bob.fetch(ref, [net.source(alice)], on_progress=stop)
        assert not bob.holds(ref)
        report = await bob.fetch(ref, [net.source(alice)])
        assert report.resumed_chunks >= 3
        assert report.received_size + report.resumed_chunks * CHUNK_SIZE >= len(DATA)
        assert report.resumed_chunks < ref.chunks


async def test_a_fetcher_that_breaks_the_protocol_is_told_off_alone(tmp_path: Path) -> None:
    async with stores(tmp_path, "alice", "bob") as (alice, bob), network() as net:
        ref = await alice.share(write(tmp_path / "file", DATA))
        mine, theirs = pair()
        await mine.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TransferError):
            await alice.serve(theirs)
        assert await mine.receive() == b""
        await bob.fetch(ref, [net.source(alice)])


async def test_a_channel_that_says_nothing_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "ABSENT_WAIT_S", 0.01)
    async with stores(tmp_path, "alice") as (alice,):
        with monkeypatch.context() as impatient:
            impatient.setattr(serve, "UNOPENED_S", 0.01)
            mine, theirs = pair()
            assert await alice.serve(theirs) == 0
        mine, theirs = pair()
        ref = BlobRef(bytes(32), 5)
        await mine.send(wire.frame(wire.OPEN, bytes((wire.VERSION,)) + ref.encode()))
        assert await alice.serve(theirs) == 0
        assert await mine.receive() == wire.frame(wire.ABSENT)
        assert not alice._uses.waiting


async def test_the_number_of_channels_served_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "SESSIONS_MAX", 2)
    async with stores(tmp_path, "alice") as (alice,), anyio.create_task_group() as tasks:
        ends = [pair() for _ in range(3)]
        for _, theirs in ends:
            tasks.start_soon(alice.serve, theirs)
            await anyio.wait_all_tasks_blocked()
        assert await ends[2][0].receive() == b""
        tasks.cancel_scope.cancel()


async def test_one_peer_does_not_take_the_places_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "SESSIONS_MAX", 4)
    monkeypatch.setattr(serve, "SESSIONS_PER_PEER_MAX", 3)
    async with stores(tmp_path, "alice") as (alice,), anyio.create_task_group() as tasks:
        ref = await alice.share(write(tmp_path / "file", DATA))
        opened = wire.frame(wire.OPEN, bytes((wire.VERSION,)) + ref.encode())
        ends: dict[str, MemoryChannel] = {}
        for name in ("greedy 1", "greedy 2", "greedy 3", "greedy 4", "bob 1", "bob 2", "carol 1"):
            ends[name], theirs = pair()
            await ends[name].send(opened)
            tasks.start_soon(alice.serve, theirs, name.split()[0].encode())
            await anyio.wait_all_tasks_blocked()
        # The fourth is refused; later ones are given the place that was idle for longest.
        answered = {name: (await end.receive())[4:5] for name, end in ends.items()}
        assert answered.pop("greedy 4") == b""
        assert set(answered.values()) == {bytes((wire.HOLDING,))}
        assert await ends["greedy 1"].receive() == b""
        await ends["carol 1"].send(wire.indexed(wire.WANT_CHUNK, 0))
        assert await ends["carol 1"].receive()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("asks", [False, True])
async def test_a_fetcher_that_asks_for_nothing_or_takes_nothing_loses_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    monkeypatch.setattr(serve, "IDLE_S", 0.1)
    async with stores(tmp_path, "alice") as (alice,):
        ref = await alice.share(write(tmp_path / "file", DATA))
        mine, theirs = pair()
        await mine.send(wire.frame(wire.OPEN, bytes((wire.VERSION,)) + ref.encode()))
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(alice.serve, theirs)
                assert (await mine.receive())[4:5] == bytes((wire.HOLDING,))
                with suppress(Broken):  # It has lost its place already.
                    for index in range(ref.chunks if asks else 0):
                        await mine.send(wire.indexed(wire.WANT_CHUNK, index))
        assert not alice._shelf.in_use


async def test_a_fetcher_that_reads_nothing_costs_one_buffer(tmp_path: Path) -> None:
    data = bytes(range(256)) * (8 << 10) * 4
    async with stores(tmp_path, "alice") as (alice,), anyio.create_task_group() as tasks:
        ref = await alice.share(write(tmp_path / "file", data))
        mine, theirs = pair()
        tasks.start_soon(alice.serve, theirs)
        await mine.send(wire.frame(wire.OPEN, bytes((wire.VERSION,)) + ref.encode()))
        reader = wire.FrameReader(wire.TO_FETCHER)
        ((kind, _),) = reader.frames_untrusted(await mine.receive())
        assert kind == wire.HOLDING
        for index in range(ref.chunks):
            await mine.send(wire.indexed(wire.WANT_CHUNK, index))
        await until(lambda: len(mine._incoming.data) == BUFFER_SIZE)
        await turns()
        session = next(iter(alice._shelf.in_use[ref].sessions))
        assert session.chunks_sent <= 2
        tasks.cancel_scope.cancel()
