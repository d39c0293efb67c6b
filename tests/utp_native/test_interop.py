"""Plain BEP 29 with another implementation: npm's utp-native, which is libutp as it was pinned."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_S
from tests.utp_native.helpers import MIB, address_of
from utp_native import ChannelEvent, EventKind, NativeError, source
from utp_native.bare import BareEndpoint

SIZES = [1, 2, 1000, 1421, 65_537, MIB, 64 * MIB]
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def modules() -> Path:
    """A directory in which npm has installed utp-native; kept with the sources it is made of."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are needed for the other implementation")
    directory = source.cache_directory() / "npm"
    if not (directory / "node_modules" / "utp-native" / "package.json").is_file():
        directory.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", source.PACKAGE, "--no-audit", "--no-fund", "--silent"]
        try:
            subprocess.run(
                [*command, "--prefix", str(directory)],
                check=True,
                timeout=PATIENCE_S,
                capture_output=True,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot install {source.PACKAGE}: {error}")
    loads = subprocess.run(
        [node, "-e", "require('utp-native')"], cwd=directory, capture_output=True, check=False
    )
    if loads.returncode != 0:
        pytest.skip(f"{source.PACKAGE} has no binary for this machine")
    return directory


@contextmanager
def echo(modules: Path, *arguments: str) -> Iterator[str]:
    """npm's side; gives the line it says first."""
    process = subprocess.Popen(
        ["node", str(HERE / "npm_echo.js"), str(modules), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@contextmanager
def endpoint() -> Iterator[tuple[BareEndpoint, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        bare = BareEndpoint(sock)
        try:
            yield bare, address_of(sock)[1]
        finally:
            bare.close()


def data_of(size: int) -> bytes:
    return hashlib.shake_128(size.to_bytes(8, "big")).digest(size)


def exchange(bare: BareEndpoint, channels: dict[int, bytes]) -> None:
    """Write each channel its data, finish, and read the same until the end."""
    pump = bare.pump
    left = {channel: memoryview(data) for channel, data in channels.items()}
    got = {channel: bytearray() for channel in channels}
    ended: set[int] = set()
    while len(ended) < len(channels):
        for channel, rest in list(left.items()):
            left[channel] = rest = rest[pump.write(channel, rest) :]
            if not rest:
                pump.finish(channel)
                del left[channel]
        for event in bare.turn():
            assert event.kind is not EventKind.FAILED, event
            if event.kind is EventKind.EOF:
                ended.add(event.channel)
        for channel, received in got.items():
            while chunk := pump.read(channel, MIB):
                received += chunk
    for channel, data in channels.items():
        assert got[channel] == data
        pump.close_channel(channel)


@pytest.mark.parametrize("size", SIZES)
def test_files_to_npm_and_back(modules: Path, size: int) -> None:
    with echo(modules, "server") as port, endpoint() as (bare, _):
        channel = bare.connect(("127.0.0.1", int(port)))
        exchange(bare, {channel: data_of(size)})


@pytest.mark.parametrize("size", SIZES)
def test_npm_connects_and_the_acceptor_writes_first(modules: Path, size: int) -> None:
    with endpoint() as (bare, port), echo(modules, "client", str(port), "1"):
        (accepted,) = wait_for_accepted(bare, 1)
        exchange(bare, {accepted: data_of(size)})


def wait_for_accepted(bare: BareEndpoint, count: int) -> list[int]:
    events: list[ChannelEvent] = []
    while len(events) < count:
        events += [event for event in bare.turn() if event.kind is EventKind.ACCEPTED]
    return [event.channel for event in events]


def test_many_connections_of_one_address(modules: Path) -> None:
    with endpoint() as (bare, port), echo(modules, "client", str(port), "20"):
        accepted = wait_for_accepted(bare, 20)
        exchange(bare, {channel: data_of(5000 + i) for i, channel in enumerate(accepted)})


def test_nobody_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody, endpoint() as (bare, _):
        nobody.bind(("127.0.0.1", 0))
        channel = bare.connect(address_of(nobody))
        syn = nobody.recv(2048)
        # A reset for the connection, as another implementation would refuse it.
        reset = bytes([0x31]) + syn[1:]
        nobody.sendto(reset, ("127.0.0.1", bare_port(bare, nobody)))
        events: list[ChannelEvent] = []
        while not events:
            events = bare.turn()
        assert [(e.channel, e.kind) for e in events] == [(channel, EventKind.FAILED)]


def bare_port(bare: BareEndpoint, nobody: socket.socket) -> int:
    other = bare.connect(address_of(nobody))
    _, address = nobody.recvfrom(2048)
    bare.pump.close_channel(other, abort=True)
    port: int = address[1]
    return port


def test_what_is_not_a_packet_of_ours_is_ignored() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, endpoint() as (bare, port):
        other.bind(("127.0.0.1", 0))
        for datagram in (b"", b"\x41", bytes(20), b"\x41" + bytes(18), b"\x51" + bytes(30)):
            other.sendto(datagram, ("127.0.0.1", port))
        for _ in range(5):
            assert bare.turn(0.01) == []
        assert bare.pump.counters()["channels"] == 0
        other.sendto(b"\x41\x00\x12\x34" + bytes(12) + b"\x00\x01\x00\x00", ("127.0.0.1", port))
        assert len(wait_for_accepted(bare, 1)) == 1


def test_one_plane_for_an_address() -> None:
    with endpoint() as (bare, _):
        plane = bare.pump.add_bare_plane(("127.0.0.1", 9))
        with pytest.raises(NativeError):
            bare.pump.add_bare_plane(("127.0.0.1", 9))
        with pytest.raises(NativeError):
            bare.pump.move_plane(plane, ("127.0.0.1", 10))
        bare.pump.remove_plane(plane)
        bare.pump.add_bare_plane(("127.0.0.1", 9))
