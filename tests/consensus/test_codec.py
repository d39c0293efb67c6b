"""Bodies and answers: what goes in comes out, and no bytes from a peer do more than raise."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.codec import ITEMS_MAX, ValueRefused, pack, unpack_untrusted

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
leaves = scalars | st.text(max_size=20) | st.binary(max_size=20)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@given(values)
def test_what_is_packed_is_unpacked(value: Any) -> None:
    assert unpack_untrusted(pack(value)) == value


@given(st.binary(max_size=200))
@settings(max_examples=400)
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = unpack_untrusted(data)
    except ValueRefused:
        return
    assert value is None or pack(value)


@given(values, st.data())
def test_a_flipped_bit_is_a_value_or_refused(value: Any, data: st.DataObject) -> None:
    packed = bytearray(pack(value))
    if packed:
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        try:
            unpack_untrusted(bytes(packed))
        except ValueRefused:
            return


@pytest.mark.parametrize("value", [object(), {1, 2}, 1 << 64, -(1 << 63) - 1, [object()]])
def test_what_cannot_be_carried_is_named(value: Any) -> None:
    with pytest.raises(ValueRefused, match="cannot be put into a message"):
        pack(value)


def test_nesting_and_sizes_from_a_peer_are_bounded() -> None:
    with pytest.raises(ValueRefused):
        unpack_untrusted(b"\x91" * 100_000 + b"\xc0")
    with pytest.raises(ValueRefused):
        unpack_untrusted(b"\xdd" + (ITEMS_MAX + 1).to_bytes(4, "big") + b"\xc0" * (ITEMS_MAX + 1))
    with pytest.raises(ValueRefused):
        unpack_untrusted(b"\xc9\x00\x00\x00\x01\x05x")  # An extension type.
    nested: list[Any] = []
    for _ in range(3000):
        nested = [nested]
    with pytest.raises(ValueRefused):
        pack(nested)
