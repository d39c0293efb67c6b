"""Addresses that users and peers name: numeric hosts with ports, and nothing else."""

import ipaddress
from collections.abc import Iterable, Sequence

import msgpack

from consensus.core.config import WHERE_SIZE_MAX
from consensus.core.errors import GroupError
from transport.core.types import Address

ADDRESSES_MAX = 8


def is_address(host: str, port: int) -> bool:
    """Whether a datagram could be sent there: a numeric host without a scope, and a port."""
    if not 0 < port <= 0xFFFF or "%" in host:
        return False
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (ip.is_multicast or ip.is_unspecified)


def is_wildcard(host: str) -> bool:
    """Whether a socket bound there takes what comes to any of the machine's addresses."""
    return ipaddress.ip_address(host).is_unspecified


def checked(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """The addresses a user names, at most ADDRESSES_MAX. Raises GroupError for what is none."""
    found = []
    for address in addresses:
        match address:
            case (str() as host, int() as port) if is_address(host, port):
                found.append((host, port))
            case _:
                raise GroupError(f"not a numeric address and a port: {address!r}")
    return tuple(found[:ADDRESSES_MAX])


def encode_addresses(addresses: Sequence[Address]) -> bytes:
    """At most ADDRESSES_MAX of them as bytes."""
    return bytes(msgpack.packb([list(address) for address in addresses[:ADDRESSES_MAX]]))


def decode_addresses_untrusted(data: bytes) -> tuple[Address, ...]:
    """The addresses in `data`; none where the bytes are no such list. Raises nothing."""
    if len(data) > WHERE_SIZE_MAX:
        return ()
    try:
        rows = msgpack.unpackb(data, max_array_len=ADDRESSES_MAX, max_map_len=0, max_ext_len=0)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return ()
    found: list[Address] = []
    for row in rows if isinstance(rows, list) else ():
        match row:
            case [str() as host, int() as port] if is_address(host, port):
                found.append((host, port))
            case _:
                return ()
    return tuple(found)
