"""The pump over real sockets on loopback."""

from __future__ import annotations

import hashlib
import os
import select
import socket
import sys
import threading
import time

import pytest

from tests.utp_native.helpers import MIB, address_of, key_pair, sockets
from utp_native import (
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
    ChannelEvent,
    EventKind,
    NativeError,
    Pump,
    PumpConfig,
)
from utp_native.native import ffi, lib

UDP_SEGMENT = 103
"""Linux's option, which Python's socket module does not name."""


class End:
    """A pump with its socket, driven by hand."""

    def __init__(self, sock: socket.socket, config: PumpConfig | None = None) -> None:
        self.sock = sock
        self.pump = Pump(sock.fileno(), random=os.urandom, now=time.monotonic(), config=config)
        self.control: list[tuple[bytes, tuple[str, int]]] = []
        self.events: list[ChannelEvent] = []

    def turn(self, wait_s: float = 0.0) -> None:
        due = self.pump.next_timeout()
        if due is not None:
            wait_s = min(wait_s, max(due - time.monotonic(), 0))
        if select.select([self.sock], [], [], wait_s)[0]:
            self.control += self.pump.receive(time.monotonic(), 256)
        self.pump.handle_timeout(time.monotonic())
        self.events += self.pump.poll_events()

    def kinds(self, channel: int) -> list[EventKind]:
        return [event.kind for event in self.events if event.channel == channel]


class Half:
    """One direction of a transfer: a stream known by its length, checked by its hash."""

    def __init__(self, sender: End, out: int, reader: End, into: int, size: int, seed: int) -> None:
        self.sender, self.out, self.reader, self.into = sender, out, reader, into
        self.block = memoryview(os.urandom(256) * 1024)
        self.left, self.position = size, seed
        self.written, self.read = hashlib.blake2b(), hashlib.blake2b()
        self.finished = self.done = False

    def go(self) -> None:
        while self.left:
            start = self.position % 256
            piece = self.block[start : start + min(self.left, len(self.block) - 256)]
            taken = self.sender.pump.write(self.out, piece)
            self.written.update(piece[:taken])
            self.left -= taken
            self.position += taken
            if taken < len(piece):
                break
        if not self.left and not self.finished:
            self.finished = True
            self.sender.pump.finish(self.out)
        while chunk := self.reader.pump.read(self.into, MIB):
            self.read.update(chunk)
        self.done = EventKind.EOF in self.reader.kinds(self.into)


def connect(a: End, b: End, suite: int) -> tuple[int, int]:
    keys_a, keys_b = key_pair(suite, address_of(a.sock), address_of(b.sock))
    plane_a = a.pump.add_plane(keys_a)
    b.pump.add_plane(keys_b)
    channel = a.pump.open_channel(plane_a)
    while not any(e.kind is EventKind.CONNECTED and e.channel == channel for e in a.events):
        b.turn(0.01)
        a.turn(0.01)
    return channel, b.events[-1].channel


def transfer(a: End, b: End, suite: int, size: int) -> None:
    channel_a, channel_b = connect(a, b, suite)
    there = Half(a, channel_a, b, channel_b, size, 1)
    back = Half(b, channel_b, a, channel_a, size, 2)
    while not (there.done and back.done):
        there.go()
        back.go()
        a.turn(0.001)
        b.turn(0.001)
    for half in (there, back):
        assert half.written.digest() == half.read.digest()
    while not (EventKind.CLOSED in a.kinds(channel_a) and EventKind.CLOSED in b.kinds(channel_b)):
        a.turn(0.01)
        b.turn(0.01)


