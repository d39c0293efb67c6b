"""A real bottleneck: network namespaces, a line with a delay, and the kernel's token bucket.

    sender == line == router ==[tbf]== receiver

The line holds each packet for half of the round trip, both ways: a process between two TUN devices,
because many kernels come without netem. The bottleneck is a router of its own: TCP puts no more
than a few packets into a queue of its own host. The way back has no queue. Needs root, `ip` and
`tc`.
"""

import fcntl
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections import deque
from types import TracebackType

from benchmarks.children import child, say

SENDER, ROUTER, RECEIVER = "10.98.0.1", "10.98.1.1", "10.98.1.2"
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
BURST_BYTES = 5000  # three packets: the queue is where the waiting is


def missing() -> str | None:
    """Why no such link can be made here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"there is no {tool} (Debian: apt install iproute2)"
    if not os.path.exists("/dev/net/tun"):
        return "the kernel has no TUN devices"
    return None


def _run(*command: str) -> str:
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=20
    ).stdout


def _tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def line(delay_s: float, devices: list[str], namespaces: list[str]) -> None:
    """Child: makes the devices, puts each into its namespace, and passes packets on, each
    `delay_s` after it came, until standard input ends."""
    os.nice(-15)  # a line that is not run on time is a queue of its own
    ends = [_tun(name) for name in devices]
    for name, namespace in zip(devices, namespaces, strict=True):
        _run("ip", "link", "set", name, "netns", namespace)
    say("made")
    held: list[deque[tuple[float, bytes]]] = [deque(), deque()]
    stdin = sys.stdin.fileno()
    while True:
        due = min((queue[0][0] for queue in held if queue), default=None)
        wait_s = None if due is None else max(due - time.monotonic(), 0)
        ready = select.select([*ends, stdin], [], [], wait_s)[0]
        if stdin in ready:
            return
        now = time.monotonic()
        for fd, queue in zip(ends, held, strict=True):
            while fd in ready:
                try:
                    queue.append((now + delay_s, os.read(fd, 65536)))
                except BlockingIOError:
                    break
                except OSError:
                    return  # the device is gone
        for fd, queue in zip(reversed(ends), held, strict=True):
            while queue and queue[0][0] <= now:
                try:
                    os.write(fd, queue.popleft()[1])
                except OSError:
                    continue  # the device is down or full: packets may be lost


class Link:
    """Use as a context manager; `sender` and `receiver` go before commands to run them there."""

    def __init__(self, rate_bps: float, round_trip_s: float, buffer_s: float) -> None:
        self.rate_bps = rate_bps
        self._buffer_bytes = int(rate_bps * buffer_s / 8)
        self._names = [f"qb{os.getpid()}{each}" for each in "smr"]
        ends = self._names[:2]
        self._line = child(
            "benchmarks.link", "line", delay_s=round_trip_s / 2, devices=ends, namespaces=ends
        )
        self.sender, self._router, self.receiver = (
            ["ip", "netns", "exec", name] for name in self._names
        )

    def __enter__(self) -> "Link":
        try:
            for name in self._names:
                _run("ip", "netns", "add", name)
            self._line.__enter__()
            self._join()
        except BaseException:
            self._remove()
            raise
        return self

    def _join(self) -> None:
        sender, router, receiver = self._names
        _run("ip", "-n", sender, "addr", "add", SENDER, "dev", sender)
        _run("ip", "-n", sender, "link", "set", sender, "up")
        _run("ip", "-n", sender, "route", "add", "default", "dev", sender)
        _run("ip", "-n", router, "link", "set", router, "up")
        _run("ip", "-n", router, "route", "add", SENDER, "dev", router)
        _run(
            "ip", "-n", router, "link", "add", "far", "type", "veth",
            "peer", "name", "near", "netns", receiver,
        )  # fmt: skip
        for name, device, address in ((router, "far", ROUTER), (receiver, "near", RECEIVER)):
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", device)
            _run("ip", "-n", name, "link", "set", device, "up")
        _run("ip", "-n", receiver, "route", "add", "default", "via", ROUTER)
        _run(*self._router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        _run(
            *self._router, "tc", "qdisc", "add", "dev", "far", "root", "tbf",
            "rate", f"{self.rate_bps:.0f}", "burst", str(BURST_BYTES),
            "limit", str(self._buffer_bytes),
        )  # fmt: skip

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._line.__exit__(kind, value, trace)
        self._remove()

    def _remove(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def queue_s(self) -> float:
        """How long what is in the bottleneck's queue takes to go through."""
        shown = _run(*self._router, "tc", "-s", "-j", "qdisc", "show", "dev", "far")
        (queue,) = json.loads(shown)
        return float(8 * queue["backlog"] / self.rate_bps)
