"""How fast a channel moves bytes between two processes of this machine: for benchmarks.

python -m utp_native.measure [--suite 1] [--mib 1024] [--plain]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from utp_native import SUITE_XCHACHA20, Address, EventKind, Pump, PumpConfig

__all__ = ["Measured", "measure_loopback"]

_MIB = 1 << 20
_CHUNK_SIZE = 1 << 18
_BATCH = 256
_WAIT_MAX_S = 0.1


@dataclass(frozen=True)
class _Keys:
    receive_cid: bytes
    send_cid: bytes
    suite: int
    send_key: bytes
    send_header_key: bytes
    receive_key: bytes
    receive_header_key: bytes
    address: Address
    initiator: bool


@dataclass(frozen=True)
class Measured:
    """One transfer over loopback, between two processes."""

    mib: int
    seconds: float
    mb_per_s: float
    """10^6 bytes a second."""
    sender_cpu_s_per_gib: float
    receiver_cpu_s_per_gib: float
    sender: dict[str, int]
    """Counters of the sending pump."""
    receiver: dict[str, int]


class _End:
    """A pump, its socket and the loop around it: what the endpoint does, without anyio."""

    def __init__(self, sock: socket.socket, config: PumpConfig) -> None:
        self.pump = Pump(sock.fileno(), random=os.urandom, now=time.monotonic(), config=config)
        self._poll = select.poll()
        self._poll.register(sock.fileno(), select.POLLIN)

    def turn(self) -> list[tuple[int, EventKind]]:
        pump = self.pump
        due = pump.next_timeout()
        wait = _WAIT_MAX_S if due is None else min(max(due - time.monotonic(), 0), _WAIT_MAX_S)
        if self._poll.poll(wait * 1000):
            pump.receive(time.monotonic(), _BATCH)
        due = pump.next_timeout()
        if due is not None and due <= time.monotonic():
            pump.handle_timeout(time.monotonic())
        return [(event.channel, event.kind) for event in pump.poll_events()]


def _keys(suite: int, material: bytes, address: Address, initiator: bool) -> _Keys:
    parts = [material[i : i + 32] for i in range(0, 192, 32)]
    if not initiator:
        parts = [parts[1], parts[0], parts[3], parts[2], parts[5], parts[4]]
    return _Keys(
        parts[0][:8],
        parts[1][:8],
        suite,
        parts[2],
        parts[4],
        parts[3],
        parts[5],
        address,
        initiator,
    )


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _receive(pipe: Connection, suite: int, material: bytes, size: int, config: PumpConfig) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        end = _End(sock, config)
        pipe.send(sock.getsockname())
        end.pump.add_plane(_keys(suite, material, pipe.recv(), False))
        pipe.send("ready")
        buffer = bytearray(_CHUNK_SIZE)
        got = 0
        channel = None
        started = _cpu_s()
        while got < size:
            for handle, _ in end.turn():
                channel = handle
            if channel is not None:
                while count := end.pump.read_into(channel, buffer):
                    got += count
        pipe.send((_cpu_s() - started, end.pump.counters()))
        for _ in range(5):
            end.turn()
        end.pump.close()


def measure_loopback(
    suite: int = SUITE_XCHACHA20, mib: int = 1024, config: PumpConfig | None = None
) -> Measured:
    """Move `mib` MiB from this process to a new one over a channel, and say what it took."""
    config = config or PumpConfig()
    material = os.urandom(192)
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    size = mib * _MIB
    child = context.Process(target=_receive, args=(other, suite, material, size, config))
    child.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        end = _End(sock, config)
        address = pipe.recv()
        pipe.send(sock.getsockname())
        plane = end.pump.add_plane(_keys(suite, material, address, True))
        pipe.recv()
        chunk = memoryview(os.urandom(_CHUNK_SIZE))
        started, started_cpu = time.monotonic(), _cpu_s()
        channel = end.pump.open_channel(plane)
        left = size
        while not pipe.poll():
            while left:
                taken = end.pump.write(channel, chunk[: min(left, _CHUNK_SIZE)])
                left -= taken
                if taken < _CHUNK_SIZE:
                    break
            end.turn()
        seconds = time.monotonic() - started
        cpu = _cpu_s() - started_cpu
        receiver_cpu, receiver = pipe.recv()
        sender = end.pump.counters() | end.pump.channel_figures(channel)
        end.pump.close()
    child.join()
    gib = size / 2**30
    return Measured(
        mib, seconds, size / seconds / 1e6, cpu / gib, receiver_cpu / gib, sender, receiver
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m utp_native.measure", description=__doc__)
    parser.add_argument("--suite", type=int, choices=(1, 2), default=SUITE_XCHACHA20)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--plain", action="store_true", help="without offload")
    options = parser.parse_args(arguments)
    measured = measure_loopback(options.suite, options.mib, PumpConfig(offload=not options.plain))
    print(json.dumps(vars(measured)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
