"""A member whose clocks have stood reads nothing old: because its machine slept, or slewed them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from tests.support.clocks import reader
from tests.support.clocks.stood import SOURCE
from tests.support.nodes.nodes import open_nodes
from tests.support.preload import ROOT, build
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


def started(library: Path, *arguments: str) -> subprocess.Popen[str]:
    """The reader, with the library preloaded."""
    return subprocess.Popen(
        [sys.executable, "-m", reader.__name__, *arguments],
        env={**os.environ, "LD_PRELOAD": str(library)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("how", list(reader.STAND))
async def test_a_read_by_clocks_that_stood_gives_nothing_old(
    tmp_path: Path, how: str, anyio_backend_name: str
) -> None:
    child = started(build(SOURCE, tmp_path), how, anyio_backend_name)
    assert child.stdin is not None
    assert child.stdout is not None
    says = child.stdout.readline
    try:
        async with open_nodes(2) as (one, other):
            key_hex, port = (await anyio.to_thread.run_sync(says)).split()
            for node in (one, other):
                node.know(bytes.fromhex(key_hex), [("127.0.0.1", int(port))])
            sums = reader.Sum(), reader.Sum()
            group = await sums[0].replica.found(one, "sum")
            await sums[1].replica.join(other, group.invite(other.key))
            child.stdin.write(group.invite(bytes.fromhex(key_hex)) + "\n")
            child.stdin.flush()
            assert await anyio.to_thread.run_sync(says) == "reads\n"
            await anyio.to_thread.run_sync(os.waitid, os.P_PID, child.pid, os.WSTOPPED)
            await until(lambda: len(group.view.members) == 2)
            await sums[0].replica.do(7)
            child.send_signal(signal.SIGCONT)
            assert await anyio.to_thread.run_sync(says) == "refused\n"
    finally:
        child.kill()
        child.communicate()
