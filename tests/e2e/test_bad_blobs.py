"""Blobs that do not match, and disks that are full: a proposal that names one is rejected with the
reason, a fetch from several goes on without the liar, and nothing that was held is lost."""

import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from consensus.arguments import make_content
from consensus.blobs.serve import Holding
from consensus.blobs.store import BlobStore
from quorate import BlobRef, BlobUnavailable, Node, Outcome
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes

pytestmark = pytest.mark.anyio
SIZE = 3 << 20


class LyingBlob:
    """A blob that gives other bytes than it holds."""

    def __init__(self, blob: Any) -> None:
        self._blob = blob

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blob, name)

    def read_chunk(self, index: int) -> bytes:
        """One bit of it is wrong."""
        data = bytearray(self._blob.read_chunk(index))
        data[len(data) // 2] ^= 4
        return bytes(data)


async def make_liar(node: Node, directory: Path) -> None:
    """Have the member lie about whatever it holds."""
    store = node.blobs._store = await BlobStore.open(directory, 1 << 30)
    open_whole = store._uses.open_whole

    def lying(ref: BlobRef) -> Holding:
        holding = open_whole(ref)
        holding.blob = LyingBlob(holding.blob)  # type: ignore[assignment]
        return holding

    store._uses.open_whole = lying  # type: ignore[method-assign]


def file_of(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


async def test_a_lying_member_is_dropped_and_the_fetch_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_nodes(3) as nodes:
        alice, liar, _ = nodes
        await make_liar(liar, tmp_path / "liar")
        groups = await gather_group(nodes)
        source = file_of(tmp_path / "report", SIZE)
        with anyio.fail_after(PATIENCE_S):
            ref = await groups[0].share(source)
            await groups[1].fetch(ref)  # What it holds is true; what it will give is not.
            await groups[2].fetch(ref, to=tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == source.read_bytes()
        told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert len(told) == 1
        assert liar.key.hex()[:16] in told[0]
        assert alice.key.hex()[:16] not in told[0]
        assert (await groups[2].propose("work", 1)).committed


async def test_a_blob_that_only_a_liar_has_is_a_reason_to_reject(tmp_path: Path) -> None:
    async with open_nodes(3) as nodes:
        await make_liar(nodes[0], tmp_path / "liar")
        groups = await gather_group(nodes)
        ref = await groups[0].share(file_of(tmp_path / "report", SIZE))
        with anyio.fail_after(PATIENCE_S):
            decision = await groups[0].propose("work", "report", blobs=[ref], deadline_s=4.0)
        assert decision.outcome is Outcome.REJECTED
        assert decision.reasons
        for voter, reason in decision.reasons.items():
            assert voter != nodes[0].key
            assert reason.startswith("could not get the blob: ")
        assert (await groups[1].propose("work", 1)).committed


async def test_a_blob_that_nobody_has_is_a_reason_to_reject(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        ref = BlobRef(os.urandom(32), 1 << 20)
        content = make_content("work", "report", [ref], 30.0)  # As somebody may who has no manners.
        number = groups[0]._number
        with anyio.fail_after(PATIENCE_S):
            decision = await groups[0].outcome(
                lambda m, now: m.propose(number, content, now, PATIENCE_S)
            )
        assert decision.outcome is Outcome.REJECTED
        assert decision.reasons[nodes[1].key] == "could not get the blob: nobody gave all of it"
        assert "no source holds any of it" in caplog.text


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size`, which the disk tells as if it were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_is_a_reason_to_reject_and_the_next_time_it_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        ref = await groups[0].share(file_of(tmp_path / "report", SIZE))
        small = await groups[0].share(file_of(tmp_path / "small", 1000))
        await groups[1].fetch(small)
        with anyio.fail_after(PATIENCE_S), file_size_limit(1 << 20):
            decision = await groups[0].propose("work", "report", blobs=[ref])
        assert decision.outcome is Outcome.REJECTED
        assert decision.reasons[nodes[1].key] == "could not get the blob: no room on the disk"
        assert "no room on the disk" in caplog.text
        with anyio.fail_after(PATIENCE_S):
            decision = await groups[0].propose("work", "report", blobs=[ref])
            assert decision.outcome is Outcome.COMMITTED
            await groups[1].fetch(small, to=tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "small").read_bytes()


async def test_who_does_not_hold_a_blob_cannot_propose_it() -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        with anyio.fail_after(PATIENCE_S), pytest.raises(BlobUnavailable, match="to propose it"):
            await groups[0].propose("work", "report", blobs=[BlobRef(os.urandom(32), 1 << 20)])
        assert (await groups[1].propose("work", 1)).committed
