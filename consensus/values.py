"""Bodies and answers: plain values to bytes and back.

What may stand in a body: None, bool, int of 64 bits, float, str, bytes, and lists and dicts of
these. Tuples come back as lists.
"""

from typing import Any, cast

import msgpack

from consensus.core.errors import ConsensusError

NESTING_MAX = 32
ITEMS_MAX = 65_536


class ValueRefused(ConsensusError):
    """The value cannot be carried, or bytes from a peer are no value."""


def pack(value: Any) -> bytes:
    """Bytes of `value`; b"" for None. Raises ValueRefused naming what cannot be carried."""
    if value is None:
        return b""
    _check_depth(value, NESTING_MAX)
    try:
        return cast(bytes, msgpack.packb(value, use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueRefused(f"cannot be put into a message: {error}") from error


def unpack_untrusted(data: bytes) -> Any:
    """The value that `pack` made `data` of. Raises ValueRefused."""
    if not data:
        return None
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            max_array_len=ITEMS_MAX,
            max_map_len=ITEMS_MAX,
            max_ext_len=0,
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise ValueRefused(f"not a value: {type(error).__name__}") from error
    _check_depth(value, NESTING_MAX)
    return value


def _check_depth(value: Any, depth: int) -> None:
    if depth == 0:
        raise ValueRefused(f"nested deeper than {NESTING_MAX}")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int | bytes):
                raise ValueRefused(f"not a key of a dict in a message: {type(key).__name__}")
            _check_depth(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_depth(item, depth - 1)
    elif not isinstance(value, type(None) | bool | int | float | str | bytes):
        raise ValueRefused(f"cannot be put into a message: {type(value).__name__}")
