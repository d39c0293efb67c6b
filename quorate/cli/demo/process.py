"""The parent's side of one process of the demonstration."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process

STDERR_LINES_SHOWN = 8


class StepFailed(Exception):
    """Something did not come out as said. The text says what."""


class MemberProcess:
    """A child that runs `quorate.cli.demo.member`; its events go to `on_event(name, event)`."""

    def __init__(
        self, name: str, process: Process, on_event: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.name = name
        self.key = ""
        self._process = process
        self._on_event = on_event
        self._waiting: dict[int, tuple[anyio.Event, dict[str, Any]]] = {}
        self._ready = anyio.Event()
        self._number = 0
        self._errors: list[str] = []

    @classmethod
    async def start(
        cls, name: str, directory: Path, on_event: Callable[[str, dict[str, Any]], None]
    ) -> "MemberProcess":
        """Start the child; `read` must then run in a task."""
        await anyio.Path(directory).mkdir(mode=0o700)
        process = await anyio.open_process(
            [sys.executable, "-m", "quorate.cli.demo.member", str(directory), "127.0.0.1:0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return cls(name, process, on_event)

    async def read(self) -> None:
        """Take the child's events until it ends."""
        assert self._process.stdout is not None
        rest = b""
        with suppress(anyio.ClosedResourceError):  # `end` closes the pipe under the reader.
            async for chunk in self._process.stdout:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
        for done, _ in self._waiting.values():
            done.set()
        self._ready.set()

    async def read_errors(self) -> None:
        """Keep the last lines that the child wrote to standard error."""
        assert self._process.stderr is not None
        with suppress(anyio.ClosedResourceError):
            async for chunk in self._process.stderr:
                lines = chunk.decode("utf-8", "replace").splitlines()
                self._errors = (self._errors + lines)[-STDERR_LINES_SHOWN:]

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] in ("done", "failed"):
            waiting = self._waiting.get(event["id"])
            if waiting is not None:
                waiting[1].update(event)
                waiting[0].set()
            return
        if event["event"] == "ready":
            self.key = event["key"]
            self._ready.set()
        self._on_event(self.name, event)

    async def ready(self) -> None:
        """Wait until the node is open."""
        await self._ready.wait()
        if not self.key:
            raise StepFailed(f"{self.name} did not start: " + " | ".join(self._errors))

    async def do(self, action: str, **fields: Any) -> Any:
        """Have the child do something. Raises StepFailed with its reason."""
        self._number += 1
        number, done, reply = self._number, anyio.Event(), dict[str, Any]()
        self._waiting[number] = (done, reply)
        command = json.dumps({"do": action, "id": number, **fields}) + "\n"
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send(command.encode())
            await done.wait()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise StepFailed(f"{self.name} has ended: " + " | ".join(self._errors)) from error
        finally:
            del self._waiting[number]
        if reply.get("event") != "done":
            why = reply.get("why") or "the process ended: " + " | ".join(self._errors)
            raise StepFailed(f"{self.name} could not {action}: {why}")
        return reply["result"]

    def stop(self) -> None:
        """SIGSTOP: the process is there and says nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    async def end(self) -> None:
        """End the child, stopped or not."""
        if self._process.returncode is None:
            # `kill` would look whether it is dead already, and take its status from asyncio.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await self._process.aclose()
