"""Ports that a test gives up and takes again, as a process does that is killed and begun anew.

One that the system gave for port 0 comes from its ephemeral range, and while nobody holds it the
system may give it to whoever asks next: another test, or another program of this machine.
"""

import random
import socket

FIRST, LAST = 10_000, 32_767
"""Below the ephemeral ranges of Linux (32768) and of RFC 6335 (49152)."""

_given: set[int] = set()


def kept_port() -> int:
    """A UDP port of the loopback address that is free, and given only to whoever asks for it by
    number; never the same twice in one process."""
    while True:
        port = random.randint(FIRST, LAST)
        if port in _given:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def kept_ports(count: int) -> list[int]:
    """So many of them."""
    return [kept_port() for _ in range(count)]
