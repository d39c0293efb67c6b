"""Other processes of a benchmark: a function of a module, run by a fresh interpreter.

A child prints one JSON object when it is ready and ends when its standard input does, so that
none outlives the benchmark.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

START_TIMEOUT_HINT = "the child ended before it was ready"


class Child:
    """A running child; `ready` is what it said when it was."""

    def __init__(self, process: subprocess.Popen[bytes], ready: Any) -> None:
        self.process = process
        self.ready = ready

    def tell(self, message: object) -> None:
        """One JSON line to the child."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """One JSON line from the child."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a child of the benchmark has ended")
        return json.loads(line)

    def do(self, what: str, **more: object) -> Any:
        """Tell it to do something, and hear what came of it."""
        self.tell({"do": what, **more})
        return self.hear()


@contextmanager
def child(
    module: str, function: str, *, before: Sequence[str] = (), **arguments: object
) -> Iterator[Child]:
    """Run `module.function(**arguments)` in a process of its own for the length of the block;
    `before` goes before the command, to run it elsewhere."""
    code = (
        f"import json, sys, {module} as m; m.{function}(**json.loads(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [*before, sys.executable, "-c", code, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(START_TIMEOUT_HINT)
        yield Child(process, json.loads(line))
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def together(
    module: str, function: str, arguments: Sequence[dict[str, Any]]
) -> Iterator[list[Child]]:
    """Children of which none is ready before all of them run."""
    with ExitStack() as stack, ThreadPoolExecutor(len(arguments)) as pool:
        managers = [child(module, function, **each) for each in arguments]
        entered = list(pool.map(lambda manager: manager.__enter__(), managers))
        for manager in managers:
            stack.push(manager)
        yield entered


def free_ports(number: int) -> list[int]:
    """TCP ports on loopback that nobody has at the moment."""
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def say(message: object) -> None:
    """From a child: one JSON line to the parent."""
    print(json.dumps(message), flush=True)
