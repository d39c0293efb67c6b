"""Bodies and answers: plain values to bytes and back.

What may stand in a body: None, bool, int of 64 bits, float, str, bytes, and lists and dicts of
these. Tuples come back as lists.
"""

from typing import Any, cast

import msgpack

from consensus.core.errors import ConsensusError

ITEMS_MAX = 65_536


_unpack = msgpack.unpackb
_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class ValueRefused(ConsensusError):
    """The value cannot be carried, or bytes from a peer are no value."""


def pack(value: Any) -> bytes:
    """Bytes of `value`; b"" for None. Raises ValueRefused naming what cannot be carried."""
    if value is None:
        return b""
    try:
        return cast(bytes, _pack(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueRefused(f"cannot be put into a message: {error}") from error


def unpack_untrusted(data: bytes) -> Any:
    """The value that `pack` made `data` of. Raises ValueRefused."""
    if not data:
        return None
    try:
        return _unpack(
            data,
            raw=False,
            strict_map_key=False,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise ValueRefused(f"not a value: {type(error).__name__}") from error
