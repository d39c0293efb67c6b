"""Channels whose presence changes beneath them: it idles, moves, gets new keys, or vanishes."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from hashlib import blake2b

import anyio
import pytest
from anyio.to_thread import run_sync

from consensus import NodeConfig
from tests.support.network.endpoints import End, exactly, open_ends, open_pair
from tests.support.network.relay import relay_to
from tests.support.nodes.nodes import PATIENCE_S
from transport.channel import Channel, ChannelBroken
from transport.core.config import TransportConfig
from transport.core.events import BulkPlane, PathMoved, PresenceDown, PresenceUp
from transport.endpoint import config_here
from utp_native import SUITE_AEGIS256, SUITE_XCHACHA20
from utp_native.native import has_aes

pytestmark = pytest.mark.anyio
QUICK = TransportConfig(slow_probe_s=0.2, suspicion_s=0.3, silence_max_s=0.5, idle_timeout_s=3600.0)
BUSY_S = 15.0
"""How late a busy machine may be. Half of what the bound is by default."""


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


async def test_an_open_channel_keeps_the_presence_and_a_closed_one_does_not() -> None:
    async with open_pair(TransportConfig(idle_timeout_s=0.3)) as (one, other):
        mine, theirs = await one.channel(other)
        await anyio.sleep(1.0)
        await mine.send(b"still")
        assert await exactly(theirs, 5) == b"still"
        await mine.aclose()
        await theirs.aclose()
        await one.happened(PresenceDown)
        await other.happened(PresenceDown)


@pytest.mark.parametrize("waits_for", ["receive", "send"])
async def test_a_peer_that_is_killed_breaks_the_channel(waits_for: str) -> None:
    """Within slow_probe_s + suspicion_s + silence_max_s, which are short here."""
    command = [sys.executable, "-m", "tests.support.network.vanishing"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: ASYNC220
        try:
            assert child.stdout is not None
            key, port = (await run_sync(child.stdout.readline)).split()
            async with open_ends(1, QUICK) as (end,):
                peer = bytes.fromhex(key)
                end.peers.connect(peer, [("127.0.0.1", int(port))], end.endpoint.clock())
                end.endpoint.touch()
                await end.happened(PresenceUp)
                channel = await end.endpoint.open_channel(peer)
                await channel.send(b"x")
                assert await run_sync(child.stdout.readline) == "accepted\n"
                killed = end.endpoint.clock()
                child.send_signal(signal.SIGKILL)
                wait = channel.receive if waits_for == "receive" else partial(flood, channel)
                with anyio.fail_after(PATIENCE_S), pytest.raises(ChannelBroken, match="presence"):
                    await wait()
                bound_s = QUICK.slow_probe_s + QUICK.suspicion_s + QUICK.silence_max_s
                assert end.endpoint.clock() - killed < bound_s + BUSY_S
                with pytest.raises(ChannelBroken):
                    await channel.receive()
                await channel.aclose()
        finally:
            child.kill()


async def flood(channel: Channel) -> None:
    while True:
        await channel.send(bytes(1 << 20))


class Transfer:
    """Bytes on their way at a steady pace, and how long the reader ever waited."""

    def __init__(self, pieces: int, pause_s: float) -> None:
        self.pieces, self.pause_s = pieces, pause_s
        self.piece = os.urandom(16_384)
        self.sent = 0
        self.under_way = anyio.Event()
        self.longest_wait_s = 0.0

    async def write(self, channel: Channel) -> None:
        for _ in range(self.pieces):
            await channel.send(self.piece)
            await anyio.sleep(self.pause_s)
            self.sent += 1
            if self.sent == self.pieces // 5:
                self.under_way.set()
        await channel.send_eof()

    async def read(self, channel: Channel) -> None:
        digest, last = blake2b(), time.monotonic()
        while data := await channel.receive():
            now = time.monotonic()
            self.longest_wait_s, last = max(self.longest_wait_s, now - last), now
            digest.update(data)
        assert digest.digest() == blake2b(self.piece * self.pieces).digest()


async def test_new_keys_in_mid_transfer() -> None:
    async with open_pair(TransportConfig(rekey_s=0.4)) as (one, other):
        epochs = seen(one), seen(other)
        mine, theirs = await one.channel(other)
        transfer = Transfer(150, 0.01)
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(transfer.write, mine)
                tasks.start_soon(transfer.read, theirs)
        for events in epochs:
            planes = [event for event in events if isinstance(event, BulkPlane)]
            assert len(planes) >= 2
            assert len({plane.plane.send_key for plane in planes}) == len(planes)


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
            transfer = Transfer(150, 0.01)
            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(transfer.write, source)
                    tasks.start_soon(transfer.read, sink)
                    await transfer.under_way.wait()
                    relay.move()
            assert any(isinstance(event, PathMoved) for event in moved)
            assert relay.moves == 1
            print(f"the reader waited {transfer.longest_wait_s:.3f} s at most")


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
            transfer = Transfer(60, 0.01)
            with anyio.fail_after(PATIENCE_S):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(transfer.write, mine)
                    tasks.start_soon(transfer.read, theirs)
                    await transfer.under_way.wait()
                    relay.move()
            assert any(isinstance(event, PathMoved) for event in moved)
