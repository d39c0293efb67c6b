"""Blobs through nodes: what a user may ask for, and that votes wait for what they name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from consensus import (
    BlobError,
    BlobLimit,
    BlobRef,
    BlobUnavailable,
    Node,
    NodeConfig,
    Outcome,
    Proposal,
    accept,
)
from consensus.blobs.serve import Session
from consensus.blobs.store import BlobStore, FetchConfig
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes

pytestmark = pytest.mark.anyio
SIZE = 700_000


def a_file(path: Path, size: int = SIZE) -> Path:
    path.write_bytes(os.urandom(size))
    return path


async def store_of(node: Node) -> BlobStore:
    return await node.blobs._opened()


async def test_no_vote_before_the_blob_is_held_whole(tmp_path: Path) -> None:
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        stores = [await store_of(node) for node in nodes]
        held: list[bool] = []

        def judge(store: BlobStore) -> Callable[[Proposal], Any]:
            def vote(proposal: Proposal) -> Any:
                held.extend(store.holds(ref) for ref in proposal.blobs)
                return accept(sum(ref.size for ref in proposal.blobs))

            return vote

        for node, store in zip(nodes, stores, strict=True):
            node.on("publish")(judge(store))
        refs = [await groups[0].share(a_file(tmp_path / name)) for name in "ab"]
        with anyio.fail_after(PATIENCE_S):
            decision = await groups[0].propose("publish", blobs=refs)
        assert decision.outcome is Outcome.COMMITTED
        assert held == [True] * 4  # Two blobs at each of the two who did not propose.
        assert [decision.answers[node.key] for node in nodes[1:]] == [2 * SIZE] * 2


async def test_all_blobs_are_there_when_the_vote_is_given_or_it_is_no(tmp_path: Path) -> None:
    config = NodeConfig(blob_limit_bytes=5 * SIZE // 2)
    async with open_nodes(1) as (alice,), open_nodes(1, config) as (bob,):
        bob.know(alice.key, [alice.address])
        group, _ = await gather_group([alice, bob])
        store = await store_of(bob)
        held: list[bool] = []
        for node in (alice, bob):

            @node.on("publish")
            async def judge(proposal: Proposal) -> Any:
                held.extend(store.holds(ref) for ref in proposal.blobs)
                return accept()

        refs = [await alice.share(a_file(tmp_path / name)) for name in "abcdef"]
        with anyio.fail_after(PATIENCE_S):
            # One after the other: what the last was about makes room for what the next names.
            for at in range(0, 6, 2):
                decision = await group.propose("publish", blobs=refs[at : at + 2])
                assert decision.outcome is Outcome.COMMITTED
            assert held == [True] * 6
            decision = await group.propose("publish", blobs=refs[:3])
            assert decision.outcome is Outcome.REJECTED
            told = "could not get the blob: no room within the limit of the store"
            assert decision.reasons == {bob.key: told}
        assert all(store.holds(ref) for ref in refs[4:])  # Nothing made room for it.


async def test_at_once_they_wait_for_each_others_room(tmp_path: Path) -> None:
    config = NodeConfig(blob_limit_bytes=3 * SIZE // 2)
    async with open_nodes(1) as (alice,), open_nodes(1, config) as (bob,):
        bob.know(alice.key, [alice.address])
        group, _ = await gather_group([alice, bob])
        refs = [await alice.share(a_file(tmp_path / name)) for name in "abc"]
        outcomes = []

        async def propose(ref: BlobRef) -> None:
            outcomes.append((await group.propose("work", blobs=[ref])).outcome)

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for ref in refs:
                    tasks.start_soon(propose, ref)
        assert outcomes == [Outcome.COMMITTED] * 3


async def test_what_a_node_proposes_it_holds(tmp_path: Path) -> None:
    async with open_nodes(1) as (node,):
        ref = await node.share(a_file(tmp_path / "file"))
        async with node.blobs.named([ref, ref]):
            with pytest.raises(BlobError, match="in use"):
                await (await store_of(node)).remove(ref)
        with pytest.raises(BlobUnavailable, match="share or fetch it"):
            async with node.blobs.named([ref, BlobRef(bytes(32), 1)]):
                pass


async def test_the_report_of_a_fetch_and_its_progress(tmp_path: Path) -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        path = a_file(tmp_path / "file")
        ref = await groups[0].share(path, copy=False)
        seen: list[tuple[BlobRef, int, int]] = []
        with anyio.fail_after(PATIENCE_S):
            report = await groups[1].fetch(
                ref, tmp_path / "copy", on_progress=lambda *told: seen.append(told)
            )
        assert (report.ref, report.received_size, report.dropped) == (ref, SIZE, ())
        assert seen[-1] == (ref, SIZE, SIZE)
        assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
        assert (tmp_path / "copy").read_bytes() == path.read_bytes()
        again = await groups[1].fetch(ref)
        assert again.received_size == 0


async def test_a_fetch_that_takes_too_long_says_so_and_keeps_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        ref = await groups[0].share(a_file(tmp_path / "file"))
        read = Session._read_chunk
        given = 0

        async def one_and_no_more(self: Session, index: int) -> None:
            nonlocal given
            given += 1
            if given > 1:
                await anyio.sleep_forever()
            await read(self, index)

        monkeypatch.setattr(Session, "_read_chunk", one_and_no_more)
        came: list[int] = []
        timeout_s = 0.5
        while not came:  # However long one chunk may take on this machine.
            given, timeout_s = 0, 2 * timeout_s
            with pytest.raises(TimeoutError, match="what came is kept"):
                await groups[1].fetch(
                    ref, timeout_s=timeout_s, on_progress=lambda ref, done, total: came.append(done)
                )
        monkeypatch.undo()
        with anyio.fail_after(PATIENCE_S):
            report = await groups[1].fetch(ref)
        assert report.resumed_chunks == 1


async def test_a_source_that_stalls_ends_the_fetch_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        ref = await groups[0].share(a_file(tmp_path / "file"))

        async def nothing(self: Session, index: int) -> None:
            await anyio.sleep_forever()

        monkeypatch.setattr(Session, "_read_chunk", nothing)
        service = nodes[1].blobs
        store = await store_of(nodes[1])
        sources = [service._source(nodes[0].key)]
        with anyio.fail_after(PATIENCE_S), pytest.raises(BlobUnavailable) as raised:
            await store.fetch(ref, sources, config=FetchConfig(stalled_s=0.4))
        assert "nothing has come for 0.4 s" in str(raised.value)


async def test_what_is_pinned_stays_and_the_rest_makes_room(tmp_path: Path) -> None:
    config = NodeConfig(blob_limit_bytes=2 * SIZE + 100)
    async with open_nodes(1, config) as (node,):
        store = await store_of(node)
        first, second = [await node.share(a_file(tmp_path / name)) for name in "ab"]
        await node.pin(first)
        third = await node.share(a_file(tmp_path / "c"))
        assert [store.holds(ref) for ref in (first, second, third)] == [True, False, True]
        await node.pin(third)
        with pytest.raises(BlobLimit, match="pinned or in use"):
            await node.share(a_file(tmp_path / "d"))
        await node.pin(first, False)
        await node.share(tmp_path / "d")
        assert not store.holds(first)
        with pytest.raises(BlobUnavailable, match="fetch it first"):
            await node.pin(first)
