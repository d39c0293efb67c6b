"""The endpoint: a socket, a pump, and whatever machine it is given."""

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from tests.support.network.endpoints import open_ends, open_pair
from tests.support.waiting import PATIENCE_S, until
from transport.channel import Channel
from transport.core.errors import LocalError
from transport.core.events import ConnectFailed, EntriesReceived, PresenceUp
from transport.core.types import Address, Transmit
from transport.endpoint import ROUNDS_PER_FLUSH, Endpoint
from transport.udp_socket import bind

pytestmark = pytest.mark.anyio


class Echo:
    """A machine that sends back what it gets and tells of each datagram."""

    def __init__(self, events_at_once: int = 1) -> None:
        self.out: list[Transmit] = []
        self.events: list[object] = []
        self.timeouts = 0
        self.timed_out = anyio.Event()
        self.due: float | None = None
        self._events_at_once = events_at_once

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> bool:
        for data, address in batch:
            self.events += [data] * self._events_at_once
            if data != b"stop":
                self.out.append(Transmit(data, address))
        return False

    def handle_timeout(self, now: float) -> None:
        self.timeouts += 1
        self.timed_out.set()
        self.due = None

    def poll_transmits(self) -> list[Transmit]:
        out, self.out = self.out, []
        return out

    def prepare(self) -> None:
        """There is nothing to be done ahead."""

    def poll_events(self) -> list[object]:
        events, self.events = self.events, []
        return events

    def next_timeout(self) -> float | None:
        return self.due

    def keep(self, peer: bytes, wanted: bool) -> None:
        raise AssertionError("no channels here")

    def bulk_passed(self, peer: bytes, size: int, now: float) -> None:
        raise AssertionError("no channels here")

    def bulk_heard(self, peer: bytes, address: Address, size: int, now: float) -> None:
        raise AssertionError("no channels here")

    def probe(self, peer: bytes, now: float) -> None:
        raise AssertionError("no channels here")


def no_channel(peer: bytes, channel: Channel) -> None:
    raise AssertionError("no channels here")


async def test_any_machine_is_driven() -> None:
    machine, got = Echo(), anyio.Event()
    seen: list[object] = []

    def take(event: object) -> None:
        seen.append(event)
        if event == b"stop":
            got.set()

    endpoint = Endpoint(machine, b"", bind("127.0.0.1:0"), on_event=take, on_channel=no_channel)
    with endpoint.opened():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endpoint.run)
            async with await anyio.create_udp_socket(local_host="127.0.0.1") as udp:
                for number in range(200):
                    await udp.sendto(b"%d" % number, *endpoint.address)
                    assert (await udp.receive())[0] == b"%d" % number
                machine.due = endpoint.clock() + 0.02
                endpoint.touch()
                with anyio.fail_after(PATIENCE_S):
                    await machine.timed_out.wait()
                await udp.sendto(b"stop", *endpoint.address)
                with anyio.fail_after(PATIENCE_S):
                    await got.wait()
            tasks.cancel_scope.cancel()
    assert machine.timeouts == 1
    assert seen == [b"%d" % number for number in range(200)] + [b"stop"]
    endpoint.touch()  # After its end: nothing, and no error.
    endpoint.flush()


async def test_events_that_cause_events_do_not_hold_the_loop() -> None:
    """A handler that asks for something at every event is given its turn, not the whole loop."""
    machine = Echo()
    handled = 0

    def take(event: object) -> None:
        nonlocal handled
        handled += 1
        if handled < 20 * ROUNDS_PER_FLUSH:
            machine.events.append(event)

    endpoint = Endpoint(machine, b"", bind("127.0.0.1:0"), on_event=take, on_channel=no_channel)
    with endpoint.opened():
        machine.events.append("first")
        endpoint.flush()
        assert handled <= ROUNDS_PER_FLUSH


async def test_what_is_to_leave_together_waits_for_the_turns_end() -> None:
    """The first thing asked for is carried out at once, unless it is to leave with the others."""
    machine = Echo()
    endpoint = Endpoint(
        machine, b"", bind("127.0.0.1:0"), on_event=lambda event: None, on_channel=no_channel
    )
    with endpoint.opened():
        for together in (False, True):
            for number in range(3):
                machine.out.append(Transmit(b"%d" % number, ("127.0.0.1", 9)))
                endpoint.touch(together=together)
            assert len(machine.out) == (3 if together else 2)
            with anyio.fail_after(PATIENCE_S):
                for _ in range(10):  # On trio the end of a turn is another turn.
                    await anyio.lowlevel.checkpoint()
            assert not machine.out


async def test_what_is_asked_for_after_a_wake_up_leaves_at_once() -> None:
    """The socket ends a turn: no callback does, which would cost the loop a round of its own."""
    machine = Echo()
    endpoint = Endpoint(
        machine, b"", bind("127.0.0.1:0"), on_event=lambda event: None, on_channel=no_channel
    )

    def leaves_at_once() -> bool:
        machine.out.append(Transmit(b"asked", ("127.0.0.1", 9)))
        endpoint.touch()
        return not machine.out

    async with anyio.create_task_group() as tasks:
        with bind("127.0.0.1:0") as peer, endpoint.opened(), anyio.fail_after(PATIENCE_S):
            tasks.start_soon(endpoint.run)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                assert leaves_at_once()
                peer.sendto(b"stop", endpoint.address)
                while endpoint._in_turn:
                    await anyio.lowlevel.checkpoint()
            assert leaves_at_once()
            assert not leaves_at_once()
            while machine.out:
                await anyio.lowlevel.checkpoint()
            assert leaves_at_once()
            tasks.cancel_scope.cancel()


async def test_entries_and_presences_over_real_sockets() -> None:
    async with open_pair() as (one, other):
        for number in range(300):
            one.peers.send(other.key, 9, b"%d" % number, one.endpoint.clock())
            one.endpoint.touch()

        def got() -> list[tuple[int, bytes]]:
            received = [event for event in other.events if isinstance(event, EntriesReceived)]
            return [entry for event in received for entry in event.entries]

        await until(lambda: len(got()) >= 300)
        assert got() == [(9, b"%d" % number) for number in range(300)]
        (up,) = [event for event in one.events if isinstance(event, PresenceUp)]
        assert up.peer == other.key
        assert up.address == other.endpoint.address


async def test_nobody_there_is_an_event() -> None:
    async with open_ends(2) as (one, other):
        one.peers.connect(other.key, [("127.0.0.1", 9)], one.endpoint.clock(), 0.3)
        one.endpoint.touch()
        failed = await one.happened(ConnectFailed)
        assert isinstance(failed, ConnectFailed)
        assert failed.peer == other.key


@pytest.mark.parametrize("listen", ["[::1]:0", "127.0.0.1:0", "0.0.0.0:0"])
async def test_where_it_listens(listen: str) -> None:
    with bind(listen) as sock:
        host, port = sock.getsockname()[:2]
        assert host == listen.rpartition(":")[0].strip("[]")
        assert port > 0


@pytest.mark.parametrize("listen", ["", "x", "127.0.0.1:", ":x", "127.0.0.1:70000", "1.2.3.4:-1"])
async def test_what_is_no_address_is_said(listen: str) -> None:
    with pytest.raises(LocalError, match="listen on"):
        bind(listen)
