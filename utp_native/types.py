"""What the pump takes and gives."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, NoReturn, Protocol

__all__ = [
    "SUITE_AEGIS256",
    "SUITE_XCHACHA20",
    "Address",
    "ChannelClosed",
    "ChannelEvent",
    "EventKind",
    "NativeError",
    "PathEvent",
    "PlaneKeys",
    "PumpConfig",
    "Reason",
    "TooMany",
    "Transmit",
    "UnknownHandle",
    "address_of",
    "fail",
    "raw_of",
]

SUITE_XCHACHA20 = 1
SUITE_AEGIS256 = 2

Address = tuple[str, int]
"""Numeric IPv4 or IPv6 host, and port."""

_MAPPED: Final = bytes(10) + b"\xff\xff"
"""What precedes an IPv4 address where there is room for one of IPv6."""


def address_of(raw: bytes) -> Address:
    """The address in the 18 bytes of native code: IPv6, or IPv4 mapped into it, and the port."""
    if raw.startswith(_MAPPED):
        host = socket.inet_ntop(socket.AF_INET, raw[12:16])
    else:
        host = socket.inet_ntop(socket.AF_INET6, raw[:16])
    return host, raw[16] << 8 | raw[17]


def raw_of(address: Address) -> bytes:
    """The same for native code. Raises `ValueError` for an address that is not numeric."""
    host, port = address
    if not 0 <= port <= 65535:
        raise ValueError(f"no port: {port}")
    try:
        if ":" in host:
            ip = socket.inet_pton(socket.AF_INET6, host)
        else:
            ip = _MAPPED + socket.inet_pton(socket.AF_INET, host)
    except OSError:
        raise ValueError(f"not a numeric address: {host}") from None
    return ip + port.to_bytes(2, "big")


class Transmit(NamedTuple):
    """A datagram and where to send it."""

    data: bytes
    address: Address


class NativeError(Exception):
    """A call of the pump cannot be done."""


class UnknownHandle(NativeError):
    """The plane or channel does not exist, or does no longer."""


class ChannelClosed(NativeError):
    """Writing after `finish`, or on a channel that has failed."""


class TooMany(NativeError):
    """A bound of the configuration is reached."""


_ERRORS: Final = {
    errno.EBADF: (UnknownHandle, "there is no such plane or channel"),
    errno.EPIPE: (ChannelClosed, "the channel was finished"),
    errno.ECONNRESET: (ChannelClosed, "the channel has failed"),
    errno.ENOSPC: (TooMany, "as many as the configuration allows are open"),
    errno.EEXIST: (NativeError, "the connection id or the address is, or was, in use"),
    errno.EINVAL: (NativeError, "there is no such suite, or it is not the plane's"),
    errno.EOPNOTSUPP: (NativeError, "only a pump without a socket collects"),
    errno.ENOTSOCK: (NativeError, "a pump without a socket does not receive"),
}


def fail(result: int) -> NoReturn:
    """Raise what the negative `result` of a native call says."""
    kind, text = _ERRORS.get(-result, (NativeError, os.strerror(-result)))
    raise kind(text)


class EventKind(IntEnum):
    """What happened to a channel."""

    ACCEPTED = 0
    """The peer opened it. It can be written to at once."""
    CONNECTED = 1
    """The peer has answered."""
    READABLE = 2
    """There is something to read; read until `b""`, or there will be no other such event."""
    WRITABLE = 3
    """There is room again after `write` took less than it was given."""
    EOF = 4
    """The peer has finished; what came before can still be read."""
    CLOSED = 5
    """Both sides have finished and everything was acknowledged."""
    FAILED = 6
    """The channel is over; `reason` says why. What was received can still be read, unless the
    plane was removed."""


class Reason(IntEnum):
    """Why a channel failed."""

    NONE = 0
    REFUSED = 1
    RESET = 2
    TIMED_OUT = 3
    PLANE_REMOVED = 4
    ABORTED = 5
    """Memory ran out here."""


class ChannelEvent(NamedTuple):
    """One of `Pump.poll_events`."""

    channel: int
    plane: int
    kind: EventKind
    reason: Reason


class PathEvent(NamedTuple):
    """One of `Pump.poll_paths`."""

    plane: int
    address: Address
    """Where the newest bulk datagram of the plane came from."""
    size: int
    """How long it was, in bytes."""


class PlaneKeys(Protocol):
    """Keys of one epoch of a presence's bulk plane, from the point of view of this side.

    Connection ids are 8 bytes and keys 32. `transport.core.events.PlaneKeys` is one.
    """

    @property
    def receive_cid(self) -> bytes: ...
    @property
    def send_cid(self) -> bytes: ...
    @property
    def suite(self) -> int: ...
    @property
    def send_key(self) -> bytes: ...
    @property
    def send_header_key(self) -> bytes: ...
    @property
    def receive_key(self) -> bytes: ...
    @property
    def receive_header_key(self) -> bytes: ...
    @property
    def address(self) -> Address: ...
    @property
    def initiator(self) -> bool: ...


@dataclass(frozen=True)
class PumpConfig:
    """Bounds and sizes. Raises `ValueError` for those that cannot be."""

    datagram_size_max: int = 1200
    """Bytes of a control datagram; longer ones are dropped."""
    sealed_size_max: int = 1120
    """Bytes of a bulk datagram, sent and received. All are of this size where there is data for
    it; more is faster where the path carries it."""
    send_buffer: int = 1 << 20
    """Bytes a channel takes beyond what its window lets go: memory."""
    send_window: int = 16 << 20
    """Bytes a channel may have in flight: memory, and throughput over long paths."""
    receive_buffer: int = 16 << 20
    """Bytes a channel holds for a slow reader, those out of order included: the window the peer
    is given. Memory is taken as it fills."""
    receive_budget: int = 256 << 20
    """The same over all channels: when it is used up, no channel takes more."""
    socket_buffer: int = 8 << 20
    """Bytes of SO_RCVBUF and SO_SNDBUF asked for; the system may give less."""
    planes_max: int = 65536
    """Planes at once; one takes 3 KiB."""
    incoming_max: int = 64
    """Channels of a plane opened by the peer. Further SYNs are not answered."""
    outgoing_max: int = 1024
    """Channels of a plane opened here."""
    output_max: int = 0
    """Sealed datagrams that wait while the socket is full, or until `collect`; more are dropped,
    as a network would. 0: 2,048 with a socket, 65,536 in memory."""
    offload: bool = True
    """Use UDP segmentation and receive offload where the kernel has them."""

    def __post_init__(self) -> None:
        if not 256 <= self.datagram_size_max <= 65507:
            raise ValueError("datagram_size_max is from 256 to 65507")
        if not 256 <= self.sealed_size_max <= 8192:
            raise ValueError("sealed_size_max is from 256 to 8192")
        for name in ("send_buffer", "send_window", "receive_buffer"):
            if not 4 * self.sealed_size_max <= getattr(self, name) <= 1 << 30:
                raise ValueError(f"{name} is from four datagrams to 1 GiB")
        if self.receive_budget < self.receive_buffer:
            raise ValueError("receive_budget is no less than receive_buffer")
        if not 1 <= self.planes_max <= 1 << 24:
            raise ValueError("planes_max is from 1 to 2^24")
        if not 0 <= self.incoming_max <= 1024 or not 1 <= self.outgoing_max <= 65536:
            raise ValueError("incoming_max is at most 1024, outgoing_max from 1 to 65536")
        if not 0 <= self.output_max <= 1 << 20 or not 4096 <= self.socket_buffer <= 1 << 30:
            raise ValueError("output_max is at most 2^20, socket_buffer from 4 KiB to 1 GiB")
