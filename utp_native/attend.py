"""The border of `src/socket/busy_poll.cpp`."""

from typing import Final

from utp_native.native import lib

__all__ = ["STOLEN_S", "attend"]

STOLEN_S: Final = 20e-6
"""A look into the socket takes a microsecond or two. What takes so much longer was not that look:
another thread had the processor."""
_STOLEN_US: Final = round(1e6 * STOLEN_S)


def attend(fd: int, slice_us: int) -> int:
    """Look into a socket for so many microseconds without sleeping, at least once; the GIL is
    released meanwhile.

    1: there is something to read, or an error. 0: nothing. -1: nothing, and another thread wanted
    this processor and had it.
    """
    found: int = lib.qp_attend(fd, slice_us, _STOLEN_US)
    return found
