"""What an epoch of keys is made of and goes back to, and its way to the next one."""

from __future__ import annotations

from math import nan
from struct import Struct
from typing import NamedTuple

from transport.core.handshake.negotiation import Established
from transport.core.handshake.rekey import Rekeying

__all__ = ["AnsweredKeyUpdate", "KeyUpdate", "Root", "pack_secrets", "unpack_secrets"]

_SECRETS = Struct("32s" * 9 + "64s8s8s8sddI")


class Root(NamedTuple):
    """The handshake with static keys that an epoch goes back to."""

    made_at: float
    key_updates_late: int
    """How often keys were renewed since another one was due."""


class KeyUpdate(NamedTuple):
    """A rekeying that waits for message 2."""

    rekeying: Rekeying
    message_cid: bytes
    bulk_cid: bytes


class AnsweredKeyUpdate(NamedTuple):
    """A rekeying that was answered."""

    first: bytes
    second: bytes
    message_cid: bytes
    """Of the presence that came of it."""


def pack_secrets(established: Established, bulk_cid: bytes, root: Root) -> bytearray:
    """The nine keys of an epoch, the handshake's hash, the peer's two connection ids, ours for
    bulk, and what is no secret but takes less room here: the clock's offset, or that there is none,
    and the root. As one string, which takes a third of the memory of its parts, and can be
    overwritten."""
    keys = established.keys
    offset_s = established.clock_offset_s
    return bytearray(
        _SECRETS.pack(
            keys.message_send,
            keys.message_send_header,
            keys.message_receive,
            keys.message_receive_header,
            keys.bulk_send,
            keys.bulk_send_header,
            keys.bulk_receive,
            keys.bulk_receive_header,
            keys.rekey,
            established.handshake_hash,
            established.message_cid,
            established.bulk_cid,
            bulk_cid,
            nan if offset_s is None else offset_s,
            *root,
        )
    )


unpack_secrets = _SECRETS.unpack
"""What `pack_secrets` packed, one by one and in its order."""
