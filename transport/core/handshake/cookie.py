"""The cookie: proof of address without memory.

Threat: P1s with forged sources, which would make the responder keep state, compute, or send more
than it got. Property: only who receives at an address can show a cookie for it. Construction:
`BLAKE2b-16(secret, sequence | address | port | H(P1) | tid | effort | time | choice)`; all of
what is hashed comes back in P3. Lifetime: the secret lives and dies with the transient it is for,
and the time inside is checked against `COOKIE_LIFE_S`.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from transport.core.constants import COOKIE_SIZE, HASH_SIZE, TID_SIZE
from transport.core.types import Address

_FIELDS = struct.Struct(f">I{HASH_SIZE}s{TID_SIZE}sIIBHB")


def make_cookie(
    secret: bytes,
    address: Address,
    *,
    sequence: int,
    hello_hash: bytes,
    tid: bytes,
    effort: int,
    time: int,
    choice: int,
) -> bytes:
    """A cookie of 16 bytes. The host is length-prefixed text, as the socket gives it."""
    host = address[0].encode()
    fields = _FIELDS.pack(
        sequence, hello_hash, tid, effort, time, choice, address[1], len(host) & 0xFF
    )
    return blake2b(fields + host, digest_size=COOKIE_SIZE, key=secret).digest()
