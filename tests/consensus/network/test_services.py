"""Named services over channels, and coming back to a group, with nodes on real sockets."""

import os

import anyio
import pytest

from consensus import GroupEnded, accept
from consensus.core.errors import GroupError
from consensus.network import services
from tests.support.network.endpoints import everything
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes
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


async def test_a_service_that_nobody_serves_ends_the_channel() -> None:
    async with open_nodes(2) as (one, other):
        await one.connect(other.key)
        channel = await one.open_channel(other.key, "nobody")
        with anyio.fail_after(PATIENCE_S):
            assert await everything(channel) == b""


async def test_a_channel_without_a_greeting_is_closed_in_time(
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
                try:
                    assert await everything(channel) == b""
                except ChannelBroken:
                    continue
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
            assert (await groups[0].kick(nodes[2].key, "for now")).committed
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
