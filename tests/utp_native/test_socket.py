"""What the native path takes from the kernel besides bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.utp_native.helpers import sockets
from tests.utp_native.test_pump import End, connect, has_segmentation
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


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="is preloaded itself")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.skipif(not has_segmentation(), reason="this kernel cuts nothing up")
def test_a_narrow_way_costs_the_others_nothing(tmp_path: Path) -> None:
    library = tmp_path / "narrow.so"
    source = Path(__file__).with_name("narrow.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.utp_native.narrow"],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    # The three hundred narrow ones were refused once each; the wide one gets eight in a message.
    assert figures["wide"] <= 2
    assert figures["refused"] == 300
    assert (figures["again"], figures["refused_again"]) == (8, 0)
    # There are 256 places, and some share one.
    assert 128 < figures["narrow"] <= 256
