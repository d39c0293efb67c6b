"""Rows of results, and what every benchmark's command line has."""

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Sequence


def row(
    bench: str, system: str, metric: str, values: Sequence[float], unit: str, **more: object
) -> None:
    """Print one row: the median of `values` with their spread."""
    result = {
        "bench": bench,
        "system": system,
        "metric": metric,
        "value": _round(statistics.median(values)),
        "unit": unit,
        "min": _round(min(values)),
        "max": _round(max(values)),
        "n": len(values),
        **more,
    }
    print(json.dumps(result), flush=True)


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def options(description: str | None) -> argparse.Namespace:
    """Parse the command line that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each system")
    parsed = parser.parse_args()
    if parsed.quick:
        parsed.rounds = 1
    return parsed


def available(module: str, system: str) -> bool:
    """Whether an optional peer is installed; says so on standard error when not."""
    if importlib.util.find_spec(module) is not None:
        return True
    print(f"{system} is not installed (pip install .[bench]): not measured", file=sys.stderr)
    return False
