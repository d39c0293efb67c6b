"""Staying awake for the next datagram: when, for how long, and for whom not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import anyio
import pytest

from consensus import NodeConfig
from tests.support.network.endpoints import End
from tests.support.pair.handshake import flip
from tests.support.waiting import PATIENCE_S, turns
from transport.busy_poll import FIRST_S, LIMIT_S, PENALTY, PENALTY_MAX, BusyPoll
from transport.core.config import TransportConfig
from transport.core.constants import CID_SIZE
from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError
from transport.core.events import EntriesReceived
from transport.core.peers import Peers
from transport.core.types import Address, Transmit
from transport.event_loop import Waiter
from transport.udp_socket import bind
from utp_native.attend import attend

HERE: Address = ("192.0.2.1", 1)
THERE: Address = ("192.0.2.2", 2)
ELSEWHERE: Address = ("198.51.100.9", 9)


class HandLoop:
    """A loop whose clock and turns are the test's."""

    cheap_turns = True

    def __init__(self) -> None:
        self.now = 100.0
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for callback in soon:
            callback()

    def call_at(self, when: float | None, callback: Callable[[], None]) -> None:
        raise AssertionError("no timers here")

    def waiter(self) -> Waiter:
        raise AssertionError("nobody waits here")

    async def run(self, fd: int, readable: Callable[[], None]) -> None:
        raise AssertionError("nothing runs here")


class Rig:
    """A busy poll at a real socket, under a loop that the test turns by hand."""

    def __init__(self) -> None:
        self.loop = HandLoop()
        self.sock = bind("127.0.0.1:0")
        self.read = 0
        self.busy_poll = BusyPoll(self.loop, self.sock.fileno(), self._readable)

    def _readable(self) -> None:
        self.sock.recv(100)
        self.read += 1

    def after(self, seconds: float) -> float:
        """A peer is heard so long after the endpoint rested; what the moment is then."""
        self.busy_poll.rest()
        self.loop.now += seconds
        self.busy_poll.heard(self.loop.now)
        return self.busy_poll.moment_s


@pytest.fixture
def rig() -> Iterator[Rig]:
    one = Rig()
    yield one
    one.sock.close()


@pytest.fixture
def unrobbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else has the processor while an endpoint looks, whoever is on this machine."""
    monkeypatch.setattr(
        "transport.busy_poll.attend", lambda fd, slice_us: max(0, attend(fd, slice_us))
    )


def test_the_moment_grows_while_datagrams_come_soon(rig: Rig) -> None:
    found = [rig.after(LIMIT_S * 0.9) for _ in range(6)]
    assert found == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, LIMIT_S, LIMIT_S]


def test_the_moment_does_not_grow_beyond_its_use(rig: Rig) -> None:
    assert rig.after(FIRST_S / 2) == FIRST_S
    for _ in range(5):
        assert rig.after(FIRST_S / 2) == FIRST_S


def test_a_late_datagram_ends_it(rig: Rig) -> None:
    for _ in range(6):
        rig.after(LIMIT_S * 0.9)
    assert rig.after(LIMIT_S * 1.1) == 0.0
    rig.busy_poll.rest()
    rig.loop.turn()  # the turn asked for before
    assert not rig.loop.soon
    assert rig.after(LIMIT_S * 0.9) == FIRST_S


@pytest.mark.usefixtures("unrobbed")
def test_it_looks_until_the_moment_is_over_and_no_longer(rig: Rig) -> None:
    rig.after(FIRST_S)
    rig.busy_poll.rest()
    assert len(rig.loop.soon) == 1
    rig.loop.turn()
    rig.busy_poll.rest()  # one chain of turns is enough
    rig.loop.turn()
    assert len(rig.loop.soon) == 1
    rig.sock.sendto(b"to itself", rig.sock.getsockname())
    rig.loop.turn()
    assert rig.read == 1
    rig.loop.now += FIRST_S
    rig.loop.turn()
    assert not rig.loop.soon
    rig.sock.sendto(b"to itself", rig.sock.getsockname())
    rig.loop.turn()
    assert rig.read == 1


def test_a_closed_socket_is_not_looked_into(rig: Rig) -> None:
    rig.after(FIRST_S)
    rig.busy_poll.rest()
    rig.sock.sendto(b"to itself", rig.sock.getsockname())
    rig.busy_poll.close()
    rig.loop.turn()
    assert not rig.loop.soon
    assert not rig.read
    for _ in range(3):
        assert rig.after(FIRST_S) == 0.0


@pytest.mark.parametrize("limit_s", [-1e-6, float("nan"), float("inf")])
def test_a_limit_is_not_negative(rig: Rig, limit_s: float) -> None:
    with pytest.raises(LocalError):
        BusyPoll(rig.loop, rig.sock.fileno(), rig._readable, limit_s)


def test_nobody_attends_where_turns_are_dear() -> None:
    rig = Rig()
    rig.loop.cheap_turns = False
    busy_poll = BusyPoll(rig.loop, rig.sock.fileno(), rig._readable)
    for _ in range(5):
        busy_poll.rest()
        busy_poll.heard(rig.loop.now)
    assert busy_poll.moment_s == 0.0
    rig.sock.close()


def test_whoever_is_robbed_sleeps_and_comes_back_ever_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deaf for so many datagrams after each time; what goes well makes up for it again."""

    def rob() -> int:
        """How many datagrams pass until it attends again, once another had the processor."""
        rig.after(FIRST_S)
        monkeypatch.setattr("transport.busy_poll.attend", lambda fd, slice_us: -1)
        rig.busy_poll.rest()
        rig.loop.turn()
        monkeypatch.undo()
        assert rig.busy_poll.moment_s == 0.0
        assert not rig.loop.soon
        count = 0
        while rig.after(FIRST_S / 2) == 0.0:
            count += 1
        return count

    assert [rob() for _ in range(9)] == [min(PENALTY << number, PENALTY_MAX) for number in range(9)]
    for _ in range(3 * PENALTY_MAX):
        assert rig.after(FIRST_S / 2) == FIRST_S
    assert rob() == PENALTY


