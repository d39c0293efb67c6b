"""How much memory a large blob takes: one process shares a file, another fetches it over loopback.

The file is sparse, so that 10 GiB need no disk; every chunk is hashed, sent, verified and kept all
the same. Linux only: the peak is what the kernel says (`VmHWM`), in MiB: of the whole process, and
above what it held when its node was open.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from benchmarks.children import child
from benchmarks.report import row
from quorate import Node, NodeConfig, parse_ref_untrusted

MIB = 1 << 20
LIMIT_BYTES = 1 << 40


def _memory_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"{field} is not in /proc/self/status")


def _say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def _memory(before_mib: float) -> dict[str, float]:
    peak = _memory_mib("VmHWM")
    return {"peak_mib": peak, "growth_mib": peak - before_mib}


def holder(path: str) -> None:
    """Share `path` until standard input has a line; then say what it took."""

    async def main() -> None:
        async with Node.open(f"{path}.node", listen="127.0.0.1:0") as node:
            before = _memory_mib("VmRSS")
            group = await node.found("memory")
            ref = await group.share(path, copy=False)
            _say(ref=str(ref), token=group.invite())
            await to_thread.run_sync(sys.stdin.readline)
            _say(**_memory(before))

    anyio.run(main)


def fetcher(path: str, ref: str, token: str) -> None:
    """Fetch into the store at `path`; then say what it took."""

    async def main() -> None:
        config = NodeConfig(blob_limit_bytes=LIMIT_BYTES)
        async with Node.open(path, listen="127.0.0.1:0", config=config) as node:
            before = _memory_mib("VmRSS")
            group = await node.join(token)
            began = time.perf_counter()
            report = await group.fetch(parse_ref_untrusted(ref))
            took_s = time.perf_counter() - began
            _say(seconds=took_s, received=report.received_size, **_memory(before))

    anyio.run(main)


def measure(size: int) -> dict[str, float]:
    """One transfer of `size` bytes: peaks of both processes, and its duration."""
    with tempfile.TemporaryDirectory(prefix="quorate-memory-") as directory:
        path = Path(directory, "sparse")
        with path.open("wb") as file:
            file.truncate(size)
        this = "benchmarks.blob_memory"
        with child(this, "holder", path=str(path)) as sharing:
            told = sharing.ready
            with child(this, "fetcher", path=f"{path}.there", **told) as fetching:
                fetched = fetching.ready
            sharing.tell({})
            shared = sharing.hear()
    if fetched["received"] != size:
        raise RuntimeError(f"{fetched['received']} bytes came, and not {size}")
    return {
        "fetch_peak_mib": fetched["peak_mib"],
        "fetch_growth_mib": fetched["growth_mib"],
        "share_peak_mib": shared["peak_mib"],
        "share_growth_mib": shared["growth_mib"],
        "seconds": fetched["seconds"],
    }


def main() -> None:
    """Print one row a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=10 * 1024, help="size of the blob (10240)")
    parser.add_argument("--quick", action="store_true", help="256 MiB")
    parsed = parser.parse_args()
    size = (256 if parsed.quick else parsed.mib) * MIB
    for metric, value in measure(size).items():
        unit = "s" if metric == "seconds" else "MiB"
        row("blob_memory", "quorate", metric, [value], unit, blob_mib=size // MIB)


if __name__ == "__main__":
    main()
