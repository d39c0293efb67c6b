"""Congestion control in virtual time: our fork and stock libutp over the same simulated paths.

The table of docs/native.md; `--markdown` prints it as one. Nothing here depends on the machine.

`--losses` prints the table of random losses instead: our fork, stock libutp and a CUBIC-like flow.
`--real` measures one channel beside the kernel's TCP on a bottleneck of this machine's kernel.
"""

import argparse
import json
import statistics
from collections.abc import Callable

from benchmarks import bottleneck_real
from utp_native.bottleneck import Flow, Path, Result, jain, simulate

LINK = Path(rate_bps=10e6, rtt_s=0.02, buffer_s=0.2)
MINUTE_S = 60.0

Figures = dict[str, str]


def _mbps(*rates: float) -> str:
    return " / ".join(f"{rate / 1e6:.3g}" for rate in rates)


def _queue(result: Result, start_s: float, end_s: float) -> str:
    return f"{1e3 * result.queue_median_s(start_s, end_s):.1f} ms"


def _steady(stock: bool, path: Path) -> Figures:
    result = simulate(path, [Flow()], MINUTE_S, stock=stock)
    return {
        "Mb/s over 60 s": _mbps(result.rate(0, 0, MINUTE_S)),
        "median queue": _queue(result, 0, MINUTE_S),
    }


def _fetch(stock: bool) -> Figures:
    result = simulate(Path(0, 0.05), [Flow(size=64 << 20)], MINUTE_S, stock=stock)
    return {"seconds": f"{result.finished_s[0] or float('inf'):.2f}"}


def _shared(stock: bool, path: Path, flows: int) -> Figures:
    end = (flows + 2) * MINUTE_S
    started = [Flow(start_s=i * MINUTE_S) for i in range(flows)]
    result = simulate(path, started, end, stock=stock)
    rates = [result.rate(i, end - MINUTE_S, end) for i in range(flows)]
    return {
        "Mb/s each": _mbps(*rates),
        "Jain": f"{jain(rates):.3f}",
        "median queue": _queue(result, end - MINUTE_S, end),
    }


def _beside_tcp(stock: bool, path: Path) -> Figures:
    result = simulate(path, [Flow(), Flow(30, cubic=True, stop_s=90)], 120, stock=stock)
    recovered = next(
        (s / 10 for s in range(290) if result.rate(0, 90 + s / 10, 91 + s / 10)
         >= 0.9 * path.rate_bps), None,
    )  # fmt: skip
    return {
        "share of the link": f"{100 * result.rate(0, 30, 90) / path.rate_bps:.1f} %",
        "TCP's": f"{100 * result.rate(1, 30, 90) / path.rate_bps:.1f} %",
        "at 90 % after": "more than 29 s" if recovered is None else f"{recovered:.1f} s",
    }


QUICK: list[tuple[str, Callable[[bool], Figures]]] = [
    ("64 MiB, 50 ms RTT, no bottleneck", _fetch),
    ("10 Mb/s, 20 ms, buffer 200 ms", lambda stock: _steady(stock, LINK)),
    (
        "the same, two flows 60 s apart, minute 4",
        lambda stock: _shared(stock, LINK, 2),
    ),
    (
        "the same, three flows 60 s apart, minute 5",
        lambda stock: _shared(stock, LINK, 3),
    ),
    ("the same, beside CUBIC from 30 to 90 s", lambda stock: _beside_tcp(stock, LINK)),
    (
        "20 Mb/s, 50 ms, buffer 250 ms, beside CUBIC",
        lambda stock: _beside_tcp(stock, Path(20e6, 0.05, 0.25)),
    ),
    (
        "20 Mb/s, 50 ms, buffer 50 ms, beside CUBIC",
        lambda stock: _beside_tcp(stock, Path(20e6, 0.05, 0.05)),
    ),
    (
        "100 Mb/s, 100 ms, buffer 100 ms, 1 % random loss",
        lambda stock: _steady(stock, Path(100e6, 0.1, 0.1, loss=0.01)),
    ),
]
SLOW: list[tuple[str, Callable[[bool], Figures]]] = [
    (
        "1 Gb/s, 100 ms, buffer 100 ms, cold start",
        lambda stock: _steady(stock, Path(1e9, 0.1, 0.1)),
    ),
    (
        "100 Mb/s, 50 ms, buffer 200 ms, two flows 60 s apart, minute 4",
        lambda stock: _shared(stock, Path(100e6, 0.05, 0.2), 2),
    ),
]


def _payload(rtt_s: float, loss: float, *, cubic: bool = False, stock: bool = False) -> float:
    """Megabytes of payload a second over the first 20 s of 100 Mb/s, slow start included."""
    path = Path(100e6, rtt_s, 0.1, loss=loss)
    rates = (
        simulate(path, [Flow(cubic=cubic)], 20, stock=stock, seed=seed).rate(0, 0, 20)
        for seed in (1, 2)
    )
    return statistics.fmean(rates) / 8e6 * 1088 / 1148


def losses() -> None:
    """One row a path: what a flow alone moves where packets are lost without a queue."""
    for rtt_s in (0.01, 0.02, 0.05, 0.1):
        for loss in (0.001, 0.01, 0.02):
            systems = {
                "quorate": _payload(rtt_s, loss),
                "stock libutp": _payload(rtt_s, loss, stock=True),
                "CUBIC-like": _payload(rtt_s, loss, cubic=True),
            }
            for system, rate in systems.items():
                figures = {"rtt ms": rtt_s * 1e3, "loss %": loss * 100, "MB/s": f"{rate:.2f}"}
                row = {"bench": "bottleneck losses", "system": system, **figures}
                print(json.dumps(row), flush=True)


def main() -> None:
    """Run every row for the fork and for stock libutp."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the rows of many packets")
    parser.add_argument("--losses", action="store_true", help="random losses without a queue")
    parser.add_argument("--real", action="store_true", help="in network namespaces: needs root")
    parser.add_argument("--rounds", type=int, default=3, help="of --real, each of 80 s and a path")
    parser.add_argument("--markdown", action="store_true", help="as the table of docs/native.md")
    chosen = parser.parse_args()
    if chosen.losses:
        losses()
        return
    if chosen.real:
        bottleneck_real.main(chosen.rounds)
        return
    if chosen.markdown:
        print("| Path | this fork | stock libutp |\n| --- | --- | --- |")
    for name, run in QUICK if chosen.quick else [*SLOW[:1], *QUICK, *SLOW[1:]]:
        ours, stock = run(False), run(True)
        if chosen.markdown:
            cells = ["; ".join(f"{k} {v}" for k, v in each.items()) for each in (ours, stock)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
            continue
        for system, figures in (("quorate", ours), ("stock libutp", stock)):
            row = {"bench": "bottleneck", "system": system, "path": name, **figures}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
