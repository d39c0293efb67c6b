"""Bodies and answers: plain values to bytes and back.

What may stand in a body: None, bool, int of 64 bits, float, str, bytes, and lists and dicts of
these; a dict's keys are no lists and dicts. Tuples come back as lists.
"""

from typing import Any

import msgpack

from consensus.core.config import ANSWER_SIZE_MAX
from consensus.core.errors import ConsensusError

ITEMS_MAX = 65_536
_PLAIN = (bool, int, float, str, bytes)

_unpack = msgpack.unpackb
_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


class ValueRefused(ConsensusError):
    """The value cannot be carried, or bytes from a peer are no value."""


def pack(value: Any) -> bytes:
    """Bytes of `value`; b"" for None. Raises ValueRefused naming what cannot be carried."""
    if value is None:
        return b""
    try:
        data: bytes = _pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueRefused(f"cannot be put into a message: {error}") from error
    if type(value) not in _PLAIN:
        # What nobody could read is refused where it is made, and not where it arrives.
        try:
            unpack_untrusted(data)
        except ValueRefused as error:
            raise ValueRefused(
                f"cannot be put into a message, as nobody could read it: at most {ITEMS_MAX}"
                " items, and a dict's keys are None, bool, int, float, str or bytes"
            ) from error
    return data


def pack_answer(answer: Any) -> bytes:
    """As `pack`, of what a member adds to its accept. Raises ValueRefused if it is too large."""
    data = pack(answer)
    if len(data) > ANSWER_SIZE_MAX:
        raise ValueRefused(f"an answer of {len(data)} bytes: {ANSWER_SIZE_MAX} fit")
    return data


def _refuse(code: int, _: bytes) -> Any:
    raise ValueError(f"an extension of type {code}")


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
            ext_hook=_refuse,
        )
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise ValueRefused(f"not a value: {type(error).__name__}") from error
