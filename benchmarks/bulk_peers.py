"""What bulk.py measures this project against: each peer moves bytes between two processes.

Every function yields (bytes a second, processor seconds of both sides) once a call, and says on
standard error why it is left out when it cannot be had.
"""

import asyncio
import json
import resource
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmarks.children import child, say
from benchmarks.report import available
from utp_native import PumpConfig, source
from utp_native.measure import measure_loopback

HERE = Path(__file__).resolve().parent
PIECE = bytes(1 << 18)
MIB = 1 << 20

Peer = Callable[[int], tuple[float, float]]
"""Moves so many bytes; gives bytes a second and processor seconds."""


def processor_s() -> float:
    """Processor seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _missing(what: str, why: str) -> None:
    print(f"{what}: not measured, {why}", file=sys.stderr)


def utp_native(suite: int, offload: bool) -> Peer:
    """A channel between two pumps, without the node above."""

    def move(size: int) -> tuple[float, float]:
        measured = measure_loopback(suite, size // MIB, PumpConfig(offload=offload))
        cpu = measured.sender_cpu_s_per_gib + measured.receiver_cpu_s_per_gib
        return measured.mb_per_s * 1e6, cpu * size / 2**30

    return move


def stock_libutp() -> Peer | None:
    """The pinned libutp in a C++ driver, one packet a system call, nothing sealed."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        _missing("stock libutp", "there is no C++ compiler")
        return None
    directory = source.cache_directory() / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    sources = source.read_sources()
    for name, content in sources.items():
        (directory / name).write_bytes(content)
    program = directory / "stock_utp"
    units = [str(path) for path in sorted(directory.glob("utp_*.cpp"))]
    subprocess.run(
        [compiler, "-std=c++17", "-O2", "-w", "-DNDEBUG", "-DPOSIX", "-fno-strict-aliasing",
         f"-I{directory}", str(HERE / "stock_utp.cpp"), *units, "-o", str(program)],
        check=True,
    )  # fmt: skip

    def move(size: int) -> tuple[float, float]:
        done = subprocess.run(
            [str(program), str(size)], check=True, capture_output=True, timeout=600
        )
        result = json.loads(done.stdout)
        return size / result["seconds"], result["processor"]

    return move


