"""What a handler or a service does reaches no further than its own vote or channel."""

import asyncio
from typing import Any

import anyio
import pytest

from consensus import Accept, Proposal, Reject, Rejected, accept
from consensus.core.types import Content
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes
from transport.channel import Channel, ChannelBroken

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "vote",
    [
        None,
        7,
        Reject("\ud800"),
        Accept(object()),
        Accept({"large": b"x" * 5000}),
        Accept({(1, 2): object()}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("waits", [False, True])
async def test_a_vote_that_is_none(vote: Any, waits: bool) -> None:
    async with open_nodes(2) as (asker, asked):
        if waits:

            @asked.on("odd")
            async def judge(proposal: Proposal) -> Any:
                await anyio.lowlevel.checkpoint()
                return vote
        else:
            asked.on("odd")(lambda proposal: vote)
        asked.on("good")(lambda proposal: accept(1))
        with pytest.raises(Rejected):
            await asker.ask(asked.key, "odd")
        assert await asker.ask(asked.key, "good") == 1


async def test_a_handler_that_was_cancelled_from_elsewhere() -> None:
    async with open_nodes(2) as (asker, asked):

        @asked.on("odd")
        async def judge(proposal: Proposal) -> Any:
            raise anyio.get_cancelled_exc_class() if _on_asyncio() else RuntimeError

        asked.on("good")(lambda proposal: accept(1))
        with pytest.raises(Rejected, match="the handler failed"):
            await asker.ask(asked.key, "odd")
        assert await asker.ask(asked.key, "good") == 1


def _on_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def test_handlers_that_never_return_end_with_the_deadline() -> None:
    async with open_nodes(2) as (asker, asked):
        running = 0
        none = anyio.Event()

        @asked.on("slow")
        async def judge(proposal: Proposal) -> Any:
            nonlocal running
            running += 1
            try:
                await anyio.sleep_forever()
            finally:
                running -= 1
                if not running:
                    none.set()

        async def ask() -> None:
            with pytest.raises(Rejected, match="no answer in time"):
                await asker.ask(asked.key, "slow", deadline_s=0.3)

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask)
        with anyio.fail_after(PATIENCE_S):
            await none.wait()
        assert running == 0


async def test_a_service_that_fails_ends_its_channel_only() -> None:
    async with open_nodes(2) as (one, other):

        @other.serve("odd")
        async def serve(channel: Channel) -> None:
            raise ZeroDivisionError

        other.on("good")(lambda proposal: accept(1))
        await one.connect(other.key)
        channel = await one.open_channel(other.key, "odd")
        with anyio.fail_after(PATIENCE_S), pytest.raises(ChannelBroken):
            await channel.receive()
        await channel.aclose()
        assert await one.ask(other.key, "good") == 1


async def test_nobody_makes_a_node_fetch_by_asking() -> None:
    async with open_nodes(2) as (asker, asked):
        asked.on("price")(lambda proposal: accept(1))
        assert await asker.ask(asked.key, "price") == 1
        content = Content("price", b"", ((b"\x01" * 32, 1 << 30),), 1000)
        with pytest.raises(Rejected, match="in a group"):
            await asker._asking.ask(asked.key, content, PATIENCE_S)


async def test_more_proposals_than_fit_the_window_of_a_view_of_one() -> None:
    async with open_nodes(1) as (alone,):
        group = await alone.found("board")
        done = 0

        async def propose() -> None:
            nonlocal done
            await group.propose("note", timeout_s=PATIENCE_S)
            done += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(900):
                tasks.start_soon(propose)
        assert done == 900


async def test_a_failing_progress_callback_does_not_cost_the_vote(tmp_path: Any) -> None:
    async with open_nodes(2) as nodes:
        _, bob = nodes
        groups = await gather_group(nodes)

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        bob.on_progress = fail
        path = tmp_path / "blob"
        path.write_bytes(b"x" * 300_000)
        ref = await groups[0].share(path)
        decision = await groups[0].propose("work", 1, blobs=[ref])
        assert decision.committed