def has_segmentation() -> bool:
    """Whether the kernel cuts up what is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1200)
        except OSError:
            return False
    return True


@pytest.mark.parametrize("suite", [SUITE_XCHACHA20, SUITE_AEGIS256])
def test_64_mib_each_way(suite: int) -> None:
    with sockets() as (s, t):
        a, b = End(s), End(t)
        transfer(a, b, suite, 64 * MIB)
        counters = a.pump.counters()
        assert bool(counters["segmentation"]) == has_segmentation()
        assert counters["control_received"] == counters["bulk_refused"] == 0


@pytest.mark.skipif(not has_segmentation(), reason="this kernel cuts nothing up")
def test_many_datagrams_go_to_a_system_call() -> None:
    with sockets() as (s, t):
        a, b = End(s), End(t)
        channel, _ = connect(a, b, SUITE_AEGIS256)
        before = a.pump.counters()
        a.pump.write(channel, bytes(8000))  # eight datagrams, less than the first window
        after = a.pump.counters()
        assert after["bulk_sealed"] - before["bulk_sealed"] == 8
        assert after["send_messages"] - before["send_messages"] <= 2


def test_without_offload_and_with_small_socket_buffers() -> None:
    config = PumpConfig(offload=False, socket_buffer=65536)
    with sockets() as (s, t):
        a, b = End(s, config), End(t, config)
        transfer(a, b, SUITE_XCHACHA20, 2 * MIB)
        assert a.pump.counters()["segmentation"] == 0


def test_offload_on_one_side_only() -> None:
    with sockets(socket.AF_INET6) as (s, t):
        a, b = End(s), End(t, PumpConfig(offload=False))
        transfer(a, b, SUITE_AEGIS256, 2 * MIB)


def test_larger_datagrams() -> None:
    config = PumpConfig(sealed_size_max=4096)
    with sockets() as (s, t):
        a, b = End(s, config), End(t, config)
        transfer(a, b, SUITE_AEGIS256, 4 * MIB)
    with sockets() as (s, t):
        a, b = End(s, config), End(t, config)
        channel, _ = connect(a, b, SUITE_AEGIS256)
        before = a.pump.counters()["bulk_sealed"]
        a.pump.write(channel, bytes(8000))
        assert a.pump.counters()["bulk_sealed"] - before == 2


def test_control_datagrams_in_batches() -> None:
    with sockets() as (s, t):
        a, b = End(s), End(t)
        to = address_of(t)
        sent = [(bytes([i]) * (1 + 7 * i), to) for i in range(150)]
        assert a.pump.send(sent) == 150
        while len(b.control) < 150:
            b.turn(0.1)
        source = address_of(s)
        assert b.control == [(data, source) for data, _ in sent]
        assert a.pump.send([]) == 0
        s.sendto(bytes(1500), to)  # longer than any datagram of the protocol
        s.sendto(b"", to)
        a.pump.send([(b"last", to)])
        while b.control[-1] != (b"last", source):
            b.turn(0.1)
        assert len(b.control) == 151


def test_a_call_is_bounded() -> None:
    with sockets() as (s, t):
        b = End(t, PumpConfig(offload=False))
        for i in range(40):
            s.sendto(bytes([i]), address_of(t))
        now = time.monotonic()
        assert [len(b.pump.receive(now, 16)) for _ in range(4)] == [16, 16, 8, 0]


def test_a_call_is_bounded_for_bulk() -> None:
    with sockets() as (s, t):
        config = PumpConfig(offload=False)
        a, b = End(s, config), End(t, config)
        channel, _ = connect(a, b, SUITE_AEGIS256)
        b.turn()
        before = b.pump.counters()["bulk_opened"]
        a.pump.write(channel, bytes(8000))  # eight datagrams, less than the first window
        opened = []
        for _ in range(4):
            b.pump.receive(time.monotonic(), 16, 3)
            opened.append(b.pump.counters()["bulk_opened"] - before)
        assert opened == [3, 6, 8, 8]


def test_a_socket_of_both_families() -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as both,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four,
    ):
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        four.bind(("127.0.0.1", 0))
        a, b = End(both), End(four)
        assert a.pump.send([(b"hello", address_of(four))]) == 1
        while not b.control:
            b.turn(0.1)
        assert b.control == [(b"hello", ("127.0.0.1", both.getsockname()[1]))]
        b.pump.send([(b"back", b.control[0][1])])
        while not a.control:
            a.turn(0.1)
        assert a.control == [(b"back", address_of(four))]


def test_an_address_the_network_refuses_costs_one_datagram() -> None:
    with sockets() as (s, t):
        a, b = End(s), End(t)
        batch = [(b"1", address_of(t)), (b"2", ("2001:db8::1", 9)), (b"3", address_of(t))]
        assert a.pump.send(batch) == 3
        while len(b.control) < 2:
            b.turn(0.1)
        assert [data for data, _ in b.control] == [b"1", b"3"]
        nobody = address_of(t)
        t.close()
        for _ in range(3):  # the kernel reports the refusal on a later call, if at all
            assert a.pump.send([(b"x", nobody)]) == 1
            a.control += a.pump.receive(time.monotonic())


def test_descriptors_that_are_no_udp_socket() -> None:
    for fd in (-1, 1 << 20):
        with pytest.raises(OSError, match=r"[Bb]ad file"):
            Pump(fd, random=os.urandom)
    with socket.socket() as tcp, pytest.raises(OSError):
        Pump(tcp.fileno(), random=os.urandom)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix, pytest.raises(OSError):
        Pump(unix.fileno(), random=os.urandom)
    read, write = os.pipe()
    with pytest.raises(OSError):
        Pump(read, random=os.urandom)
    os.close(read)
    os.close(write)


def test_a_socket_closed_behind_the_pump() -> None:
    with sockets() as (s, t):
        a = End(s)
        to = address_of(t)
        s.close()
        with pytest.raises(OSError):
            a.pump.receive(time.monotonic())
        with pytest.raises(OSError):
            a.pump.send([(b"x", to)])
        with pytest.raises(NativeError):
            a.pump.collect()


def test_the_gil_is_released() -> None:
    # Another thread, which needs the GIL for each step and offers it after each, counts while a
    # call works on 40,000 forged datagrams. Nobody is made to give the GIL away here, so that the
    # count moves within a call if the call does so, as soon as the thread is run, and else never.
    pump = Pump(None, random=os.urandom)
    keys = key_pair()[0]
    plane = pump.add_plane(keys)
    forged = [(keys.receive_cid + os.urandom(1000), ("127.0.0.1", 1))] * 40_000
    data, index = pump._packed(forged)
    batch = ffi.new("qp_batch *")
    count = [0]
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            count[0] += 1
            time.sleep(0)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e6)
    thread = threading.Thread(target=tick)
    thread.start()
    moved = False
    try:
        for _ in range(200):
            before = count[0]
            lib.qp_inject(pump._native(), 1.0, data, index, len(forged), batch)
            moved = count[0] != before
            if moved:
                break
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval_s)
    assert moved
    assert pump.plane_figures(plane)["opened"] == 0


def test_two_pumps_in_two_threads() -> None:
    failures: list[BaseException] = []

    def run(suite: int) -> None:
        try:
            with sockets() as (s, t):
                transfer(End(s), End(t), suite, 8 * MIB)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(suite,)) for suite in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_one_pump_of_several_threads() -> None:
    # Calls are serialised natively: writers, a reader of figures and the loop at once.
    with sockets() as (s, t):
        a, b = End(s), End(t)
        keys = key_pair(SUITE_AEGIS256, address_of(s), address_of(t))
        plane = a.pump.add_plane(keys[0])
        b.pump.add_plane(keys[1])
        stop = threading.Event()
        failures: list[BaseException] = []

        def write() -> None:
            try:
                for _ in range(20):
                    channel = a.pump.open_channel(plane)
                    for _ in range(20):
                        a.pump.write(channel, bytes(30_000))
                    a.pump.close_channel(channel)
            except BaseException as error:
                failures.append(error)

        def watch() -> None:
            while not stop.is_set():
                a.pump.counters()
                a.pump.plane_figures(plane)

        threads = [threading.Thread(target=write) for _ in range(2)]
        watcher = threading.Thread(target=watch)
        for thread in [*threads, watcher]:
            thread.start()
        got = 0
        while got < 2 * 20 * 20 * 30_000 and not failures:
            a.turn()
            b.turn()
            for event in b.events:
                if event.kind is EventKind.READABLE:
                    while chunk := b.pump.read(event.channel, MIB):
                        got += len(chunk)
                elif event.kind is EventKind.EOF:
                    while chunk := b.pump.read(event.channel, MIB):
                        got += len(chunk)
                    b.pump.close_channel(event.channel)
            b.events.clear()
        stop.set()
        for thread in [*threads, watcher]:
            thread.join()
        assert not failures