def _installed(npm: str) -> Path | None:
    """The directory with npm's utp-native, installed if it is not there yet."""
    directory = source.cache_directory() / "npm"
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "node_modules" / "utp-native").is_dir():
        command = [npm, "install", source.PACKAGE, "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run([*command, "--prefix", str(directory)], capture_output=True)
        if done.returncode != 0:
            return None
    return directory


def _hear(process: subprocess.Popen[bytes]) -> dict[str, float]:
    assert process.stdout is not None
    heard: dict[str, float] = json.loads(process.stdout.readline())
    return heard


def npm_utp_native() -> Peer | None:
    """npm's utp-native: libutp under node."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        _missing("npm utp-native", "there is no npm or no node")
        return None
    directory = _installed(npm)
    if directory is None:
        _missing("npm utp-native", "npm cannot install it")
        return None

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [node, str(HERE / "npm_bulk.js"), str(directory), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def move(size: int) -> tuple[float, float]:
        reader = start("read", str(size))
        writer = None
        try:
            port = int(_hear(reader)["port"])
            writer = start("write", str(size), str(port))
            started = time.perf_counter()
            used = _hear(reader)["processor"]
            seconds = time.perf_counter() - started
            assert writer.stdin is not None
            writer.stdin.close()
            used += _hear(writer)["processor"]
        finally:
            for process in (reader, writer):
                if process is not None:
                    process.kill()
                    process.wait()
        return size / seconds, used

    return move


def tcp_server(certificate: str | None) -> None:
    """Child: sends as many bytes as the first eight of a connection ask for."""

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = int.from_bytes(await reader.readexactly(8), "big")
        while left:
            size = min(left, len(PIECE))
            writer.write(PIECE[:size])
            await writer.drain()
            left -= size
        with suppress(ConnectionError, ssl.SSLError):
            await reader.read()
        writer.close()

    async def main() -> None:
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(certificate)
        server = await asyncio.start_server(give, "127.0.0.1", 0, ssl=context)
        say({"port": server.sockets[0].getsockname()[1]})
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            say(processor_s())
        server.close()

    asyncio.run(main())


def _certificate(directory: Path) -> Path:
    """A file with a certificate and behind it, as aioquic wants it, its key."""
    both, key = directory / "both.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=bench", "-keyout", str(key), "-out",
         str(both)],
        check=True, capture_output=True,
    )  # fmt: skip
    with both.open("ab") as file:
        file.write(key.read_bytes())
    return both


def tcp(tls: bool) -> Peer | None:
    """asyncio's streams over loopback, as TLS 1.3 or plain."""
    if tls and shutil.which("openssl") is None:
        _missing("asyncio TLS", "there is no openssl command to make a certificate with")
        return None

    async def fetch(port: int, size: int, context: ssl.SSLContext | None) -> float:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, limit=len(PIECE)
        )
        started = time.perf_counter()
        writer.write(size.to_bytes(8, "big"))
        got = 0
        while got < size:
            got += len(await reader.read(len(PIECE)))
        seconds = time.perf_counter() - started
        writer.close()
        return seconds

    def move(size: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as directory:
            context, name = None, None
            if tls:
                certificate = _certificate(Path(directory))
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.load_verify_locations(certificate)
                context.check_hostname = False
                name = str(certificate)
            with child("benchmarks.bulk_peers", "tcp_server", certificate=name) as server:
                server.tell("processor")
                before = processor_s() + float(server.hear())
                seconds = asyncio.run(fetch(server.ready["port"], size, context))
                server.tell("processor")
                used = processor_s() + float(server.hear()) - before
        return size / seconds, used

    return move


def quic_server(certificate: str) -> None:
    """Child: as `tcp_server`, over a stream of aioquic."""
    from aioquic.asyncio.server import serve
    from aioquic.quic.configuration import QuicConfiguration

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = int.from_bytes(await reader.readexactly(8), "big")
        while left:
            size = min(left, len(PIECE))
            writer.write(PIECE[:size])
            await writer.drain()
            left -= size
        writer.write_eof()

    async def main() -> None:
        running: set[asyncio.Task[None]] = set()

        def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(give(reader, writer))
            running.add(task)
            task.add_done_callback(running.discard)

        configuration = QuicConfiguration(is_client=False)
        configuration.load_cert_chain(certificate)
        server = await serve("127.0.0.1", 0, configuration=configuration, stream_handler=start)
        assert server._transport is not None
        say({"port": server._transport.get_extra_info("sockname")[1]})
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            say(processor_s())

    asyncio.run(main())


def aioquic() -> Peer | None:
    """QUIC in Python."""
    if not available("aioquic", "aioquic") or shutil.which("openssl") is None:
        return None
    from aioquic.asyncio.client import connect
    from aioquic.quic.configuration import QuicConfiguration

    async def fetch(port: int, size: int) -> float:
        configuration = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE)
        async with connect("127.0.0.1", port, configuration=configuration) as client:
            reader, writer = await client.create_stream()
            started = time.perf_counter()
            writer.write(size.to_bytes(8, "big"))
            got = 0
            while got < size:
                got += len(await reader.read(len(PIECE)))
            return time.perf_counter() - started

    def move(size: int) -> tuple[float, float]:
        wanted, size = size, min(size, 64 * MIB)  # at its speed more says nothing more
        with tempfile.TemporaryDirectory() as directory:
            certificate = _certificate(Path(directory))
            with child(
                "benchmarks.bulk_peers", "quic_server", certificate=str(certificate)
            ) as server:
                server.tell("processor")
                before = processor_s() + float(server.hear())
                seconds = asyncio.run(fetch(server.ready["port"], size))
                server.tell("processor")
                used = processor_s() + float(server.hear()) - before
        return size / seconds, used * wanted / size

    return move
