"""What the native path takes from the kernel besides bytes."""

from __future__ import annotations

import time

from tests.utp_native.helpers import sockets
from tests.utp_native.test_pump import End, connect
from utp_native import SUITE_XCHACHA20


def test_kernel_receive_time() -> None:
    # Every datagram to b waits a quarter of a second in its socket before the program looks. The
    # first ones do not, so that a's measure has a base to compare with.
    with sockets() as (s, t):
        a, b = End(s), End(t)
        channel, other = connect(a, b, SUITE_XCHACHA20)
        for wait_s in (0.0, 0.0, 0.0, 0.25, 0.25, 0.25, 0.25):
            a.pump.write(channel, b"x" * 1000)
            time.sleep(wait_s)
            while not b.pump.read(other, 2000):
                b.turn(0.1)
            while a.pump.channel_figures(channel)["in_flight"]:
                a.turn(0.1)
        # The least of the last three samples: 250 ms were it not for the kernel's time.
        assert a.pump.channel_figures(channel)["queueing_delay_us"] < 125_000