# --- the look itself ------------------------------------------------------------------------------


def test_a_look_finds_what_is_there() -> None:
    with bind("127.0.0.1:0") as sock:
        assert attend(sock.fileno(), 0) in (0, -1)
        sock.sendto(b"to itself", sock.getsockname())
        assert attend(sock.fileno(), 0) == 1


@contextmanager
def on_one_processor() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_look_ends_when_another_wants_the_processor() -> None:
    busy = "print(flush=True)\nwhile True: pass"
    with bind("127.0.0.1:0") as sock, on_one_processor():
        assert attend(sock.fileno(), 1000) in (0, -1)
        with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as other:
            try:
                assert other.stdout is not None
                other.stdout.readline()
                assert attend(sock.fileno(), round(1e6 * PATIENCE_S)) == -1
            finally:
                other.kill()


# --- who counts -----------------------------------------------------------------------------------


def _table(number: int) -> Peers:
    return Peers(Identity.generate(os.urandom), TransportConfig(), os.urandom, 0.0, number)


def test_only_peers_count() -> None:
    """Strangers, replays and damaged datagrams do not; answers to an attempt and entries do."""
    one, other = _table(1), _table(2)

    def deliver(to: Peers, sent: list[Transmit], source: Address) -> list[bool]:
        return [to.receive_datagrams([(each.data, source)], 1.0) for each in sent]

    def forged(sent: list[Transmit], *bits: int) -> list[Transmit]:
        return [Transmit(flip(each.data, bit), each.address) for each in sent for bit in bits]

    one.connect(other._context.identity.key, [THERE], 1.0)
    hello = one.poll_transmits()
    assert deliver(other, hello, HERE) == [False]
    challenge = other.poll_transmits()
    # What bears the echo of P1 and no signature of the peer's; a P2 that was taken already.
    transient = 8 * challenge[0].data.index(other._responder._transients.current.pair.public)
    assert deliver(one, forged(challenge, transient, transient + 255), ELSEWHERE) == [False] * 2
    assert deliver(one, [Transmit(challenge[0].data[:12], THERE)], ELSEWHERE) == [False]
    assert deliver(one, challenge, THERE) == [True]
    assert deliver(one, challenge, THERE) == [False]
    initiate = one.poll_transmits()
    assert deliver(other, forged(initiate, -1), HERE) == [False]
    assert deliver(other, initiate, HERE) == [True]
    assert deliver(other, initiate, HERE) == [False]
    accept = other.poll_transmits()
    assert deliver(one, forged(accept, -1), THERE) == [False] * len(accept)
    assert deliver(one, accept[:1], THERE) == [True]
    assert deliver(one, accept, THERE) == [False] * len(accept)
    one.send(other._context.identity.key, 7, b"entry", 1.0)
    entries = one.poll_transmits()
    assert deliver(other, entries, HERE) == [True] * len(entries)
    assert any(isinstance(event, EntriesReceived) for event in other.poll_events())
    other.poll_transmits()
    known = entries[0].data
    zeroed = known[:CID_SIZE] + bytes(len(known) - CID_SIZE)
    hostile = (known, zeroed, known[:-1], bytes(100), hello[0].data)
    # Also while there is something else to be done for a peer.
    for keep in (False, True):
        other.keep(Identity.generate(os.urandom).key, keep)
        assert deliver(other, [Transmit(data, HERE) for data in hostile], HERE) == [False] * 5


