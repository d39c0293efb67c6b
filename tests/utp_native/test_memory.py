"""Memory follows what waits to be read and written, and what runs out of it fails by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.utp_native.helpers import MIB, Link
from utp_native import PumpConfig

SPARE = 128 * 32768
"""Bytes of pieces that a pump keeps for the next channel."""
SLACK = 2 * 32768
"""Bytes of a channel that hold nothing: the piece being read and the piece being filled."""


def fill(link: Link, a: int, b: int) -> int:
    """Write until the reader's buffer is full; returns what lies there."""
    before = -1
    while (full := link.b.channel_figures(b)["receive_buffered"]) != before:
        before = full
        link.a.write(a, bytes(MIB))
        link.run_for(1)
    return full


def test_channels_that_have_been_read_hold_no_memory() -> None:
    link = Link()
    for _ in range(4):
        a, b = link.connect()
        full = fill(link, a, b)
        assert full > 15 * MIB
        held = link.b.counters()["held"]
        assert full <= held <= full + SLACK + SPARE
        # What is sent on meanwhile comes too.
        while link.b.read(b, MIB):
            link.run_for(0.2)
        assert link.b.counters()["buffered"] == 0
        assert link.b.counters()["held"] <= SPARE


def test_memory_held_follows_the_budget() -> None:
    config = PumpConfig(receive_buffer=2 * MIB, receive_budget=3 * MIB)
    link = Link(config_b=config)
    pairs = [link.connect() for _ in range(8)]
    for _ in range(2):
        for a, b in pairs:
            fill(link, a, b)
        counters = link.b.counters()
        assert counters["buffered"] > 2 * MIB
        assert counters["held"] <= counters["buffered"] + len(pairs) * SLACK + SPARE
        assert counters["buffered"] <= config.receive_budget + MIB  # a batch
        # The last few bytes of many hold a piece each and no more.
        for _, b in pairs:
            link.b.read(b, max(0, link.b.channel_figures(b)["receive_buffered"] - 1))
        assert link.b.counters()["held"] <= len(pairs) * SLACK + SPARE
        for _ in range(20):
            for _, b in pairs:
                while link.b.read(b, MIB):
                    pass
            link.run_for(0.2)
        assert link.b.counters()["held"] <= SPARE


def test_small_channels_hold_small_pieces() -> None:
    link = Link()
    pairs = [link.connect() for _ in range(50)]
    for a, _ in pairs:
        link.a.write(a, b"a few bytes")
    link.run_for(1)
    assert link.b.counters()["buffered"] == 50 * 11
    assert link.b.counters()["held"] == 50 * 4096


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="replaces malloc itself")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_each_allocation_may_fail(tmp_path: Path) -> None:
    library = tmp_path / "starve.so"
    source = Path(__file__).with_name("starve.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.utp_native.starved", "7"],
        # What is freed is overwritten, so that whoever still uses it finds nonsense.
        env={**os.environ, "LD_PRELOAD": str(library), "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
