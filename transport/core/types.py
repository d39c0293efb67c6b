"""Names for what passes between the parts of the transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

Address = tuple[str, int]
"""Numeric IPv4 or IPv6 host, and UDP port: where to send, never who it is."""

RandomBytes = Callable[[int], bytes]
"""Returns that many unpredictable bytes; the pure cores draw from nothing else."""


class Transmit(NamedTuple):
    """A datagram and where to send it."""

    data: bytes
    address: Address
