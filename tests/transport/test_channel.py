"""Channels between two endpoints on real sockets, on both backends."""

import os
from array import array
from hashlib import blake2b
from random import Random

import anyio
import anyio.lowlevel
import pytest

from tests.support.network.endpoints import End, everything, exactly, open_ends, open_pair
from tests.support.waiting import PATIENCE_S, cancelled_in, until
from transport.channel import Channel, ChannelBroken
from transport.core.errors import LocalError

pytestmark = pytest.mark.anyio
MIB = 1 << 20


async def give(channel: Channel, data: bytes, *, eof: bool = True) -> None:
    await channel.send(data)
    if eof:
        await channel.send_eof()


async def test_both_sides_open_and_both_write_first() -> None:
    async with open_pair() as (one, other):
        for opener, accepter in ((one, other), (other, one)):
            mine = await opener.endpoint.open_channel(accepter.key)
            await mine.send(b"from the opener")
            theirs = await accepter.accept()
            assert theirs.peer == opener.key
            await theirs.send(b"from the accepter")
            assert await exactly(theirs, 15) == b"from the opener"
            assert await exactly(mine, 17) == b"from the accepter"


async def test_the_accepter_may_write_before_it_has_read_anything() -> None:
    async with open_pair() as (one, other):
        mine = await one.endpoint.open_channel(other.key)  # Says nothing at all.
        theirs = await other.accept()
        await give(theirs, b"welcome")
        assert await everything(mine) == b"welcome"


async def test_megabytes_both_ways_at_once() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        data = {mine: os.urandom(6 * MIB), theirs: os.urandom(6 * MIB)}
        got: dict[Channel, bytes] = {}

        async def take(channel: Channel) -> None:
            got[channel] = await everything(channel)

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for channel in (mine, theirs):
                    tasks.start_soon(take, channel)
                    tasks.start_soon(give, channel, data[channel])
        assert got == {mine: data[theirs], theirs: data[mine]}


async def test_half_close_leaves_the_other_direction_open() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        await mine.send_eof()
        assert await theirs.receive() == b""
        assert await theirs.receive() == b""  # The end stays the end.
        for number in range(3):
            await theirs.send(b"still here %d" % number)
            assert await exactly(mine, 12) == b"still here %d" % number
        with pytest.raises(ChannelBroken):
            await mine.send(b"more")
        await theirs.send_eof()
        assert await mine.receive() == b""


