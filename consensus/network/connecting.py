"""How a node comes to its presences: with its name, without one, and from another address."""

from __future__ import annotations

from contextlib import suppress

import anyio
from anyio import CancelScope, to_thread

from consensus.arguments import TIMEOUT_MAX_S, check_key, check_seconds
from consensus.node_context import NodeContext
from consensus.storage.database import StoreError
from consensus.storage.files import NodeFiles
from transport.core.constants import TRANSIENT_LIFE_S
from transport.core.errors import WireError
from transport.core.events import ConnectFailed, PresenceUp
from transport.core.handshake.transient import ticks

__all__ = ["Connecting"]

PART_S = 0.5
"""How long a node that closes waits for what it has sent to be acknowledged."""
PART_PATIENCE = 2.0
"""As many time-outs of a peer: one that has gone itself is not waited for longer."""
PART_LOOK_S = 0.002
UNIX_TIME_EVERY_S = 10.0
"""How often closed circles are told the time: neither of the two clocks is sure to run on while the
machine sleeps."""


class Connecting:
    """A node's, above its machine."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._machine = context.machine
        self._connecting: dict[bytes, list[anyio.Event]] = {}

    async def connect(self, peer: bytes, timeout_s: float) -> None:
        """Have a presence. Raises TimeoutError, GroupError, LocalError."""
        self._context.endpoint.check_open()
        _check(peer, timeout_s)
        if not self._machine.contacts.has_presence(peer):
            self._context.do(lambda m, now: m.connect(peer, now, timeout_s))
        await self._up(peer, timeout_s)

    async def connect_nameless(self, peer: bytes, timeout_s: float) -> bytes:
        """The same without telling who this is; what the peer goes by then."""
        self._context.endpoint.check_open()
        _check(peer, timeout_s)
        alias = self._context.do(lambda m, now: m.connect_nameless(peer, now, timeout_s))
        await self._up(alias, timeout_s)
        return alias

    def moved(self) -> tuple[bytes, ...]:
        """Go on with everybody under other connection ids; with whom not. Raises LocalError."""
        return self._context.do(lambda m, now: m.move(now))

    def take(self, event: PresenceUp | ConnectFailed) -> None:
        """An attempt has ended one way or the other."""
        for waiting in self._connecting.get(event.peer, ()):
            waiting.set()

    async def run(self) -> None:
        """Tell the time where somebody goes by it, until cancelled."""
        peers = self._machine.peers
        while peers.needs_unix_time:
            await anyio.sleep(UNIX_TIME_EVERY_S)
            peers.tell_unix_time(self._context.unix_time(), self._context.clock())

    async def restore(self, files: NodeFiles) -> None:
        """Take up the records that the last process kept: with its peers there is no first contact
        then, but a request and its answer in one round trip."""
        if not files.has_peer_store:
            return
        rows = await to_thread.run_sync(lambda: files.peer_store().records())
        for peer, record, saved_at in rows:
            ago_s = self._context.unix_time() - saved_at
            if 0 <= ago_s < TRANSIENT_LIFE_S:
                clock = int.from_bytes(record[-4:], "big") + ticks(ago_s) & 0xFFFFFFFF
                with suppress(WireError):
                    self._machine.peers.introductions.learn_untrusted(
                        peer, record[:-4] + clock.to_bytes(4, "big"), self._context.clock()
                    )

    async def part(self) -> None:
        """What was sent arrives, if that takes no longer than `PART_S`, nor than a peer takes that
        is there; then peers who would only wait for this node are told that it goes."""
        peers, began = self._machine.peers, self._context.clock()
        with anyio.move_on_after(PART_S, shield=True):
            while self._context.clock() < began + peers.owed_s(PART_PATIENCE):  # noqa: ASYNC110
                await anyio.sleep(PART_LOOK_S)
        if not self._context.endpoint.closed:
            self._context.do(lambda m, now: m.part(now))

    async def keep(self, files: NodeFiles) -> None:
        """Keep the records there are for the next process; without a word where the disk refuses,
        as they are no more than a hint."""
        learned = self._machine.peers.introductions.learned(self._context.clock())
        if files.durable and (learned or files.has_peer_store):
            with CancelScope(shield=True), suppress(StoreError):
                await to_thread.run_sync(
                    lambda: files.peer_store().save_records(learned, self._context.unix_time())
                )

    async def _up(self, peer: bytes, timeout_s: float) -> None:
        event = anyio.Event()
        waiting = self._connecting.setdefault(peer, [])
        waiting.append(event)
        try:
            if not self._machine.contacts.has_presence(peer):
                with anyio.move_on_after(timeout_s):
                    await event.wait()
            if not self._machine.contacts.has_presence(peer):
                raise TimeoutError(f"no presence with {peer.hex()[:16]} within {timeout_s} s")
        finally:
            waiting.remove(event)
            if not waiting:
                self._connecting.pop(peer, None)


def _check(peer: bytes, timeout_s: float) -> None:
    check_key(peer)
    check_seconds("timeout_s", timeout_s, TIMEOUT_MAX_S)
