"""The socket that an endpoint serves."""

import ipaddress
import socket

from transport.core.errors import LocalError


def bind(listen: str) -> socket.socket:
    """A non-blocking UDP socket bound to `host:port` or `[host]:port`.

    Raises LocalError when the text is no address or the address cannot be had.
    """
    host, separator, port = listen.rpartition(":")
    host = host.strip("[]")
    if not (separator and host and port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise LocalError(f"not an address to listen on: {listen!r} (wanted host:port)")
    try:
        # Numeric only: a name would be looked up here, and the event loop would wait for it.
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        raise LocalError(f"not a numeric address to listen on: {host!r}") from None
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise LocalError(f"cannot open a UDP socket: {error}") from error
    try:
        sock.setblocking(False)
        sock.bind((host, int(port)))
    except OSError as error:
        sock.close()
        raise LocalError(f"cannot listen on {listen}: {error.strerror}") from error
    return sock
