"""One UDP socket, its native pump and the machine they drive.

The endpoint decides nothing. It takes datagrams from the pump in batches, gives them to the
machine, carries out what the machine says, and sleeps until the socket or a timeout wakes it.
"""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup

from transport import event_loop
from transport.busy_poll import LIMIT_S, BusyPoll
from transport.channel import Channel
from transport.channel_table import ChannelTable
from transport.core.config import TransportConfig
from transport.core.errors import LocalError
from transport.core.events import BulkClosed, BulkPlane, PathMoved, PresenceDown, PresenceUp
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.types import Address
from transport.forks import let_go_in_children
from transport.machine_protocol import Machine
from transport.surroundings import current

DATAGRAMS_PER_WAKE = 64
LOOK_S = 0.2
"""How often what the channels have moved is told to the machine."""
_OWN = frozenset((BulkPlane, PathMoved, BulkClosed, PresenceUp, PresenceDown))
"""Events that say something to the endpoint."""
ROUNDS_PER_FLUSH = 64  # a handler that answers every event with an action must not hold the loop


def config_here() -> TransportConfig:
    """The defaults on this machine: it offers AEGIS-256 if it has the instructions for it."""
    return TransportConfig(handshake=HandshakeConfig(aegis=current().has_aes()))


class EndpointClosed(LocalError):
    """The endpoint's socket is closed."""


