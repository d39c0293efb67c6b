"""Many peers behind narrow ways and one behind a wide: test_socket.py runs it with narrow.c."""

from __future__ import annotations

import ctypes
import json
import socket

from tests.utp_native.helpers import address_of, key_pair
from tests.utp_native.test_pump import End
from utp_native import SUITE_AEGIS256, EventKind

NARROW = ctypes.CDLL(None)
PEERS = 300
SIZE = 8000
"""Eight datagrams, less than the first window."""


def connect(a: End, b: End, epoch: str) -> tuple[int, int]:
    keys_a, keys_b = key_pair(SUITE_AEGIS256, address_of(a.sock), address_of(b.sock), epoch)
    plane = a.pump.add_plane(keys_a)
    b.pump.add_plane(keys_b)
    channel = a.pump.open_channel(plane)
    while EventKind.CONNECTED not in a.kinds(channel):
        b.turn(0.01)
        a.turn(0.01)
    return channel, b.events[-1].channel


def messages(a: End, b: End, ends: tuple[int, int]) -> int:
    """How many messages to the kernel a write of eight datagrams takes."""
    before = a.pump.counters()["send_messages"]
    assert a.pump.write(ends[0], bytes(SIZE)) == SIZE
    took = a.pump.counters()["send_messages"] - before
    received = 0
    while received < SIZE:
        b.turn(0.01)
        received += len(b.pump.read(ends[1], SIZE))
        a.turn()
    return took


def bound_to(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def main() -> None:
    """Writes to everybody in turn and says what it took."""
    a, wide = End(bound_to("127.0.0.1")), End(bound_to("127.0.0.1"))
    NARROW.narrow_all_but(wide.sock.getsockname()[1])
    first = connect(a, wide, "wide")
    ways = []
    for number in range(PEERS):
        peer = End(bound_to(f"127.0.{1 + number // 200}.{1 + number % 200}"))
        ways.append((peer, connect(a, peer, str(number))))
        assert messages(a, *ways[-1]) == 8
    refused = NARROW.narrow_refused()
    again = messages(a, *ways[-1])
    figures = {
        "wide": messages(a, wide, first),
        "again": again,
        "refused": refused,
        "refused_again": NARROW.narrow_refused() - refused,
        "narrow": a.pump.counters()["narrow"],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
