"""Flows through a simulated bottleneck: what congestion control does, without a clock on the wall.

The simulator is C++ (`simulation/`): the shipped channel over our fork of libutp, or the pinned
libutp as it is, in virtual time. The same arguments give the same result, but for stock libutp
where packets are lost: it reads a byte behind an acknowledgement (patch 16). The simulator is built
when it is first used and is no part of the installed extension.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Flow", "Path", "Result", "jain", "simulate"]

_SLOT_S = 0.1
_PACKET_SIZE = 1088
"""What fits a sealed datagram of 1,120 bytes with XChaCha20-Poly1305."""
_OVERHEAD = 60
"""Bytes on the wire besides it: 12 of head, 4 of number, 16 of tag, 28 of UDP and IPv4."""


@dataclass(frozen=True)
class Path:
    """What lies between the two ends of every flow."""

    rate_bps: float
    """Of the queue, on the wire; 0: no queue."""
    rtt_s: float
    """Without a queue, half of it each way."""
    buffer_s: float = 0.2
    """Of the queue, in time at its rate."""
    loss: float = 0.0
    """Share of the datagrams with data that are lost whatever the queue is."""


@dataclass(frozen=True)
class Flow:
    """One sender of data."""

    start_s: float = 0.0
    size: int = 0
    """Bytes after which it ends; 0: never."""
    cubic: bool = False
    """It behaves like ordinary TCP and not like libutp."""
    stop_s: float = 0.0
    """A CUBIC-like flow stops then; 0: never."""


@dataclass(frozen=True)
class Result:
    """What came out; the rates and the queue by slots of 0.1 s."""

    wire_bps: tuple[tuple[float, ...], ...]
    """For each flow: bits a second that left the queue."""
    queue_s: tuple[float, ...]
    finished_s: tuple[float | None, ...]
    """For each flow: when its last byte was delivered."""
    dropped: tuple[int, ...]
    """For each flow: datagrams, by the queue or at random."""
    slowdowns: tuple[int, ...]
    """For each flow: LEDBAT++'s."""

    def rate(self, flow: int, start_s: float, end_s: float) -> float:
        """Mean bits a second of a flow on the wire between two instants."""
        slots = self.wire_bps[flow][round(start_s / _SLOT_S) : round(end_s / _SLOT_S)]
        return statistics.fmean(slots)

    def queue_median_s(self, start_s: float, end_s: float) -> float:
        """The queue's median length between two instants."""
        return statistics.median(self.queue_s[round(start_s / _SLOT_S) : round(end_s / _SLOT_S)])


def jain(rates: Sequence[float]) -> float:
    """Jain's index of fairness: 1 if all are equal, 1/n if one has everything."""
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def simulate(
    path: Path, flows: Sequence[Flow], duration_s: float, *, stock: bool = False, seed: int = 1
) -> Result:
    """Run `flows` over `path`; ends early when all of them have ended."""
    module = _module(stock)
    ffi, lib = module.ffi, module.lib
    config = ffi.new("qb_config *")
    config.rate_bps = int(path.rate_bps)
    config.rtt_us = round(path.rtt_s * 1e6)
    config.buffer_bytes = int(path.rate_bps * path.buffer_s / 8)
    config.loss = path.loss
    config.seed = seed
    config.duration_s = duration_s
    config.slot_s = _SLOT_S
    config.packet_size = _PACKET_SIZE
    config.overhead = _OVERHEAD
    native = ffi.new("qb_flow[]", len(flows))
    for entry, flow in zip(native, flows, strict=True):
        entry.cubic, entry.start_s, entry.stop_s = flow.cubic, flow.start_s, flow.stop_s
        entry.bytes = flow.size
    slots = round(duration_s / _SLOT_S)
    results = ffi.new("qb_flow_result[]", len(flows))
    wire = ffi.new("uint64_t[]", len(flows) * slots)
    queue = ffi.new("uint32_t[]", slots)
    if lib.qb_run(config, native, len(flows), results, wire, queue, slots) != 0:
        raise MemoryError("the simulation could not be run")
    return Result(
        tuple(
            tuple(wire[i * slots + slot] * 8 / _SLOT_S for slot in range(slots))
            for i in range(len(flows))
        ),
        tuple(value / 1e6 for value in queue),
        tuple(result.finished_s if result.finished_s >= 0 else None for result in results),
        tuple(result.dropped for result in results),
        tuple(result.slowdowns for result in results),
    )


@functools.cache
def _module(stock: bool) -> Any:
    given = os.environ.get("UTP_BOTTLENECK_MODULE")
    if given and not stock:
        built = given
    else:
        from utp_native import build

        built = str(build.build_bottleneck(stock=stock))
    spec = importlib.util.spec_from_file_location("utp_native._bottleneck", built)
    if spec is None or spec.loader is None:
        raise ImportError(f"the simulator is no module: {built}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