async def test_a_slow_reader_holds_the_writer_and_memory_is_bounded() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        pump = other.endpoint._pump
        bound = pump.config.receive_buffer + pump.config.send_buffer + pump.config.send_window
        sent, finished = 0, False
        total = bound + 8 * MIB
        digest, piece = blake2b(), os.urandom(MIB)

        async def write() -> None:
            nonlocal sent, finished
            while sent < total:
                await mine.send(piece)
                sent += len(piece)
            await mine.send_eof()
            finished = True

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                full = pump.config.receive_buffer - MIB
                await until(lambda: other.counters()["buffered"] > full)
                assert not finished
                assert sent <= bound
                held = other.counters()
                assert held["buffered"] <= pump.config.receive_buffer
                assert held["buffered_max"] <= pump.config.receive_budget
                size = 0
                while data := await theirs.receive():
                    digest.update(data)
                    size += len(data)
        assert finished
        assert size == total
        assert digest.digest() == blake2b(piece * (total // MIB)).digest()
        assert other.counters()["buffered"] == 0
        assert other.counters()["buffered_max"] <= pump.config.receive_buffer


async def test_cancelled_in_receive_nothing_is_lost() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        await cancelled_in(theirs.receive)
        await mine.send(b"late")
        assert await exactly(theirs, 4) == b"late"


async def test_cancelled_receives_under_load_keep_the_stream_whole() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        data, draw = os.urandom(3 * MIB), Random(3)
        got = b""

        async def cancel(scope: anyio.CancelScope) -> None:
            for _ in range(draw.randrange(6)):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give, mine, data)
                ended = False
                while not ended:
                    piece = None
                    with anyio.CancelScope() as scope:
                        tasks.start_soon(cancel, scope)
                        piece = await theirs.receive(10_000)
                    if piece is not None:
                        got += piece
                        ended = not piece
        assert got == data


async def test_cancelled_in_send_the_channel_stays_usable() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        pump = one.endpoint._pump
        more = pump.config.receive_buffer + pump.config.send_buffer + pump.config.send_window
        async with anyio.create_task_group() as sending:
            sending.start_soon(mine.send, bytes(more + MIB))
            await until(lambda: other.counters()["buffered"] > pump.config.receive_buffer // 2)
            sending.cancel_scope.cancel()
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give, mine, b"after")
                data = await everything(theirs)
        assert data.endswith(b"\0after")
        assert len(data) <= more + 5


async def test_a_cancelled_task_stops_although_it_never_waits() -> None:
    """Reading what is there and writing what fits take no waiting: they still are checkpoints."""
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        await mine.send(b"x" * 1000)
        await until(lambda: other.counters()["buffered"] == 1000)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await theirs.receive(1)
        assert scope.cancelled_caught
        with anyio.CancelScope() as scope:
            scope.cancel()
            await theirs.send(b"y")
        assert scope.cancelled_caught


async def test_closing_delivers_what_was_sent_and_ends_both_directions() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        data = os.urandom(MIB)
        await mine.send(data)
        await mine.aclose()
        await mine.aclose()
        with anyio.fail_after(PATIENCE_S):
            assert await everything(theirs) == data
        with pytest.raises(LocalError, match="closed on this side"):
            await mine.send(b"x")
        with pytest.raises(LocalError, match="closed on this side"):
            await mine.receive()


async def test_what_is_given_up_breaks_for_the_peer() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        await mine.send(b"half")
        with anyio.fail_after(PATIENCE_S):
            assert await exactly(theirs, 4) == b"half"
        mine.abort()
        mine.abort()
        await mine.aclose()
        with anyio.fail_after(PATIENCE_S), pytest.raises(ChannelBroken, match="gave it up"):
            await theirs.receive()
        with pytest.raises(LocalError, match="closed on this side"):
            await mine.send(b"x")


async def test_what_a_closed_endpoint_has_not_ended_breaks_for_the_peer() -> None:
    async with open_ends(1) as (other,):
        async with open_ends(1) as (one,):
            await one.meet(other)
            mine, theirs = await one.channel(other)
            await mine.send(b"half")
            with anyio.fail_after(PATIENCE_S):
                assert await exactly(theirs, 4) == b"half"
        with anyio.fail_after(PATIENCE_S), pytest.raises(ChannelBroken, match="gave it up"):
            await theirs.receive()


async def test_closing_wakes_whoever_waits() -> None:
    async with open_pair() as (one, other):
        mine, _ = await one.channel(other)
        raised = []

        async def wait() -> None:
            try:
                await mine.receive()
            except LocalError as error:
                raised.append(str(error))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await mine.aclose()
        assert raised == ["the channel is closed on this side"]


async def test_a_closed_endpoint_fails_its_channels() -> None:
    async with open_pair() as (one, other):
        mine, _ = await one.channel(other)
        kept = mine
    with pytest.raises(ChannelBroken, match="endpoint is closed"):
        await kept.send(b"x")
    with pytest.raises(ChannelBroken, match="endpoint is closed"):
        await kept.receive()


async def test_buffers_of_larger_items_arrive_whole() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        numbers = array("I", range(100_000))
        table = memoryview(bytes(range(24))).cast("B", (4, 6))
        await mine.send(numbers)  # type: ignore[arg-type]
        await mine.send(table)  # type: ignore[arg-type]
        await mine.send(bytearray())  # type: ignore[arg-type]
        await mine.send_eof()
        assert await everything(theirs) == numbers.tobytes() + bytes(range(24))


async def test_what_cannot_be_sent_or_received_is_refused() -> None:
    async with open_pair() as (one, other):
        mine, theirs = await one.channel(other)
        with pytest.raises(LocalError, match="contiguous"):
            await mine.send(memoryview(bytes(10))[::2])  # type: ignore[arg-type]
        await mine.send(b"there")
        for size in (0, -1):
            with pytest.raises(LocalError, match="at least 1 byte"):
                await theirs.receive(size)
        assert await exactly(theirs, 5) == b"there"


async def test_no_channel_without_a_presence() -> None:
    async with open_pair() as (one, _):
        with pytest.raises(LocalError, match="no presence"):
            await one.endpoint.open_channel(bytes(32))


async def test_many_channels_at_once() -> None:
    channels, size = 60, 100_000
    async with open_pair() as (one, other):
        answers: dict[int, bytes] = {}

        async def serve(channel: Channel) -> None:
            data = await everything(channel)
            await give(channel, blake2b(data, digest_size=32).digest())

        async def use(number: int, opener: End, accepter: End) -> None:
            channel = await opener.endpoint.open_channel(accepter.key)
            await give(channel, bytes([number]) * size)
            answers[number] = await everything(channel)
            await channel.aclose()

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for number in range(channels):
                    pair = (one, other) if number % 2 else (other, one)
                    tasks.start_soon(use, number, *pair)
                async with anyio.create_task_group() as servers:
                    for number in range(channels):
                        accepter = other if number % 2 else one
                        servers.start_soon(serve, await accepter.accept())
        assert answers == {
            number: blake2b(bytes([number]) * size, digest_size=32).digest()
            for number in range(channels)
        }


async def test_channels_beyond_the_peers_bound_wait_and_then_open() -> None:
    async with open_pair() as (one, other):
        bound = other.endpoint._pump.config.incoming_max
        opened = [await one.endpoint.open_channel(other.key) for _ in range(bound + 1)]
        for number, channel in enumerate(opened):
            await channel.send(bytes([number]))
        accepted = {}
        for _ in range(bound):
            channel = await other.accept()
            accepted[(await exactly(channel, 1))[0]] = channel
        assert other.counters()["channels"] == bound
        assert other.counters()["refused_channels"] >= 1
        (waiting,) = set(range(bound + 1)) - set(accepted)
        for number, channel in accepted.items():
            for side in (channel, opened[number]):
                await side.send_eof()
            for side in (channel, opened[number]):
                assert await everything(side) == b""
                await side.aclose()
        last = await other.accept()
        assert await exactly(last, 1) == bytes([waiting])
