"""Servers that send back what they get, each in a process of its own, of the systems measured
beside this project; and the certificate of those that have one.
"""

import asyncio
import datetime
import ipaddress
import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.children import say

if TYPE_CHECKING:
    import zmq

HOST = "127.0.0.1"
NAME = "localhost"


def certificate(directory: Path) -> tuple[Path, Path]:
    """A new certificate for `NAME`, signed by its own P-256 key, and that key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address(HOST))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


class _Stream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def _until_told() -> None:
    """Until the parent closes our standard input."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), told.set)
    await told.wait()


def tcp() -> None:
    """Plain TCP."""
    asyncio.run(_serve_stream(None, {}))


def tls() -> None:
    """TLS 1.3; the client trusts the certificate that is told to it."""
    with tempfile.TemporaryDirectory() as directory:
        paths = certificate(Path(directory))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(*paths)
        asyncio.run(_serve_stream(context, {"certificate": paths[0].read_text()}))


async def _serve_stream(context: ssl.SSLContext | None, more: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Stream, HOST, 0, ssl=context, backlog=1024)
    say({"port": server.sockets[0].getsockname()[1], **more})
    await _until_told()


def udp() -> None:
    """Bare datagrams."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(_Datagrams, (HOST, 0))
        say({"port": transport.get_extra_info("sockname")[1]})
        await _until_told()

    asyncio.run(main())


def quic() -> None:
    """aioquic, by its streams."""
    from aioquic.asyncio.server import serve
    from aioquic.quic.configuration import QuicConfiguration

    handlers = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(answer(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    async def main(configuration: QuicConfiguration, told: str) -> None:
        server = await serve(HOST, 0, configuration=configuration, stream_handler=begin)
        assert server._transport is not None
        say({"port": server._transport.get_extra_info("sockname")[1], "certificate": told})
        await _until_told()

    with tempfile.TemporaryDirectory() as directory:
        paths = certificate(Path(directory))
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["echo"])
        configuration.load_cert_chain(*paths)
        asyncio.run(main(configuration, paths[0].read_text()))


def curve() -> None:
    """pyzmq with CURVE."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        public, secret = zmq.curve_keypair()
        socket.curve_server = True
        socket.curve_secretkey = secret
        port = socket.bind_to_random_port(f"tcp://{HOST}")
        say({"port": port, "public": public.decode()})
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        while sys.stdin.fileno() not in dict(poller.poll()):
            while True:
                try:
                    socket.send_multipart(socket.recv_multipart(zmq.NOBLOCK), zmq.NOBLOCK)
                except zmq.Again:
                    break
        socket.close(0)


def curve_connect(
    socket: "zmq.Socket[Any]", keys: tuple[bytes, bytes], address: str, server: bytes
) -> None:
    """Connect a client's socket with its own public and secret key, and the server's public one."""
    socket.curve_publickey, socket.curve_secretkey = keys
    socket.curve_serverkey = server
    socket.linger = 0
    socket.connect(address)
