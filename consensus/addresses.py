"""A joiner's addresses, as a group carries them."""

from collections.abc import Sequence

import msgpack

from consensus.core.config import WHERE_SIZE_MAX
from transport.core.types import Address

ADDRESSES_MAX = 8


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
            case [str() as host, int() as port] if 0 < port <= 0xFFFF and host:
                found.append((host, port))
            case _:
                return ()
    return tuple(found)
