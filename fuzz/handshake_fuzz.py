"""Fuzzes the handshake: `python -m fuzz.handshake_fuzz --seconds 600`.

Every target of `fuzz.targets` in turn gets bytes that Hypothesis draws: kept seeds (`corpus/`)
bent in a few places, two of them spliced, or noise. What fails is shrunk, written to `found/` and
printed; a later run begins with it. One JSON line at the end; the status is 1 if anything failed.

`--corpus` writes the seeds anew, after a layout has changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from fuzz.targets import DECODERS, Target, machines, seeds

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FOUND = HERE / "found"
EXAMPLES_PER_ROUND = 200
SIZE_MAX = 1400


def corpus() -> list[bytes]:
    """The kept seeds, and what earlier runs have found."""
    files = [*sorted(CORPUS.glob("*.bin")), *sorted(FOUND.glob("*.bin"))]
    return [file.read_bytes() for file in files]


def write_corpus() -> int:
    """Write every seed to a file of its own."""
    CORPUS.mkdir(exist_ok=True)
    for name, data in seeds().items():
        (CORPUS / f"{name.replace(' ', '_')}.bin").write_bytes(data)
    return 0


@st.composite
def bent(draw: st.DrawFn, kept: list[bytes]) -> bytes:
    """A seed with a few changes."""
    data = bytearray(draw(st.sampled_from(kept)))
    for _ in range(draw(st.integers(0, 4))):
        size = len(data)
        kind = draw(st.sampled_from(("flip", "set", "cut", "insert", "number", "splice")))
        at = draw(st.integers(0, max(0, size - 1)))
        if kind == "flip" and size:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and size:
            data[at] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF)))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=64))
        elif kind == "number":
            width = draw(st.sampled_from((2, 4, 8)))
            number = draw(st.sampled_from((0, 1, 2**15, 2**31 - 1, 2**31, 2**63)))
            data[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "big")
        elif kind == "splice":
            other = draw(st.sampled_from(kept))
            data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data[:SIZE_MAX])


def inputs(kept: list[bytes]) -> st.SearchStrategy[bytes]:
    """What targets are given."""
    return st.one_of(bent(kept), bent(kept), st.binary(max_size=SIZE_MAX))


def fuzz(target: Target, kept: list[bytes], examples: int, number: int) -> bytes | None:
    """Give a target so many inputs; the smallest that fails, or None."""
    failing: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(inputs(kept))
    def run(data: bytes) -> None:
        try:
            target(data)
        except HypothesisException:
            raise
        except Exception:
            failing.append(data)
            raise

    try:
        run()
    except Exception as error:
        # A machine has moved on when it is given the same again, so a failure may seem flaky; what
        # failed is kept all the same.
        if not failing:
            raise
        print(f"{type(error).__name__}: {error}"[:300], file=sys.stderr)
        return min(failing, key=len)
    return None


def keep(name: str, data: bytes) -> Path:
    """Write what failed to where the next run finds it."""
    FOUND.mkdir(exist_ok=True)
    digest = hashlib.blake2b(data, digest_size=6).hexdigest()
    path = FOUND / f"{name.replace(' ', '_').replace(',', '')}-{digest}.bin"
    path.write_bytes(data)
    return path


def run_for(seconds: float, clock: Callable[[], float], first_seed: int) -> dict[str, int]:
    """Fuzz every target in turn until the time is over; how many rounds, inputs and failures."""
    kept = corpus()
    totals = {"rounds": 0, "inputs": 0, "failures": 0}
    for target in DECODERS.values():
        for data in kept:
            target(data)
        totals["inputs"] += len(kept)
    end = clock() + seconds
    number = first_seed
    while clock() < end:
        # Machines anew each round: their limits on garbage are part of what is under test.
        for name, target in {**DECODERS, **machines()}.items():
            if clock() >= end:
                break
            number += 1
            totals["inputs"] += EXAMPLES_PER_ROUND
            failed = fuzz(target, kept, EXAMPLES_PER_ROUND, number)
            if failed is not None:
                totals["failures"] += 1
                print(f"{name}: {keep(name, failed)}", file=sys.stderr)
        totals["rounds"] += 1
    return totals


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="where the inputs begin (default: 1)")
    parser.add_argument("--corpus", action="store_true", help="write the seeds anew and stop")
    options = parser.parse_args(arguments)
    if options.corpus:
        return write_corpus()
    totals = run_for(options.seconds, time.monotonic, options.seed)
    targets = len(DECODERS) + len(machines())
    print(json.dumps({"fuzz": "handshake", "targets": targets, "seed": options.seed, **totals}))
    return int(totals["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
