"""Channels whose presence changes beneath them: it idles, moves, gets new keys, or vanishes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from hashlib import blake2b

import anyio
import pytest
from anyio.to_thread import run_sync

from consensus import NodeConfig
from tests.support.haste import Haste, haste
from tests.support.network.endpoints import End, exactly, open_ends, open_pair
from tests.support.network.relay import relay_to
from tests.support.waiting import PATIENCE_S
from transport.channel import Channel, ChannelBroken
from transport.core.config import TransportConfig
from transport.core.events import BulkPlane, PathMoved, PresenceDown, PresenceUp
from transport.endpoint import config_here
from utp_native import SUITE_AEGIS256, SUITE_XCHACHA20
from utp_native.native import has_aes

__all__ = ["haste"]

pytestmark = pytest.mark.anyio


def seen(end: End) -> list[object]:
    """What the endpoint keeps to itself, from now on."""
    events: list[object] = []
    handle = end.endpoint._handle

    def spy(event: object) -> None:
        events.append(event)
        handle(event)

    end.endpoint._handle = spy  # type: ignore[method-assign]
    return events


async def test_the_responder_opens_a_channel_before_it_is_confirmed() -> None:
    async with open_ends(2) as (one, other):
        one.peers.connect(other.key, [other.endpoint.address], one.endpoint.clock())
        one.endpoint.touch()
        await other.happened(PresenceUp)
        channel = await other.endpoint.open_channel(one.key)
        await channel.send(b"hello")
        assert await exactly(await one.accept(), 5) == b"hello"


async def test_the_first_bulk_of_the_initiator_comes_behind_what_confirms_the_presence() -> None:
    """Otherwise the responder does not know its plane yet, and it is sent again a second later."""
    async with open_ends(2) as (one, other):
        one.peers.connect(other.key, [other.endpoint.address], one.endpoint.clock())
        one.endpoint.touch()
        sealed = []
        channels = one.endpoint._channels
        open_one = channels.open

        def spy(peer: bytes) -> Channel:
            presence = one.peers._context.by_key[peer].current
            sealed.append(presence is not None and presence.sealed > 0)
            return open_one(peer)

        channels.open = spy  # type: ignore[method-assign]
        await one.happened(PresenceUp)
        channel = await one.endpoint.open_channel(other.key)
        await channel.send(b"hello")
        assert await exactly(await other.accept(), 5) == b"hello"
        assert sealed == [True]


async def test_nodes_seal_with_what_the_hardware_is_good_at() -> None:
    assert NodeConfig().machine.transport == config_here()
    async with open_ends(2, config_here()) as (one, other):
        events = seen(one)
        await one.meet(other)
        mine, theirs = await one.channel(other)
        await mine.send(bytes(100_000))
        assert await exactly(theirs, 100_000) == bytes(100_000)
        suites = {event.plane.suite for event in events if isinstance(event, BulkPlane)}
        assert suites == {SUITE_AEGIS256 if has_aes() else SUITE_XCHACHA20}


async def test_an_open_channel_keeps_the_presence_and_a_closed_one_does_not(haste: Haste) -> None:
    config = TransportConfig(idle_timeout_s=10.0)
    async with open_pair(config) as ends:
        one, other = ends
        mine, theirs = await one.channel(other)
        await haste.pass_by(3 * config.idle_timeout_s)
        await mine.send(b"still")
        assert await exactly(theirs, 5) == b"still"
        await mine.aclose()
        await theirs.aclose()

        def down() -> bool:
            return all(any(isinstance(e, PresenceDown) for e in end.events) for end in ends)

        assert not down()
        with anyio.fail_after(PATIENCE_S):
            await haste.pass_until(down)


@pytest.mark.parametrize("waits_for", ["receive", "send"])
async def test_a_peer_that_is_killed_breaks_the_channel(waits_for: str, haste: Haste) -> None:
    """Once the presence is given up, be nothing else wrong with the channel."""
    command = [sys.executable, "-m", "tests.support.network.vanishing"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: ASYNC220
        try:
            assert child.stdout is not None
            key, port = (await run_sync(child.stdout.readline)).split()
            async with open_ends(1) as (end,):
                peer = bytes.fromhex(key)
                end.peers.connect(peer, [("127.0.0.1", int(port))], end.endpoint.clock())
                end.endpoint.touch()
                await end.happened(PresenceUp)
                channel = await end.endpoint.open_channel(peer)
                await channel.send(b"x")
                assert await run_sync(child.stdout.readline) == "accepted\n"
                child.send_signal(signal.SIGKILL)
                wait = channel.receive if waits_for == "receive" else partial(flood, channel)
                broken = anyio.Event()

                async def breaks() -> None:
                    with pytest.raises(ChannelBroken, match="presence"):
                        await wait()
                    broken.set()

                with anyio.fail_after(PATIENCE_S):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(breaks)
                        await haste.pass_until(broken.is_set)
                with pytest.raises(ChannelBroken):
                    await channel.receive()
                await channel.aclose()
        finally:
            child.kill()


async def flood(channel: Channel) -> None:
    while True:
        await channel.send(bytes(1 << 20))


class Transfer:
    """Bytes on their way until something has happened, and some after it."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self._over = over
        self._piece = os.urandom(16_384)
        self._sent = 0
        self.under_way = anyio.Event()

    async def write(self, channel: Channel) -> None:
        for _ in range(30):
            await self._send(channel)
        self.under_way.set()
        while not self._over():
            await self._send(channel)
        for _ in range(30):
            await self._send(channel)
        await channel.send_eof()

    async def _send(self, channel: Channel) -> None:
        await channel.send(self._piece)
        self._sent += 1

    async def read(self, channel: Channel) -> None:
        digest = blake2b()
        while data := await channel.receive():
            digest.update(data)
        assert digest.digest() == blake2b(self._piece * self._sent).digest()


