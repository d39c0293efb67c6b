"""Two pumps and what lies between them: a seeded network in memory, or loopback sockets."""

from __future__ import annotations

import heapq
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from utp_native import SUITE_XCHACHA20, Address, ChannelEvent, EventKind, Pump, PumpConfig

A: Address = ("10.0.0.1", 1000)
B: Address = ("10.0.0.2", 2000)
MIB = 1 << 20
FULL = 1116
"""Bytes of a full datagram of suite 1: four short of the most, where 17 blocks of ChaCha20 end."""


@dataclass(frozen=True)
class Keys:
    receive_cid: bytes
    send_cid: bytes
    suite: int
    send_key: bytes
    send_header_key: bytes
    receive_key: bytes
    receive_header_key: bytes
    address: Address
    initiator: bool


def stretch(label: str, size: int = 32) -> bytes:
    return blake2b(label.encode(), digest_size=size).digest()


def key_pair(
    suite: int = SUITE_XCHACHA20, a: Address = A, b: Address = B, epoch: str = ""
) -> tuple[Keys, Keys]:
    """Keys of a plane as its initiator at `a` and its responder at `b` see them."""
    cids = [stretch(f"cid {side} {epoch}", 8) for side in "ab"]
    key, header = (
        [stretch(f"{kind} {side} {epoch}") for side in "ab"] for kind in ("key", "header")
    )
    first = Keys(cids[0], cids[1], suite, key[0], header[0], key[1], header[1], b, True)
    second = Keys(cids[1], cids[0], suite, key[1], header[1], key[0], header[0], a, False)
    return first, second


def seeded(seed: object) -> Callable[[int], bytes]:
    return random.Random(repr(seed)).randbytes


class Link:
    """Two pumps in memory and a network between them, a function of its seed."""

    def __init__(
        self,
        *,
        seed: int = 0,
        suite: int = SUITE_XCHACHA20,
        delay_s: float = 0.01,
        jitter_s: float = 0.0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        config: PumpConfig | None = None,
        config_b: PumpConfig | None = None,
        bare: bool = False,
    ) -> None:
        self.now = 1.0
        self.delay_s, self.jitter_s, self.loss, self.duplicate = delay_s, jitter_s, loss, duplicate
        self.random = random.Random(seed)
        self.a = Pump(None, random=seeded((seed, "a")), now=self.now, config=config)
        self.b = Pump(None, random=seeded((seed, "b")), now=self.now, config=config_b or config)
        keys_a, keys_b = key_pair(suite)
        self.keys = keys_a, keys_b
        # Packets of bare planes are not sealed: a network can tell which of them it loses.
        self.plane_a = self.a.add_bare_plane(B) if bare else self.a.add_plane(keys_a)
        self.plane_b = self.b.add_bare_plane(A) if bare else self.b.add_plane(keys_b)
        self.flying: list[tuple[float, int, Address, Address, bytes]] = []
        self.sent = 0
        self.events: dict[Pump, list[ChannelEvent]] = {self.a: [], self.b: []}
        self.drop: Callable[[Address, bytes], bool] = lambda source, data: False
        self.log: list[tuple[Address, bytes]] = []
        self.keep_log = False

    def collect(self) -> None:
        for pump, source, target in ((self.a, A, B), (self.b, B, A)):
            for data, address in pump.collect():
                assert address == target
                if self.keep_log:
                    self.log.append((source, data))
                if self.drop(source, data):
                    continue
                for _ in range(1 + (self.random.random() < self.duplicate)):
                    if self.random.random() < self.loss:
                        continue
                    at = self.now + self.delay_s + self.random.random() * self.jitter_s
                    self.sent += 1
                    heapq.heappush(self.flying, (at, self.sent, source, target, data))

    def step(self) -> bool:
        """Go to the next instant at which something happens; False if nothing ever will."""
        self.collect()
        times = [t for t in (self.a.next_timeout(), self.b.next_timeout()) if t is not None]
        if self.flying:
            times.append(self.flying[0][0])
        if not times:
            return False
        self.now = max(self.now, min(times))
        batches: dict[Address, list[tuple[bytes, Address]]] = {A: [], B: []}
        while self.flying and self.flying[0][0] <= self.now:
            _, _, source, target, data = heapq.heappop(self.flying)
            batches[target].append((data, source))
        for pump, address in ((self.a, A), (self.b, B)):
            if batches[address]:
                assert pump.inject(batches[address], self.now) == []
            due = pump.next_timeout()
            if due is not None and due <= self.now:
                pump.handle_timeout(self.now)
            self.events[pump] += pump.poll_events()
        self.collect()
        return True

    def run(self, until: Callable[[], Any], limit_s: float = 120.0) -> Any:
        """Step until something is true, within virtual time."""
        end = self.now + limit_s
        while not (result := until()):
            assert self.now < end, "not within the time given"
            assert self.step(), "nothing will ever happen again"
        return result

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.collect()
            times = [t for t in (self.a.next_timeout(), self.b.next_timeout()) if t is not None]
            times += [self.flying[0][0]] if self.flying else []
            if not times or min(times) > end:
                self.now = end
                return
            self.step()

    def of(self, pump: Pump, kind: EventKind) -> list[ChannelEvent]:
        return [event for event in self.events[pump] if event.kind is kind]

    def connect(self) -> tuple[int, int]:
        """A channel from `a` to `b`, as both see it."""
        before = len(self.of(self.b, EventKind.ACCEPTED))
        channel = self.a.open_channel(self.plane_a)
        self.run(lambda: len(self.of(self.b, EventKind.ACCEPTED)) > before)
        self.run(lambda: any(e.channel == channel for e in self.of(self.a, EventKind.CONNECTED)))
        return channel, self.of(self.b, EventKind.ACCEPTED)[-1].channel


