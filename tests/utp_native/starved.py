"""Sessions in each of which another allocation fails: run by test_memory.py, starve.c preloaded.

What a channel was doing may be lost with it. The pump goes on, and the next channel works.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

from tests.utp_native.helpers import Link, Transfer
from utp_native import NativeError, PumpConfig
from utp_native.native import lib

SIZE = 150_000
STARVE = ctypes.CDLL(None)
STARVE.starve_within.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
STARVE.starve_after.argtypes = [ctypes.c_long]
STARVE.starve_left.restype = ctypes.c_long


def find(which: int, name: str) -> None:
    """Tell where the code of a library stands."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        spans = [line.split()[0].split("-") for line in maps if name in line]
    STARVE.starve_within(which, int(spans[0][0], 16), int(spans[-1][1], 16))


def tried(act: Callable[[], object]) -> object:
    """What it returns, or None where memory ran out."""
    try:
        return act()
    except NativeError:
        return None


def session(count: int) -> bool:
    """True if there were so many allocations that one failed."""
    link = Link(config=PumpConfig(send_buffer=65536, receive_buffer=65536), loss=0.02)
    STARVE.starve_after(count)
    end = link.now + 3
    opened = [tried(lambda: link.a.open_channel(link.plane_a)) for _ in range(3)]
    while link.now < end:
        if not tried(link.step):
            link.now += 0.001
        for pump, events in link.events.items():
            for channel in {event.channel for event in events}:
                tried(lambda p=pump, c=channel: p.write(c, bytes(5000)))  # type: ignore[misc]
                tried(lambda p=pump, c=channel: p.read(c, 100_000))  # type: ignore[misc]
                if link.now > end - 1.5:
                    tried(lambda p=pump, c=channel: p.close_channel(c))  # type: ignore[misc]
    for handle in opened:  # Of one whose only event was lost nothing was heard, but it is known.
        if isinstance(handle, int):
            tried(lambda h=handle: link.a.close_channel(h))  # type: ignore[misc]
    failed = bool(STARVE.starve_left() < 0)
    STARVE.starve_after(-1)
    a, b = link.connect()
    link.run(Transfer(link, (link.a, a), (link.b, b), bytes(SIZE)).go)
    link.a.close_channel(a)
    link.b.close_channel(b)
    link.run_for(70)
    for pump in (link.a, link.b):
        assert pump.counters()["buffered"] == 0
        assert pump.counters()["channels"] <= 3, "those whose handle was lost with an event"
    return failed


def main() -> None:
    """Until nothing fails any more."""
    assert lib is not None
    find(0, "libstdc++")
    find(1, "/_native.")
    count, step = 0, int(sys.argv[1])
    while session(count):
        count += step
    print(count)


if __name__ == "__main__":
    main()