def planes_of(events: list[object]) -> list[BulkPlane]:
    return [event for event in events if isinstance(event, BulkPlane)]


async def test_new_keys_in_mid_transfer(haste: Haste) -> None:
    async with open_pair(TransportConfig(rekey_s=3.0)) as (one, other):
        epochs = seen(one), seen(other)
        mine, theirs = await one.channel(other)

        def answered_key_update() -> bool:
            return all(len(planes_of(events)) >= 2 for events in epochs)

        transfer = Transfer(answered_key_update)
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transfer.write, mine)
                tasks.start_soon(transfer.read, theirs)
                await haste.pass_until(answered_key_update)
        for events in epochs:
            planes = planes_of(events)
            assert len({plane.plane.send_key for plane in planes}) == len(planes)


def has_moved(events: list[object]) -> bool:
    return any(isinstance(event, PathMoved) for event in events)


@pytest.mark.parametrize("writer", ["moved", "other"])
async def test_another_address_in_mid_transfer(writer: str) -> None:
    async with open_ends(2) as (one, other):
        with relay_to(other.endpoint.address) as relay:
            moved = seen(other)
            one.peers.connect(other.key, [relay.address], one.endpoint.clock())
            one.endpoint.touch()
            await one.happened(PresenceUp)
            mine, theirs = await one.channel(other)
            source, sink = (mine, theirs) if writer == "moved" else (theirs, mine)
            transfer = Transfer(lambda: has_moved(moved))
            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(transfer.write, source)
                    tasks.start_soon(transfer.read, sink)
                    await transfer.under_way.wait()
                    relay.move()
            assert relay.moves == 1


async def test_bulk_alone_tells_that_its_writer_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """No datagram of messages comes from the new address: nothing looks into silences here."""
    monkeypatch.setattr("transport.endpoint.LOOK_S", 3600.0)
    quiet = TransportConfig(slow_probe_s=3600.0)
    async with open_ends(2, quiet) as (one, other):
        with relay_to(other.endpoint.address) as relay:
            moved = seen(other)
            one.peers.connect(other.key, [relay.address], one.endpoint.clock())
            one.endpoint.touch()
            await one.happened(PresenceUp)
            mine, theirs = await one.channel(other)
            transfer = Transfer(lambda: has_moved(moved))
            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(transfer.write, mine)
                    tasks.start_soon(transfer.read, theirs)
                    await transfer.under_way.wait()
                    relay.move()
