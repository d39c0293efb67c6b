"""Named services over channels: whoever opens a channel says first what it is for.

The first bytes of a channel are the length of the service's name (1) and the name in ASCII.
"""

import logging
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel

from consensus.core.errors import GroupError
from transport.channel import Channel
from transport.core.errors import RemoteError, TransportError

log = logging.getLogger("quorate")
NAME_SIZE_MAX = 64
GREETING_TIMEOUT_S = 10.0

Service = Callable[[Channel], Awaitable[None]]


class Services:
    """What a node serves to peers that open channels to it."""

    def __init__(self, open_channel: Callable[[bytes], Awaitable[Channel]]) -> None:
        self._open_channel = open_channel
        self._services: dict[str, Service] = {}

    def register(self, name: str, service: Service) -> None:
        """Serve `name` from now on; replaces what served it before."""
        _encode(name)
        self._services[name] = service

    async def open(self, peer: bytes, name: str) -> Channel:
        """A channel to a peer's service. Raises LocalError without a presence, ChannelBroken."""
        greeting = _encode(name)
        channel = await self._open_channel(peer)
        try:
            await channel.send(greeting)
        except BaseException:
            channel.abort()
            raise
        return channel

    async def accept(self, channel: Channel) -> None:
        """Serve a channel that a peer opened, to its end. Whatever a service raises ends its
        channel only, and is logged. Only one whose service returns ends in order: the peer could
        not tell a stream that was given up from a complete one."""
        try:
            service = await self._greeted(channel)
            if service is not None:
                await service(channel)
                await channel.aclose()
        except TransportError as error:
            log.info("a channel of %s ended: %s", channel.peer.hex()[:16], error)
        except Exception:
            log.exception("a service failed")
        except anyio.get_cancelled_exc_class():
            await anyio.lowlevel.checkpoint_if_cancelled()  # By the node; otherwise:
            log.exception("a service was cancelled from elsewhere")
        finally:
            channel.abort()  # Harmless where it was closed.

    async def _greeted(self, channel: Channel) -> Service | None:
        try:
            with anyio.fail_after(GREETING_TIMEOUT_S):
                (size,) = await _exactly(channel, 1)
                name = await _exactly(channel, min(size, NAME_SIZE_MAX))
        except (TransportError, TimeoutError):
            return None  # The peer went away, or never said what it wanted.
        return self._services.get(name.decode("ascii", "replace"))


async def _exactly(channel: Channel, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await channel.receive(size - len(data))
        if not piece:
            raise RemoteError("the channel ended in the middle of its greeting")
        data += piece
    return data


def _encode(name: str) -> bytes:
    data = name.encode("ascii", "replace")
    if not 1 <= len(data) <= NAME_SIZE_MAX or not name.isascii():
        raise GroupError(f"a service's name is 1 to {NAME_SIZE_MAX} ASCII characters")
    return bytes((len(data),)) + data