class Endpoint:
    """Drives `machine` over `sock`. Use inside `opened()`, with `run()` in a task.

    `on_event` gets every event that is not the endpoint's own; `on_channel` gets channels that a
    peer opened, as `(peer, channel)`. Both are called from the event loop and must not block.
    """

    def __init__(
        self,
        machine: Machine,
        own_key: bytes,
        sock: socket.socket,
        *,
        on_event: Callable[[object], None],
        on_channel: Callable[[bytes, Channel], None],
        busy_poll_s: float = LIMIT_S,
    ) -> None:
        self._machine = machine
        self._sock = sock
        self._sendto = sock.sendto
        self._on_event = on_event
        self._loop = event_loop.current()
        self._time = self._loop.time
        here = current()
        self._pump = here.pump(sock.fileno(), random=here.random, now=self._loop.time())
        self._channels = ChannelTable(
            own_key, self._pump, self.touch, self._bulk_touched, self._keep, on_channel
        )
        self._busy_poll = BusyPoll(self._loop, sock.fileno(), self._readable, busy_poll_s)
        self._look_at: float | None = None
        """When to tell the machine what the channels have moved."""
        self._batch: Sequence[tuple[bytes, Address]] = ()
        """What the machine was given last."""
        self._early: list[tuple[bytes, Address]] = []
        """What of it belongs to a plane that began with it."""
        self._told = False
        """The machine was told something since it was polled last."""
        self._heard = False
        """A peer was, since the endpoint rested last."""
        self._flush_due = False
        self._flushing = False
        self._in_turn = False
        self._failed, self._failure = anyio.Event(), cast(Exception | None, None)
        self._armed: float | None = None
        self._closed = False
        self.address: Address = sock.getsockname()[:2]
        let_go_in_children(self)

    def waiter(self) -> event_loop.Waiter:
        """Something for one task to wait for."""
        return self._loop.waiter()

    def spawn(self, tasks: TaskGroup, function: Callable[..., Any], *arguments: Any) -> None:
        """Start a task in `tasks`, also from a callback of the event loop."""
        self._loop.spawn(tasks, function, *arguments)

    @property
    def clock(self) -> Callable[[], float]:
        """The clock that the machine's `now` is read from."""
        return self._loop.time

    @contextmanager
    def opened(self) -> Iterator["Endpoint"]:
        """Closes the socket and everything on it at the end."""
        try:
            yield self
        finally:
            try:
                self.flush()
            finally:
                self._closed = True
                self._busy_poll.close()
                self._channels.close()
                self._pump.close()
                self._sock.close()

    def let_go(self) -> None:
        """In a forked child: the peers are the parent's, nothing is said to them from here."""
        self._closed = True
        self._sock.close()

    async def run(self) -> None:
        """Serve the socket until cancelled. Raises OSError when the socket breaks, and whatever
        else goes wrong while a datagram or a timeout is dealt with: an event loop would only log
        it, and the node would go on without this datagram, deaf to what it missed."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._loop.run, self._sock.fileno(), self._readable)
            self.flush()
            try:
                await self._failed.wait()
            finally:
                self._busy_poll.close()
            tasks.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def _fail(self, failure: Exception) -> None:
        if self._failure is None:
            self._failure = failure
            self._failed.set()
        self._busy_poll.close()

    def _guarded_timeout(self) -> None:
        try:
            self._timeout()
        except Exception as failure:
            self._fail(failure)

    def touch(self, *, together: bool = False) -> None:
        """Something was asked of the machine: carry it out.

        The first since the socket or a timeout woke the endpoint is carried out at once, since a
        caller waits for it, unless it is to leave `together` with the others; those follow at the
        end of the loop's turn, so that they share their datagrams.
        """
        if self._flushing or self._closed:
            return
        first = not self._in_turn
        self._in_turn = True
        if first and not together:
            # No callback ends this turn: one alone would cost the loop a round of its own.
            self._guarded_flush()
            self._busy_poll.rest()
        elif not self._flush_due:
            self._flush_soon()

    def _flush_soon(self) -> None:
        self._flush_due = True
        self._loop.call_soon(self._end_turn)

    def check_open(self) -> None:
        """Raise EndpointClosed once the endpoint is closed."""
        if self._closed:
            raise EndpointClosed("the node is closed")

    @property
    def closed(self) -> bool:
        """Nothing asked for will be carried out any more."""
        return self._closed

    def _end_turn(self) -> None:
        self._in_turn = False
        if self._flush_due:
            self._guarded_flush()
            self._busy_poll.rest()

    def _guarded_flush(self) -> None:
        try:
            self.flush()
        except Exception as failure:
            self._fail(failure)

    async def open_channel(self, peer: bytes) -> Channel:
        """A channel to `peer`, usable at once.

        Waits while a presence that the peer asked for is not confirmed, which is a round trip and
        at most `unconfirmed_s`. Raises LocalError without a presence, or with too many channels.
        """
        await self._channels.expected(peer)
        self.check_open()
        # Before the first bulk: the peer takes none until something has confirmed the presence, and
        # bulk that is refused is sent again a second later.
        self._machine.probe(peer, self._loop.time())
        self._guarded_flush()
        return self._channels.open(peer)

    def _readable(self) -> None:
        if self._closed:
            return
        self._in_turn = False
        try:
            self._receive()
            if not self._told:
                self._take_bulk()
            self._carry_out_if_told()
            self._rest()
        except Exception as failure:
            self._fail(failure)

    def _rest(self) -> None:
        """Wait for peers to go on, if one was heard."""
        if self._heard:
            self._heard = False
            self._busy_poll.rest()

    def _carry_out_if_told(self) -> None:
        """After bulk alone the machine has nothing to say."""
        if self._told:
            self.flush()
        else:
            self._arm(self._pump.next_timeout())

    def _take_bulk(self) -> None:
        """What the pump has to say of channels, and of where peers are: nothing without either a
        channel or bulk that came."""
        if not (self._channels.used or self._pump.eventful):
            return
        self._channels.dispatch()
        if self._pump.eventful:
            for peer, address, size in self._channels.heard_elsewhere():
                self._told = True
                self._machine.bulk_heard(peer, address, size, self._loop.time())

    def _bulk_touched(self) -> None:
        """A channel was written or read."""
        if not (self._flushing or self._closed):
            self._channels.dispatch()
            self._carry_out_if_told()

    def _receive(self) -> None:
        batch = self._pump.receive(self._time(), DATAGRAMS_PER_WAKE)
        if batch:
            # The clock once more: a lease granted in answer counts from when the question came,
            # and this process may have been stopped before it looked into the socket.
            self._batch = batch
            early = self._channels.claim(batch)
            if early:
                self._early += early
            self._told = True
            now = self._time()
            if self._machine.receive_datagrams(batch, now):
                self._heard = True
                self._busy_poll.heard(now)

    def _keep(self, peer: bytes, wanted: bool) -> None:
        self._told = True
        self._machine.keep(peer, wanted)
        if wanted and self._look_at is None:
            self._look_at = self._loop.time() + LOOK_S

    def _look(self, now: float) -> None:
        """Bulk does not pass through the machine: what it amounts to is told now and then."""
        for peer, size, halted in self._channels.look(now):
            self._machine.bulk_passed(peer, size, now)
            if halted:
                # Nothing may be wrong. But if the path has changed, nobody learns of it before a
                # datagram of the machine's comes from the new address.
                self._machine.probe(peer, now)
        self._look_at = now + LOOK_S if self._channels.used else None

    def _timeout(self) -> None:
        self._armed = None
        if self._closed:
            return
        self._in_turn = False
        # First what came before the time did: whoever was stopped itself would otherwise take
        # its peers for silent, with their answers waiting in its socket.
        self._receive()
        now = self._loop.time()
        machine_at = self._machine.next_timeout()
        if machine_at is not None and machine_at <= now:
            self._machine.handle_timeout(now)
        if self._look_at is not None and self._look_at <= now:
            self._look(now)
        pump_at = self._pump.next_timeout()
        if pump_at is not None and pump_at <= now:
            self._pump.handle_timeout(now)
        self.flush()
        self._rest()

    def flush(self) -> None:
        """Carry out what the machine and the pump have to say, then arm the timer."""
        self._flush_due = False
        if self._closed or self._flushing:
            return
        self._flushing = True
        machine = self._machine
        try:
            self._take_bulk()
            self._told = False
            for count in range(ROUNDS_PER_FLUSH):
                events = machine.poll_events()
                if count and not events:
                    break  # what the last ones led to has left
                for event in events:
                    (self._handle if type(event) in _OWN else self._on_event)(event)
                # After the events: an answer given at once then shares its datagram with the
                # acknowledgement of what it answers.
                transmits = machine.poll_transmits()
                if len(transmits) == 1:
                    try:  # noqa: SIM105 - a context manager for each datagram shows
                        self._sendto(*transmits[0])  # a third of what the pump takes for one
                    except OSError:
                        pass  # a datagram may be lost: refused, or the socket is full
                elif transmits:
                    self._pump.send(transmits)
                if not events:
                    break
            else:
                self._flush_soon()
            if self._early:
                self._take_early()
        finally:
            self._batch, self._flushing = (), False
        armed = self._armed
        for when in (machine.next_timeout(), self._pump.next_timeout(), self._look_at):
            if when is not None and (armed is None or when < armed):
                self._arm(when)
                armed = when
        machine.prepare()

    def _take_early(self) -> None:
        """Give the pump the bulk that came before it knew the plane."""
        early, self._early = self._early, []
        self._pump.inject(early, self._loop.time())
        self._take_bulk()

    def _handle(self, event: object) -> None:
        kind = type(event)
        if kind is BulkPlane:
            plane = cast(BulkPlane, event)
            # The first bulk comes right behind the datagram that confirms the presence or its new
            # keys, too early for the pump to know it. To be sent again could take it a second.
            cid = plane.plane.receive_cid
            early = [each for each in self._batch if each[0].startswith(cid)]
            self._channels.add_plane(plane, needed=bool(early))
            self._early += early
        elif kind is PathMoved:
            moved = cast(PathMoved, event)
            self._channels.move_plane(moved.peer, moved.address)
        elif kind is BulkClosed:
            self._channels.remove_plane(cast(BulkClosed, event).peer)
        else:
            if kind is PresenceUp:
                self._channels.expect(cast(PresenceUp, event).peer, True)
            else:
                self._channels.expect(cast(PresenceDown, event).peer, False)
            self._on_event(event)

    def _arm(self, when: float | None) -> None:
        # A wake-up that comes too early costs less than moving the timer with every datagram.
        if when is not None and (self._armed is None or when < self._armed):
            self._armed = when
            self._loop.call_at(when, self._guarded_timeout)
