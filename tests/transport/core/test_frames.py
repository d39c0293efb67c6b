"""Control frames: layouts, and that decoding raises one error only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.core import frames
from transport.core.errors import WireError


@pytest.mark.parametrize(
    ("encoded", "expected", "layout"),
    [
        (frames.ping(7), (frames.PING, 7, 0), "0100000007"),
        (frames.pong(2**32 - 1), (frames.PONG, 2**32 - 1, 0), "02ffffffff"),
        (frames.challenge(2**64 - 2), (frames.CHALLENGE, 2**64 - 2, 0), "03fffffffffffffffe"),
        (frames.echo(5), (frames.ECHO, 5, 0), "040000000000000005"),
        (frames.rekey(9, b"abc"), (frames.REKEY_FIRST, 3 + 2, 6 + 2), "090003616263"),
        (frames.close(129), (frames.CLOSE, 129, 0), "0581"),
        (
            frames.lane_open(1, 2),
            (frames.LANE_OPEN, 1, 2),
            "0600000000000000010000000000000002",
        ),
    ],
)
def test_layouts(encoded: bytes, expected: tuple[int, int, int], layout: str) -> None:
    assert encoded == bytes.fromhex(layout)
    *decoded, offset = frames.control_untrusted(b"xx" + encoded + b"next", 2)
    assert tuple(decoded) == expected
    assert offset == 2 + len(encoded)
    for size in range(1, len(encoded)):
        with pytest.raises(WireError):
            frames.control_untrusted(encoded[:size], 0)


@pytest.mark.parametrize("kind", [frames.PADDING, 0x3E, 0x3F, 0x80, 0xFF])
def test_unknown_and_reserved_kinds_end_the_row(kind: int) -> None:
    payload = bytes([kind]) + frames.ping(1)
    assert frames.control_untrusted(payload, 0) == (frames.PADDING, 0, 0, len(payload))


@given(st.binary(min_size=1, max_size=40))
def test_anything_untrusted_makes_progress_or_raises_wire_error(payload: bytes) -> None:
    offset = 0
    try:
        while offset < len(payload):
            _, _, _, following = frames.control_untrusted(payload, offset)
            assert offset < following <= len(payload)
            offset = following
    except WireError:
        pass
