"""One process floods a responder as fast as it can while honest strangers want to be served.

Loopback, bounded in time. The responder is a process on one processor, the flooder one on the
other, which it shares with the honest strangers: what is measured is what a flood leaves of the
responder. It sends garbage, hellos (P1), or one true P3 again and again. Each honest handshake is
a first contact with a request and its answer.

`hostile datagram`: the responder's processor time while nobody else wants anything. `memory`: what
it has grown by in that time.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import anyio

from benchmarks.children import Child, child, say
from benchmarks.quorate_sides import TRANSPORT, Transport, serving
from benchmarks.report import options, percentile, row
from transport.core.crypto.keys import Identity
from transport.core.initiator.initiator import Initiator
from transport.core.types import Address

KINDS = ("garbage", "hello", "initiate")
STRANGERS = 8
_PATIENCE_S = 5.0
_RETRY_S = 0.5
_DIFFERENT = 1_024
_GARBAGE_SIZE = 200
_BATCH = 64
_SETTLE_S = 0.2


def _bind_to(processor: int) -> None:
    there = sorted(os.sched_getaffinity(0))
    if len(there) > 1:
        os.sched_setaffinity(0, {there[processor]})


def _memory() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def responder() -> None:
    """Child: sends back what it gets, and tells what it has used when it is asked."""
    _bind_to(0)

    async def main() -> None:
        here = Transport(answers=True)
        async with serving(here):
            say({"key": here.identity.key.hex(), "address": list(here.endpoint.address)})
            while await anyio.to_thread.run_sync(sys.stdin.readline):
                received = here.endpoint._pump.counters()["control_received"]
                say({"memory": _memory(), "received": received, "spent_s": time.process_time()})

    anyio.run(main)


def flooder(key: str, address: tuple[str, int]) -> None:
    """Child: floods with the kind it is told, for as long as it is told."""
    _bind_to(1)
    target = address[0], address[1]
    say({})
    for line in sys.stdin:
        told = json.loads(line)
        # A socket of its own each time: answers to the flood before would fill it.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            datagrams = _hostile(told["do"], bytes.fromhex(key), target, sock)
            sock.setblocking(False)
            say({"sent": _flood(sock, datagrams, target, time.monotonic() + told["seconds"])})


def _flood(sock: socket.socket, datagrams: Sequence[bytes], target: Address, end: float) -> int:
    sent = 0
    while time.monotonic() < end or not sent:
        for number in range(sent, sent + _BATCH):
            try:
                sock.sendto(datagrams[number % len(datagrams)], target)
            except BlockingIOError:
                continue
            sent += 1
    return sent


def _hostile(kind: str, key: bytes, target: Address, sock: socket.socket) -> Sequence[bytes]:
    """What to send: for `initiate` a P3 that the responder would admit once."""
    if kind == "garbage":
        return [os.urandom(_GARBAGE_SIZE) for _ in range(_DIFFERENT)]
    if kind == "hello":
        return [_initiator(key).hello(time.monotonic()) for _ in range(_DIFFERENT)]
    sock.settimeout(_RETRY_S)
    initiator = _initiator(key)
    hello = initiator.hello(time.monotonic())
    while not initiator.ready:
        # The responder may be busy with the flood before.
        sock.sendto(hello, target)
        with contextlib.suppress(TimeoutError):
            initiator.receive_challenge_untrusted(sock.recv(2_048), time.monotonic())
    return [initiator.initiate(b"", time.monotonic())]


def _initiator(key: bytes) -> Initiator:
    return Initiator(
        Identity.generate(os.urandom),
        key,
        TRANSPORT.handshake,
        os.urandom,
        message_cid=os.urandom(8),
        bulk_cid=os.urandom(8),
        incarnation=1,
    )


class Cost(NamedTuple):
    """Of one flood, to the responder."""

    datagram_us: float
    """Processor time for each hostile datagram."""
    arrived_per_s: float
    grown_kib: float


async def _strangers(sides: Sequence[Transport], there: Child, seconds: float) -> list[float]:
    """How long each served honest handshake took."""
    key = bytes.fromhex(there.ready["key"])
    addresses: list[Address] = [tuple(there.ready["address"])]
    end = time.perf_counter() + seconds
    taken: list[float] = []

    async def come(here: Transport) -> None:
        while (before := time.perf_counter()) < end:
            with anyio.move_on_after(end - before + _PATIENCE_S):
                await here.call(key, addresses)
                taken.append(time.perf_counter() - before)
            here.leave(key)

    await asyncio.gather(*map(come, sides))
    return taken


async def _hostile_alone(there: Child, flood: Child, kind: str, seconds: float) -> Cost:
    """What a flood that nobody else comes beside costs the responder."""
    before = there.do("tell")
    flood.do(kind, seconds=seconds)
    came = 0
    while not came:  # The responder may not have been run meanwhile.
        await anyio.sleep(_SETTLE_S)
        after = there.do("tell")
        came = after["received"] - before["received"]
    spent_s = after["spent_s"] - before["spent_s"]
    return Cost(1e6 * spent_s / came, came / seconds, (after["memory"] - before["memory"]) / 1024)


async def run(rounds: int, seconds: float) -> None:
    """Every kind in every round, beside a round without a flood."""
    _bind_to(1)
    served: dict[str, list[float]] = {kind: [] for kind in ("none", *KINDS)}
    medians: dict[str, list[float]] = {kind: [] for kind in ("none", *KINDS)}
    costs: dict[str, list[Cost]] = {kind: [] for kind in KINDS}
    sides = [Transport(answers=False) for _ in range(STRANGERS)]
    with child("benchmarks.flood", "responder") as there:
        where = {name: there.ready[name] for name in ("key", "address")}
        with child("benchmarks.flood", "flooder", **where) as flood:
            async with serving(*sides):
                await _strangers(sides, there, seconds)
                for kind in ("none", *KINDS) * rounds:
                    if kind != "none":
                        costs[kind].append(await _hostile_alone(there, flood, kind, seconds))
                        flood.tell({"do": kind, "seconds": seconds})
                    taken = await _strangers(sides, there, seconds)
                    served[kind].append(len(taken) / seconds)
                    medians[kind].append(1e3 * percentile(taken or [_PATIENCE_S], 0.5))
                    if kind != "none":
                        flood.hear()
    for kind in ("none", *KINDS):
        row("flood", "quorate", "honest handshakes served", served[kind], "1/s", flood=kind)
        row("flood", "quorate", "their median time", medians[kind], "ms", flood=kind)
    for kind, found in costs.items():
        datagram_us, arrived, grown = zip(*found, strict=True)
        row("flood", "quorate", "hostile datagrams taken", arrived, "1/s", flood=kind)
        row("flood", "quorate", "hostile datagram", datagram_us, "us", flood=kind)
        row("flood", "quorate", "memory", grown, "KiB", flood=kind)
        assert max(grown) < 1_024, f"a flood of {kind} makes the responder grow"


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    anyio.run(run, chosen.rounds, 0.1 if chosen.quick else 3.0)


if __name__ == "__main__":
    main()