class Sleeps:
    """How often an event loop has gone to sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        select = selector.select
        self.count = 0

        def counted(timeout: float | None = None) -> object:
            self.count += timeout is None or timeout > 0
            return select(timeout)

        monkeypatch.setattr(selector, "select", counted)


async def exchange(one: End, other: End) -> None:
    """An entry each way."""
    for sender, receiver in ((one, other), (other, one)):
        sender.peers.send(receiver.key, 7, b"entry", sender.endpoint.clock())
        sender.endpoint.touch()
        await receiver.happened(EntriesReceived)
        receiver.events.clear()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
@pytest.mark.usefixtures("unrobbed")
async def test_an_exchange_without_sleep(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> None:
    """With a moment that no machine is too slow for: while peers talk nobody sleeps, and what
    strangers send wakes nobody for longer than it takes."""
    ends = [End(attention_s=PATIENCE_S) for _ in range(2)]
    one, other = ends
    count = 20
    async with anyio.create_task_group() as tasks:
        with ExitStack() as stack, anyio.fail_after(PATIENCE_S):
            for end in ends:
                stack.enter_context(end.endpoint.opened())
                tasks.start_soon(end.endpoint.run)
            stranger = stack.enter_context(bind("127.0.0.1:0"))
            for number in range(count):
                stranger.sendto(b"%d" % number, other.endpoint.address)
                await turns()
            assert other.endpoint._busy_poll.moment_s == 0.0
            await one.meet(other)
            for _ in range(count):
                await exchange(one, other)
            for end in ends:
                assert end.endpoint._busy_poll.moment_s > 0.0
                end.endpoint._busy_poll.moment_s = PATIENCE_S
            await exchange(one, other)
            sleeps = Sleeps(monkeypatch)
            for _ in range(count):
                await exchange(one, other)
            assert sleeps.count == 0
            tasks.cancel_scope.cancel()


class BrokenHandlerError(Exception):
    """A fault while a datagram is dealt with."""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
@pytest.mark.usefixtures("unrobbed")
@pytest.mark.parametrize("faulty", [False, True])
async def test_an_endpoint_that_has_ended_looks_no_more(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: str, faulty: bool
) -> None:
    """Whether it was cancelled or there was a fault: nothing is read, though peers go on and its
    socket is open still."""
    one, other = End(), End(attention_s=PATIENCE_S)
    handled = 0

    def handle(event: object) -> None:
        nonlocal handled
        handled += 1
        if faulty:
            raise BrokenHandlerError

    ended = anyio.Event()
    scope = anyio.CancelScope()

    async def run() -> None:
        with scope, suppress(BrokenHandlerError):
            await other.endpoint.run()
        ended.set()

    async with anyio.create_task_group() as tasks:
        with ExitStack() as stack, anyio.fail_after(PATIENCE_S):
            for end in (one, other):
                stack.enter_context(end.endpoint.opened())
            tasks.start_soon(one.endpoint.run)
            tasks.start_soon(run)
            await one.meet(other)
            for _ in range(5):
                await exchange(one, other)
            busy_poll = other.endpoint._busy_poll
            busy_poll.moment_s = PATIENCE_S
            busy_poll.rest()
            monkeypatch.setattr(other.endpoint, "_on_event", handle)
            if not faulty:
                scope.cancel()
            while not ended.is_set():
                one.peers.send(other.key, 7, b"entry", one.endpoint.clock())
                one.endpoint.touch()
                await turns()
            before = handled
            for _ in range(20):
                one.peers.send(other.key, 7, b"entry", one.endpoint.clock())
                one.endpoint.touch()
                await turns()
            tasks.cancel_scope.cancel()
    assert handled == before
    assert before == faulty or not faulty


@pytest.mark.parametrize("attention_s", [-1e-6, float("nan"), float("inf")])
def test_a_node_is_not_configured_with_nonsense(attention_s: float) -> None:
    with pytest.raises(LocalError):
        NodeConfig(attention_s=attention_s)
