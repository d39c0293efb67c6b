"""Three or more etcd members on loopback, and a client that speaks gRPC to one of them.

etcd itself is the system's (Debian: `apt install etcd-server`); its data is put on tmpfs where
there is one, so that no disk is measured. The client keeps one gRPC connection, and its messages
are encoded once and by hand: what it adds to a call is grpcio alone, which a client in Python has
to pay anyhow. The gateway for HTTP and JSON is slower.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.children import free_ports
from benchmarks.report import available

TMPFS = Path("/dev/shm")
START_S = 30.0
CALL_TIMEOUT_S = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_LEADER, _HEADER, _MEMBER = 4, 1, 2
"""Fields of StatusResponse (rpc.proto): the leader's id, the header; in that, one's own id."""


def installed() -> bool:
    """Whether it can be measured here; says on standard error what is missing."""
    if shutil.which("etcd") is None:
        print("etcd is not installed (Debian: apt install etcd-server): not measured",
              file=sys.stderr)  # fmt: skip
        return False
    return available("grpc", "grpcio")


class EtcdMember:
    """One member's process, and where its clients connect."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.leads = False

    def cpu_s(self) -> float:
        """Processor time it has taken, in seconds; 0 once it is gone."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS


class EtcdClient:
    """One connection to one member. Use as a context manager."""

    def __init__(self, port: int) -> None:
        import grpc

        self.error: type[Exception] = grpc.RpcError
        self._channel: Any = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.put = self._method("KV/Put")
        self.status = self._method("Maintenance/Status")

    def _method(self, name: str) -> Any:
        return self._channel.unary_unary(f"/etcdserverpb.{name}", _same, _same)

    def __enter__(self) -> "EtcdClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def leads(self) -> bool | None:
        """Whether this member is the leader; None while there is none, or nobody answers."""
        try:
            status = fields_of(self.status(b"", timeout=1.0))
        except self.error:
            return None
        leader, own = status.get(_LEADER, 0), fields_of(status[_HEADER]).get(_MEMBER, 0)
        return None if not leader else leader == own

    def latency(self, seconds: float, payload: bytes) -> list[float]:
        """Seconds that each put took, one after the other."""
        request = put_request(b"work", payload)
        taken = []
        end = time.perf_counter() + seconds
        while (before := time.perf_counter()) < end:
            self.put(request, timeout=CALL_TIMEOUT_S)
            taken.append(time.perf_counter() - before)
        return taken

    def throughput(self, seconds: float, payload: bytes, window: int) -> tuple[int, float]:
        """Puts done, and in what time, with so many under way."""
        request = put_request(b"work", payload)
        room = threading.Semaphore(window)
        count = 0

        def done(call: Any) -> None:
            call.result()
            room.release()

        started = time.perf_counter()
        while time.perf_counter() < started + seconds:
            room.acquire()
            self.put.future(request, timeout=CALL_TIMEOUT_S).add_done_callback(done)
            count += 1
        for _ in range(window):
            room.acquire(timeout=CALL_TIMEOUT_S)
        return count, time.perf_counter() - started


def _same(data: bytes) -> bytes:
    return data


def put_request(key: bytes, value: bytes) -> bytes:
    """PutRequest (rpc.proto): key is field 1, value is field 2; each below 128 bytes."""
    return b"\x0a%c%b\x12%c%b" % (len(key), key, len(value), value)


def fields_of(data: bytes) -> dict[int, Any]:
    """Numbers and byte strings of a protobuf message by their field."""
    found: dict[int, Any] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        value: Any = varint()
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        found[key >> 3] = value
    return found


@contextmanager
def etcd_cluster(number: int) -> Iterator[list[EtcdMember]]:
    """Members that have a leader, which comes first."""
    with ExitStack() as stack:
        where = TMPFS if TMPFS.is_dir() else None
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=where)))
        ports = free_ports(2 * number)
        peers = [f"http://127.0.0.1:{port}" for port in ports[number:]]
        cluster = ",".join(f"m{at}={url}" for at, url in enumerate(peers))
        members = []
        for at, port in enumerate(ports[:number]):
            url = f"http://127.0.0.1:{port}"
            command = [
                "etcd", "--name", f"m{at}", "--data-dir", str(home / f"m{at}"),
                "--listen-client-urls", url, "--advertise-client-urls", url,
                "--listen-peer-urls", peers[at], "--initial-advertise-peer-urls", peers[at],
                "--initial-cluster", cluster, "--initial-cluster-state", "new",
                "--logger", "zap", "--log-level", "error", "--log-outputs", "/dev/null",
            ]  # fmt: skip
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(_end, process)
            members.append(EtcdMember(process, port))
        for member in members:
            member.leads = _wait(member)
        yield sorted(members, key=lambda member: not member.leads)


def _wait(member: EtcdMember) -> bool:
    """Until it knows a leader; whether that is itself."""
    end = time.monotonic() + START_S
    with EtcdClient(member.port) as client:
        while (leads := client.leads()) is None:
            if time.monotonic() > end or member.process.poll() is not None:
                raise RuntimeError("etcd did not start")
            time.sleep(0.05)
    return leads


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def put_until_gap(
    client: EtcdClient, gap_s: float, patience_s: float, payload: bytes, began: Callable[[], None]
) -> tuple[float, float]:
    """Put until nothing succeeded for a while and then something did: when what came before and
    after that gap did, on the monotonic clock."""
    request = put_request(b"work", payload)
    client.put(request, timeout=CALL_TIMEOUT_S)
    began()
    before = started = time.monotonic()
    while True:
        try:
            client.put(request, timeout=0.2)
        except client.error:
            continue
        now = time.monotonic()
        if now - before > gap_s or now - started > patience_s:
            return before, now
        before = now
