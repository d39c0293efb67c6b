"""How a node comes to its presences: with its name, without one, and from another address."""

from __future__ import annotations

import time

import anyio

from consensus.contents import TIMEOUT_MAX_S, check_key, check_seconds
from consensus.machine import Machine
from transport.core.events import ConnectFailed, PresenceUp
from transport.endpoint import Endpoint

__all__ = ["Reaching"]

UNIX_TIME_EVERY_S = 10.0
"""How often closed circles are told the time: neither of the two clocks is sure to run on while the
machine sleeps."""


class Reaching:
    """A node's, above its machine."""

    def __init__(self, machine: Machine, endpoint: Endpoint) -> None:
        self._machine = machine
        self._endpoint = endpoint
        self._connecting: dict[bytes, list[anyio.Event]] = {}

    async def connect(self, peer: bytes, timeout_s: float) -> None:
        """Have a presence. Raises TimeoutError, GroupError, LocalError."""
        _check(peer, timeout_s)
        if not self._machine.contacts.has_presence(peer):
            self._machine.connect(peer, self._endpoint.clock(), timeout_s)
            self._endpoint.touch()
        await self._up(peer, timeout_s)

    async def connect_nameless(self, peer: bytes, timeout_s: float) -> bytes:
        """The same without telling who this is; what the peer goes by then."""
        _check(peer, timeout_s)
        alias = self._machine.connect_nameless(peer, self._endpoint.clock(), timeout_s)
        self._endpoint.touch()
        await self._up(alias, timeout_s)
        return alias

    def moved(self) -> None:
        """Go on with everybody under other connection ids. Raises LocalError."""
        self._endpoint.check_open()
        self._machine.move(self._endpoint.clock())
        self._endpoint.touch()

    def take(self, event: PresenceUp | ConnectFailed) -> None:
        """An attempt has ended one way or the other."""
        for waiting in self._connecting.get(event.peer, ()):
            waiting.set()

    async def run(self) -> None:
        """Tell the time where somebody goes by it, until cancelled."""
        peers = self._machine.peers
        while peers.needs_unix_time:
            await anyio.sleep(UNIX_TIME_EVERY_S)
            peers.tell_unix_time(time.time(), self._endpoint.clock())

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
