"""Plain BEP 29 over a UDP socket: µTP without a presence, for other implementations of it.

Nothing is sealed or authenticated: the peer is whoever sends from its address.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable

from utp_native.pump import Pump
from utp_native.types import Address, ChannelEvent, PumpConfig, TooMany

__all__ = ["BareEndpoint"]

_SYN = 0x41
"""Type SYN, version 1: the first byte of a packet that opens a connection."""
_HEADER_SIZE = 20
_BATCH = 256


class BareEndpoint:
    """Opens and accepts µTP connections on a socket; `pump` reads, writes and closes them.

    One call of `turn` at a time. The socket stays the caller's; close the endpoint first.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        accept: bool = True,
        peers_max: int = 1024,
        config: PumpConfig | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.pump = Pump(sock.fileno(), random=random, now=time.monotonic(), config=config)
        self._accept = accept
        self._peers_max = peers_max
        self._planes: dict[Address, int] = {}
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)

    def connect(self, address: Address) -> int:
        """Open a connection; CONNECTED or FAILED follows. Raises `TooMany`."""
        return self.pump.open_channel(self._plane(address))

    def turn(self, wait_max_s: float = 0.1) -> list[ChannelEvent]:
        """Wait for something to happen, do what it asks for, and say what that was."""
        pump = self.pump
        due = pump.next_timeout()
        wait_s = wait_max_s if due is None else min(max(due - time.monotonic(), 0), wait_max_s)
        if self._poll.poll(wait_s * 1000):
            for data, address in pump.receive(time.monotonic(), _BATCH):
                self._from_nobody(data, address)
        due = pump.next_timeout()
        if due is not None and due <= time.monotonic():
            pump.handle_timeout(time.monotonic())
        return pump.poll_events()

    def close(self) -> None:
        """Free everything; connections end without a word."""
        self.pump.close()

    def _plane(self, address: Address) -> int:
        plane = self._planes.get(address)
        if plane is None:
            if len(self._planes) >= self._peers_max:
                self._forget_idle()
            plane = self._planes[address] = self.pump.add_bare_plane(address)
        return plane

    def _forget_idle(self) -> None:
        for address, plane in list(self._planes.items()):
            if self.pump.plane_figures(plane)["channels"] == 0:
                self.pump.remove_plane(plane)
                del self._planes[address]
        if len(self._planes) >= self._peers_max:
            raise TooMany(f"connections with {self._peers_max} addresses are open")

    def _from_nobody(self, data: bytes, address: Address) -> None:
        if not self._accept or len(data) < _HEADER_SIZE or data[0] != _SYN:
            return
        try:
            self._plane(address)
        except TooMany:
            return  # as if lost: the peer repeats its SYN
        self.pump.inject([(data, address)], time.monotonic())