class Transfer:
    """Writes `data` on one side of a link and reads it on the other, as events allow."""

    def __init__(
        self, link: Link, sender: tuple[Pump, int], reader: tuple[Pump, int], data: bytes
    ) -> None:
        self.link, self.sender, self.reader = link, sender, reader
        self.rest = memoryview(data)
        self.data = data
        self.received = bytearray()
        self.finished = False

    def go(self) -> bool:
        pump, channel = self.sender
        if not self.finished:
            self.rest = self.rest[pump.write(channel, self.rest) :]
            if not self.rest:
                pump.finish(channel)
                self.finished = True
        pump, channel = self.reader
        while chunk := pump.read(channel, 1 << 20):
            self.received += chunk
        done = any(e.channel == channel and e.kind is EventKind.EOF for e in self.link.events[pump])
        if done:
            assert self.received == self.data
        return done


@contextmanager
def sockets(family: int = socket.AF_INET) -> Iterator[tuple[socket.socket, socket.socket]]:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with (
        socket.socket(family, socket.SOCK_DGRAM) as a,
        socket.socket(family, socket.SOCK_DGRAM) as b,
    ):
        a.bind((host, 0))
        b.bind((host, 0))
        yield a, b


def with_address(keys: Keys, address: Address) -> Keys:
    return replace(keys, address=address)


def address_of(sock: socket.socket) -> Address:
    name = sock.getsockname()
    return name[0], name[1]


def repair_time(
    link: Link,
    transfer: Transfer,
    reader: int,
    begun: Callable[[], bool],
    over: Callable[[], bool] = lambda: True,
) -> float:
    """Seconds from the first loss until nothing that came waits for what was lost."""
    link.run(lambda: transfer.go() or begun())
    started = link.now

    def waiting() -> int:
        transfer.go()
        return link.b.channel_figures(reader)["reordered"]

    link.run(lambda: waiting() > 0)
    link.run(lambda: waiting() == 0 and over())
    return link.now - started
