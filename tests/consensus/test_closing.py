"""How a node closes: from any task, under cancellation, and with what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

import anyio
import pytest

from consensus import Accept, Node, OutcomeUnknown, Proposal, accept
from consensus.network import connecting
from tests.support.nodes.nodes import open_nodes
from tests.support.waiting import PATIENCE_S, until
from transport.core.errors import LocalError
from transport.core.types import Address
from transport.endpoint import EndpointClosed

pytestmark = pytest.mark.anyio


async def test_a_node_is_opened_in_one_task_and_closed_in_another() -> None:
    nodes: list[Node] = []

    async def begin() -> None:
        nodes.append(await Node.open())

    async def end() -> None:
        await nodes[0].aclose()
        await nodes[0].aclose()

    for step in (begin, end):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(step)
        if step is begin:
            group = await nodes[0].found("board")
            assert (await group.propose("work")).committed
    with pytest.raises(EndpointClosed):
        await nodes[0].found("again")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio ends a task that leaves a scope open
async def test_a_block_is_entered_in_one_task_and_left_in_another() -> None:
    block = Node.open()
    node = await asyncio.create_task(block.__aenter__())
    assert (await (await node.found("board")).propose("work")).committed
    await asyncio.create_task(block.__aexit__(None, None, None))
    with pytest.raises(EndpointClosed):
        await node.found("again")


async def test_a_cancelled_block_has_closed_when_it_is_left(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with Node.open(tmp_path / "node") as node:
            port = node.address[1]
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    async with Node.open(tmp_path / "node", listen=f"127.0.0.1:{port}"):
        pass


async def test_it_closes_in_a_cancelled_finally(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        node = await Node.open(tmp_path / "node")
        try:
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            await node.aclose()
    async with Node.open(tmp_path / "node"):
        pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # only there can a task be cancelled so
async def test_it_closes_though_its_task_is_cancelled_while_it_does(tmp_path: Path) -> None:
    node = await Node.open(tmp_path / "node")
    closing = asyncio.create_task(node.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    async with Node.open(tmp_path / "node"):
        pass


async def test_a_handler_may_close_its_node() -> None:
    async with open_nodes(1) as (asker,), Node.open() as asked:

        @asked.on("stop")
        async def stop(proposal: Proposal) -> Accept:
            await asked.aclose()
            return accept()

        asker.know(asked.key, [asked.address])
        with anyio.fail_after(PATIENCE_S):
            with suppress(OutcomeUnknown):  # It may be over before the answer leaves.
                assert await asker.ask(asked.key, "stop") is None
            await asked.aclose()


async def test_who_waits_for_an_answer_is_told_that_the_node_closes() -> None:
    async with open_nodes(2) as (asker, asked), anyio.create_task_group() as tasks:
        begun = anyio.Event()

        @asked.on("slow")
        async def slow(proposal: Proposal) -> Accept:
            begun.set()
            await anyio.sleep_forever()
            raise AssertionError("it is never woken")

        async def ask() -> None:
            with pytest.raises(OutcomeUnknown, match="the presence has ended"):
                await asker.ask(asked.key, "slow", timeout_s=PATIENCE_S, deadline_s=PATIENCE_S)

        await asker.connect(asked.key)
        tasks.start_soon(ask)
        with anyio.fail_after(PATIENCE_S):
            await begun.wait()
        await asked.aclose()


async def test_what_was_sent_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "PART_S", PATIENCE_S)
    monkeypatch.setattr(connecting, "PART_PATIENCE", inf)
    async with open_nodes(2) as (asker, asked), anyio.create_task_group() as tasks:
        heard: list[object] = []
        lost: list[int] = []
        receive = asked._context.machine.receive_datagrams

        def lossy(batch: Sequence[tuple[bytes, Address]], now: float) -> bool:
            if batch and not lost:
                lost.append(len(batch))
                return False
            return receive(batch, now)

        @asked.on("work")
        def work(proposal: Proposal) -> Accept:
            heard.append(proposal.body)
            return accept()

        async def ask(body: str) -> None:
            with suppress(OutcomeUnknown):  # The answer may come in time, or not.
                await asker.ask(asked.key, "work", body)

        await ask("one")
        monkeypatch.setattr(asked._context.machine, "receive_datagrams", lossy)
        tasks.start_soon(ask, "two")
        await until(lambda: lost)
        await asker.aclose()
        await until(lambda: len(heard) == 2)
        assert heard == ["one", "two"]


async def test_an_opening_that_fails_raises_what_it_failed_by() -> None:
    with pytest.raises(LocalError, match="not an address"):
        await Node.open(listen="nowhere")
    with pytest.raises(LocalError, match="not an address"):
        async with Node.open(listen="nowhere"):
            raise AssertionError("it was opened")
    opening = Node.open()
    await (await opening).aclose()
    with pytest.raises(RuntimeError, match="opened before"):
        await opening
