"""All channels of an endpoint and the bulk planes beneath: what the pump is told of, and when."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio

from transport.channel import Channel, ChannelBroken
from transport.core.constants import CID_SIZE
from transport.core.errors import LocalError
from transport.core.events import BulkPlane
from transport.core.types import Address
from utp_native import ChannelClosed, EventKind, NativeError, Pump, TooMany

HALT_S = 3.0
"""How long after the last bulk datagram of a peer its silence is looked into."""
SPENT_MAX = 8
"""Keys remembered for a peer: a quarter of an hour of key updates, where a presence
drains for seconds."""
SPENT_PEERS_MAX = 131_072
"""Peers whose keys are remembered: as many as the table of peers holds."""


class ChannelTable:
    """The channels of one endpoint, by the pump's handles, and its planes, by peer."""

    def __init__(
        self,
        own_key: bytes,
        pump: Pump,
        touch: Callable[[], None],
        moved: Callable[[], None],
        keep: Callable[[bytes, bool], None],
        on_channel: Callable[[bytes, Channel], None],
    ) -> None:
        self._own_key = own_key
        self._pump = pump
        self._touch = touch
        self._moved = moved
        """Bytes went in or out, which is no concern of the machine's."""
        self._keep = keep
        self._on_channel = on_channel
        self._channels: dict[int, Channel] = {}
        self._used: dict[bytes, int] = {}
        """How many channels are open with each peer. Its presence is kept meanwhile: it would
        idle out under a transfer, and a reader would wait for a peer that has vanished."""
        self._seen: dict[bytes, tuple[int, int, float]] = {}
        """At the last look: bytes both ways, bytes received, and when these last grew."""
        self._expected: dict[bytes, anyio.Event | None] = {}
        """Peers whose presence is up and has no plane yet: it waits to be confirmed. With what
        wakes those who wait for it, if anybody does."""
        self._idle: dict[bytes, BulkPlane] = {}
        """Planes that nobody has used, by the id of what would come on them: most presences never
        have a channel, so the pump is told of a plane when there is use for it."""
        self._idle_of: dict[bytes, bytes] = {}
        """The ids of these by peer."""
        self._planes: dict[bytes, tuple[int, int, int]] = {}
        """Handle, incarnation and suite, by peer."""
        self._spent: dict[bytes, tuple[bytes, ...]] = {}
        """The ids of the keys last installed for a peer, the newest last; peers in the order in
        which they last came."""
        self._peers: dict[int, bytes] = {}

    def add_plane(self, event: BulkPlane, *, needed: bool = True) -> None:
        """Keys for bulk to and from a peer. Channels go on under them if it is the same life of
        the peer with the same suite; otherwise they fail.

        The first of a presence that are not `needed` yet wait until they are.
        """
        peer, cid = event.peer, event.plane.receive_cid
        self.expect(peer, False)
        other = self._idle.get(cid)
        if other is not None:
            self._install(other.peer)
        if needed or peer in self._planes or peer in self._idle_of or other is not None:
            self._install(peer)
            self._add_plane(event)
        else:
            self._idle[cid] = event
            self._idle_of[peer] = cid

    def claim(self, batch: Sequence[tuple[bytes, Address]]) -> list[tuple[bytes, Address]]:
        """Those of some datagrams that came on planes which nobody had used: the pump knows these
        planes from now on, and has to be given the datagrams once more."""
        idle = self._idle
        for data, _ in batch:
            if data[:CID_SIZE] in idle:
                break
        else:
            return []
        found = [each for each in batch if each[0][:CID_SIZE] in idle]
        for data, _ in found:
            event = idle.get(data[:CID_SIZE])
            if event is not None:
                self._install(event.peer)
        return found

    def _install(self, peer: bytes) -> None:
        cid = self._idle_of.pop(peer, None)
        if cid is not None:
            self._add_plane(self._idle.pop(cid))

    def _add_plane(self, event: BulkPlane) -> None:
        """Tell the pump.

        Keys that were installed before are never installed again: the pump would count from 0
        under them once more, and use a nonce twice. The present ones are left as they are; with
        earlier ones there is no bulk until the presence is renewed.
        """
        peer, plane = event.peer, event.plane
        spent = self._spent.pop(peer, ())
        there = self._planes.get(peer)
        if plane.receive_cid in spent:
            self._spent[peer] = spent
            if plane.receive_cid != spent[-1]:
                self.remove_plane(peer)
            return
        if len(self._spent) >= SPENT_PEERS_MAX:
            del self._spent[next(iter(self._spent))]
        self._spent[peer] = (*spent, plane.receive_cid)[-SPENT_MAX:]
        try:
            if there is not None and there[1:] == (event.incarnation, plane.suite):
                self._pump.rekey_plane(there[0], plane, send_now=plane.initiator)
                return
            self.remove_plane(peer)
            # Which side numbers its channels evenly must outlast the presence, and who began that
            # may differ between two presences that crossed: the keys settle it.
            handle = self._pump.add_plane(replace(plane, initiator=self._own_key < peer))
        except NativeError:
            # Nothing a peer can bring about may end the node: it has no bulk with us, that is all.
            self.remove_plane(peer)
            return
        self._planes[peer] = (handle, event.incarnation, plane.suite)
        self._peers[handle] = peer

    def expect(self, peer: bytes, wanted: bool) -> None:
        """A plane for the peer will come, or will not."""
        if not wanted:
            event = self._expected.pop(peer, None)
            if event is not None:
                event.set()
        elif peer not in self._planes and peer not in self._idle_of:
            self._expected.setdefault(peer, None)

    async def expected(self, peer: bytes) -> None:
        """Until the plane that is expected, if one is, has come or will not come."""
        if peer in self._expected:
            event = self._expected[peer]
            if event is None:
                event = self._expected[peer] = anyio.Event()
            await event.wait()

    def move_plane(self, peer: bytes, address: Address) -> None:
        """The peer is reached at another address from now on."""
        self._install(peer)
        there = self._planes.get(peer)
        if there is not None:
            self._pump.move_plane(there[0], address)

    def remove_plane(self, peer: bytes) -> None:
        """Drop a peer's plane; its channels fail."""
        cid = self._idle_of.pop(peer, None)
        if cid is not None:
            del self._idle[cid]
        there = self._planes.pop(peer, None)
        if there is None:
            return
        del self._peers[there[0]]
        self._pump.remove_plane(there[0])
        for key, channel in list(self._channels.items()):
            if channel.peer == peer:
                self._remove(key)
                channel.fail("the presence with the peer has ended")

    def open(self, peer: bytes) -> Channel:
        """A new channel to `peer`. Raises LocalError without a presence, or with too many."""
        self._install(peer)
        there = self._planes.get(peer)
        if there is None:
            raise LocalError(f"no presence with {peer.hex()[:16]}: connect first")
        try:
            handle = self._pump.open_channel(there[0])
        except TooMany as error:
            raise LocalError(f"too many channels to {peer.hex()[:16]}") from error
        channel = self._add(handle, peer)
        self._touch()
        return channel

    def _add(self, handle: int, peer: bytes) -> Channel:
        count = self._used[peer] = self._used.get(peer, 0) + 1
        if count == 1:
            self._keep(peer, True)
        channel = self._channels[handle] = Channel(self, handle, peer)
        return channel

    def _remove(self, handle: int) -> Channel | None:
        channel = self._channels.pop(handle, None)
        if channel is not None:
            self._used[channel.peer] -= 1
            if not self._used[channel.peer]:
                del self._used[channel.peer]
                self._keep(channel.peer, False)
        return channel

    @property
    def used(self) -> bool:
        """Whether there are channels."""
        return bool(self._used)

    def look(self, now: float) -> list[tuple[bytes, int, bool]]:
        """For each peer with channels: the bytes that passed since the last look, and whether
        nothing has come although something did a short while ago."""
        seen, self._seen, looked = self._seen, {}, []
        for peer in self._used:
            figures = self._pump.plane_figures(self._planes[peer][0])
            passed, opened = figures["bytes_sealed"], figures["bytes_opened"]
            before, came, came_at = seen.get(peer, (passed + opened, opened, now))
            self._seen[peer] = (passed + opened, opened, now if opened != came else came_at)
            halted = opened == came and now - came_at < HALT_S
            looked.append((peer, passed + opened - before, halted))
        return looked

    def dispatch(self) -> None:
        """Take the pump's events to the channels they concern."""
        for event in self._pump.poll_events():
            channel = self._channels.get(event.channel)
            if channel is None and event.kind is EventKind.ACCEPTED:
                peer = self._peers.get(event.plane)
                if peer is not None:
                    self._on_channel(peer, self._add(event.channel, peer))
            elif channel is not None:
                channel.take(event)

    def heard_elsewhere(self) -> list[tuple[bytes, Address, int]]:
        """Peers whose newest bulk datagram came from another address than they are sent to: from
        where, and how long it was. Each address is told of once in a row."""
        heard = []
        for event in self._pump.poll_paths():
            peer = self._peers.get(event.plane)
            if peer is not None:
                heard.append((peer, event.address, event.size))
        return heard

    def write(self, handle: int, data: memoryview) -> int:
        """Bytes taken; 0 when the send buffer is full. Raises ChannelBroken."""
        if handle not in self._channels:
            return 0
        try:
            taken = self._pump.write(handle, data)
        except ChannelClosed as error:
            raise ChannelBroken(str(error)) from error
        self._moved()
        return taken

    def read(self, handle: int, size: int) -> bytes:
        """What has arrived, at most `size` bytes."""
        if handle not in self._channels:
            return b""
        try:
            data = self._pump.read(handle, size)
        except NativeError:
            return b""  # Its plane was removed, which is told by an event.
        if data:
            self._moved()
        return data

    def finish(self, handle: int) -> None:
        """Half-close. Raises ChannelBroken."""
        if handle in self._channels:
            try:
                self._pump.finish(handle)
            except NativeError as error:
                raise ChannelBroken(str(error)) from error
            self._moved()

    def close_channel(self, handle: int, *, abort: bool) -> None:
        """Close and forget; what was written is still delivered, unless it is to `abort`."""
        if self._remove(handle) is not None:
            self._pump.close_channel(handle, abort=abort)
            self._touch()

    def close(self) -> None:
        """The endpoint ends: everything fails, here and for the peers."""
        for handle, channel in self._channels.items():
            self._pump.close_channel(handle, abort=True)
            channel.fail("the endpoint is closed")
        for peer in list(self._expected):
            self.expect(peer, False)
        self._channels.clear()
        self._idle.clear()
        self._idle_of.clear()
        self._planes.clear()
        self._peers.clear()
