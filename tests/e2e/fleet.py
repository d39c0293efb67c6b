"""The members' processes under the nemesis, from the parent's side."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process, TaskGroup

from tests.support.clocks import stood
from tests.support.disk import hang
from tests.support.network.namespaces import Namespaces
from tests.support.network.ports import kept_ports
from tests.support.preload import build
from tests.support.waiting import PATIENCE_S

REPLY_S = PATIENCE_S
STDERR_KEPT = 40
CLOSE_S = 60.0
DISK_SIZE = "64m"
PAGE_SIZE = 4096


class Refused(Exception):
    """A member could not do what it was told to, or is gone."""


@dataclass(frozen=True)
class Mode:
    """What kind of members a run has."""

    durable: bool = False
    """They go on where they were when they are started again."""
    suspicion_s: float = 0.3
    """How long a member may be silent. Starting a process takes longer than the default."""


class Child:
    """One process of one member."""

    def __init__(self, process: Process, clocks: stood.Stood) -> None:
        self.clocks = clocks
        self.key = ""
        self.port = 0
        self.resumed = 0
        """How many groups it went on with."""
        self.view = 0
        self.members: list[str] = []
        self.ended: str | None = None
        """Why it is no longer in the group."""
        self.stopped = False
        self.killed = False
        self.is_full = False
        """Its disk was, for a while: then it may have ended, and said so."""
        self.is_old = False
        """It was begun with files older than those its process before this had."""
        self.errors: list[str] = []
        self.ready = anyio.Event()
        self.silent = anyio.Event()
        """Its standard error has ended."""
        self._process = process
        self._replies: dict[int, tuple[anyio.Event, dict[str, Any]]] = {}
        self._number = 0

    @property
    def in_group(self) -> bool:
        """Whether it has told of a view and of no end."""
        return self.view > 0 and self.ended is None and not self.is_over

    @property
    def is_over(self) -> bool:
        """Whether its process is."""
        return self.killed or self.died is not None

    def begin_anew(self) -> None:
        """It comes into the group again, in the same process."""
        self.view, self.members, self.ended = 0, [], None

    async def read(self) -> None:
        """Take what it tells until it ends."""
        assert self._process.stdout is not None
        rest = b""
        async for chunk in self._process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        for event, _ in self._replies.values():
            event.set()
        self.ready.set()

    async def read_errors(self) -> None:
        """Keep the last lines of its standard error."""
        assert self._process.stderr is not None
        async for chunk in self._process.stderr:
            text = chunk.decode("utf-8", "replace")
            self.errors = (self.errors + text.splitlines())[-STDERR_KEPT:]
        self.silent.set()

    def _take(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "ready":
                self.key, self.port = event["key"], event["port"]
                self.resumed = event["resumed"]
                self.ready.set()
            case "view":
                if event["number"] >= self.view:
                    self.view, self.members = event["number"], event["members"]
            case "ended":
                self.ended = event["reason"]
            case "done" | "failed" if event["id"] in self._replies:
                waiting, reply = self._replies[event["id"]]
                reply.update(event)
                waiting.set()

    async def do(self, action: str, **fields: Any) -> Any:
        """Have it do something. Raises Refused."""
        self._number += 1
        number, reply = self._number, dict[str, Any]()
        event = anyio.Event()
        self._replies[number] = event, reply
        line = json.dumps({"do": action, "id": number, **fields}) + "\n"
        assert self._process.stdin is not None
        try:
            with anyio.move_on_after(REPLY_S):
                await self._process.stdin.send(line.encode())
                await event.wait()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise Refused("it is gone") from error
        finally:
            del self._replies[number]
        if reply.get("event") != "done":
            raise Refused(reply.get("why") or f"no reply; it said: {self.errors[-5:]}")
        return reply["result"]

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT or SIGKILL."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        self.stopped = number == signal.SIGSTOP
        self.killed |= number == signal.SIGKILL

    @property
    def died(self) -> int | None:
        """The status with which it ended without having been killed."""
        return None if self.killed else self._process.returncode

    async def close(self) -> None:
        """Have it end in order, so that what it knows is on its disk; kill it if it does not."""
        assert self._process.stdin is not None
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._process.stdin.aclose()
        self.killed = True
        with anyio.move_on_after(CLOSE_S):
            await self._process.wait()
        await self.end()

    async def end(self) -> None:
        """Kill it and take its last words."""
        self.signal(signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await self._process.wait()


class Fleet:
    """All members: by number their present lives, and their logs on disk."""

    def __init__(
        self, number: int, directory: Path, network: Namespaces | None, mode: Mode
    ) -> None:
        self.number = number
        self.mode = mode
        self.logs = directory / "logs"
        self.lives: list[Child | None] = [None] * number
        self.past: list[Child] = []
        self._directory = directory
        self._network = network
        self._count = 0
        self._ports = kept_ports(number)
        self._libraries = [build(source, directory) for source in (stood.SOURCE, hang.SOURCE)]
        self._put_back: set[int] = set()
        """Members whose files are older than what they have done."""
        self.can_fill = mode.durable and os.geteuid() == 0
        self.logs.mkdir()
        for member in range(number):
            self._disk(member).mkdir(mode=0o700, parents=True)
            if self.can_fill:
                self._mount(member)

    def _disk(self, member: int) -> Path:
        return self._directory / str(member) / "disk"

    def _mount(self, member: int) -> None:
        size = ["-o", f"size={DISK_SIZE},mode=0700"]
        command = ["mount", "-t", "tmpfs", *size, "none", str(self._disk(member))]
        self.can_fill = subprocess.run(command, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        """Give the disks back. What was on them is gone."""
        for member in range(self.number):
            if self._disk(member).is_mount():
                subprocess.run(["umount", "-l", str(self._disk(member))], check=True)

    @contextmanager
    def hanging_disk(self, member: int) -> Iterator[None]:
        """Nothing that this member writes is sure before the end."""
        hangs = self._directory / str(member) / "hangs"
        hangs.touch()
        try:
            yield
        finally:
            hangs.unlink()

    @contextmanager
    def full_disk(self, member: int) -> Iterator[None]:
        """There is no room for this member before the end."""
        ballast = self._disk(member) / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(PAGE_SIZE)) == PAGE_SIZE:
                pass
        try:
            yield
        finally:
            ballast.unlink()

    def copy_files(self, member: int) -> None:
        """Keep this member's files as they are. It may not be writing."""
        old = self._directory / str(member) / "old"
        shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(self._disk(member), old, ignore=shutil.ignore_patterns("ballast"))

    def put_files_back(self, member: int) -> None:
        """This member's files are what they were when they were copied."""
        for file in self._disk(member).iterdir():
            if file.is_file():
                file.unlink()
        shutil.copytree(
            self._directory / str(member) / "old", self._disk(member), dirs_exist_ok=True
        )
        self._put_back.add(member)

    def came_in(self, member: int) -> None:
        """As somebody new: what it had forgotten is no matter any more."""
        self._put_back.discard(member)

    async def start(self, member: int, tasks: TaskGroup) -> Child:
        """Begin a process of a member: the same key, and another incarnation unless it goes on
        with a group."""
        self._count += 1
        command = [] if self._network is None else self._network.command(member)
        host = "127.0.0.1" if self._network is None else self._network.address(member)
        command += [
            sys.executable, "-m", "tests.e2e.nemesis_member", str(self._directory / str(member)),
            f"{host}:{self._ports[member]}", str(self.logs / f"{member}.{self._count:04d}"),
            "trio" if member % 2 else "asyncio", "durable" if self.mode.durable else "memory",
            str(self.mode.suspicion_s),
        ]  # fmt: skip
        clocks = stood.Stood(self._directory / f"stood.{self._count:04d}")
        preloaded = {
            **clocks.environment(self._libraries[0]),
            "LD_PRELOAD": " ".join(map(str, self._libraries)),
            "HANGS": str(self._directory / str(member) / "hangs"),
        }
        process = await anyio.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **preloaded, "PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
        child = Child(process, clocks)
        child.is_old = member in self._put_back
        tasks.start_soon(child.read)
        tasks.start_soon(child.read_errors)
        self.lives[member] = child
        self.past.append(child)
        await child.ready.wait()
        if not child.key:
            await child.silent.wait()
            status = await process.wait()
            raise Refused(f"member {member} did not start ({status}): {child.errors}")
        # Where the others look for it. A member that was cut off until all others had begun other
        # lives in other places could not hear of that from anybody.
        self._ports[member] = child.port
        return child

    def acts(self) -> list[Path]:
        """What the members did at the bank."""
        return [self._directory / str(member) / "acts" for member in range(self.number)]

    def standing(self) -> list[Child]:
        """Those in the group, the newest view first."""
        here = [child for child in self.lives if child is not None and child.in_group]
        return sorted(here, key=lambda child: -child.view)
