"""Named services over channels, and coming back to a group, with nodes on real sockets."""

import os
from contextlib import AsyncExitStack, suppress

import anyio
import pytest

from consensus import GroupEnded, Node, accept
from consensus.core.errors import GroupError
from consensus.network import services
from tests.support.network.endpoints import everything, exactly
from tests.support.nodes.nodes import PATIENCE_S, gather_group, kicked_by_two, open_nodes
from transport.channel import Channel, ChannelBroken
from transport.core.errors import LocalError

pytestmark = pytest.mark.anyio


async def test_a_service_is_given_the_channels_opened_to_it() -> None:
    async with open_nodes(2) as (one, other):
        served: list[bytes] = []

        @other.serve("upper")
        async def upper(channel: Channel) -> None:
            served.append(channel.peer)
            await channel.send((await everything(channel)).upper())
            await channel.send_eof()

        await one.connect(other.key)
        channel = await one.open_channel(other.key, "upper")
        await channel.send(b"hello")
        await channel.send_eof()
        with anyio.fail_after(PATIENCE_S):
            assert await everything(channel) == b"HELLO"
        assert served == [one.key]


async def test_a_service_that_nobody_serves_breaks_the_channel() -> None:
    async with open_nodes(2) as (one, other):
        await one.connect(other.key)
        channel = await one.open_channel(other.key, "nobody")
        with anyio.fail_after(PATIENCE_S), pytest.raises(ChannelBroken, match="nothing is served"):
            await channel.receive()


@pytest.mark.parametrize("how", ["raises", "is cancelled", "is closed with its node"])
async def test_what_a_service_has_not_ended_never_looks_complete(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    half = os.urandom(50_000)
    read = anyio.Event()
    async with open_nodes(1) as (one,), AsyncExitStack() as closing:
        other = await closing.enter_async_context(Node.open())

        @other.serve("file")
        async def file(channel: Channel) -> None:
            await channel.send(half)
            await read.wait()
            if how == "raises":
                raise OSError("the disk broke")
            if how == "is cancelled":
                raise anyio.get_cancelled_exc_class()
            await anyio.sleep_forever()

        one.know(other.key, [other.address])
        await one.connect(other.key)
        channel = await one.open_channel(other.key, "file")
        with anyio.fail_after(PATIENCE_S):
            assert await exactly(channel, len(half)) == half
        read.set()
        if how == "is closed with its node":
            await closing.aclose()
        with anyio.fail_after(PATIENCE_S), pytest.raises(ChannelBroken):
            await channel.receive()


@pytest.mark.parametrize("how", ["raises", "returns"])
async def test_a_channel_left_by_an_exception_breaks_and_otherwise_ends(how: str) -> None:
    said: list[object] = []
    over = anyio.Event()
    async with open_nodes(2) as (one, other):

        @other.serve("upload")
        async def upload(channel: Channel) -> None:
            await channel.send(b"!")
            try:
                said.append(await everything(channel))
            except ChannelBroken:
                said.append("broken")
            over.set()

        await one.connect(other.key)
        with suppress(OSError):
            async with await one.open_channel(other.key, "upload") as channel:
                await channel.send(b"half")
                with anyio.fail_after(PATIENCE_S):
                    assert await channel.receive() == b"!"
                if how == "raises":
                    raise OSError("the disk broke")
        with anyio.fail_after(PATIENCE_S):
            await over.wait()
        assert said == (["broken"] if how == "raises" else [b"half"])


async def test_a_channel_without_a_greeting_breaks_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(services, "GREETING_TIMEOUT_S", 0.2)
    async with open_nodes(2) as (one, other):
        await one.connect(other.key)
        silent = await one._context.endpoint.open_channel(other.key)
        broken = await one._context.endpoint.open_channel(other.key)
        await broken.send(b"\xff" + os.urandom(10))
        with anyio.fail_after(PATIENCE_S):
            for channel in (silent, broken):
                with pytest.raises(ChannelBroken):
                    await channel.receive()
        other.on("still")(lambda proposal: accept())
        assert await one.ask(other.key, "still") is None


@pytest.mark.parametrize("name", ["", "x" * 65, "ümlaut"])
async def test_a_name_that_cannot_be_one_is_said(name: str) -> None:
    async with open_nodes(2) as (one, other):
        with pytest.raises(GroupError, match="a service's name"):
            one.serve(name)(anyio.sleep)  # type: ignore[arg-type]
        await one.connect(other.key)
        with pytest.raises(GroupError, match="a service's name"):
            await one.open_channel(other.key, name)
        with pytest.raises(LocalError, match="no presence"):
            await one.open_channel(bytes(32), "x")


async def test_who_was_expelled_or_has_left_may_join_again_in_the_same_process() -> None:
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        for _ in range(2):
            assert (await kicked_by_two(groups[0], groups[1], nodes[2].key, "for now")).committed
            with anyio.fail_after(PATIENCE_S):
                async for event in groups[2].events():
                    if isinstance(event, GroupEnded):
                        break
            with anyio.fail_after(PATIENCE_S):
                groups[2] = await nodes[2].join(groups[1].invite(nodes[2].key))
            assert (await groups[2].propose("work", 1)).committed
        await groups[2].leave()
        with anyio.fail_after(PATIENCE_S):
            groups[2] = await nodes[2].join(groups[0].invite(nodes[2].key))
        assert (await groups[1].propose("work", 2)).committed
        assert len(groups[1].view.members) == 3
