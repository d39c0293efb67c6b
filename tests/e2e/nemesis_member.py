"""One member under the nemesis: a node that proposes without rest and logs its history.

`python -m tests.e2e.nemesis_member DIRECTORY LISTEN LOG BACKEND`; one JSON object a line on
standard input (commands) and output (what has happened).
"""

import json
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from consensus import (
    Accept,
    ConsensusError,
    Decision,
    Group,
    GroupEnded,
    Node,
    OutcomeUnknown,
    Proposal,
    Reject,
    ViewChanged,
    accept,
    reject,
)
from tests.support.recorded import record_groups
from transport.core.errors import TransportError

PROPOSERS = 3
PAUSE_S = (0.01, 0.1)
VETOED_OF = 11
"""One proposal in so many is vetoed, by whom its number says."""
UNFINISHED_S = 15.0


def tell(event: str, **fields: Any) -> None:
    """A line for the parent."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Member:
    """The process's node, its group and its work."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._group: Group | None = None
        self._resting = False
        self._open = 0
        self._settled = anyio.Event()
        self._made = 0

    def judge(self, proposal: Proposal) -> Accept | Reject:
        """Yes, but for a few."""
        _, number = proposal.body
        if number % VETOED_OF == 0 and self._node.key[0] % 3 == number % 3:
            return reject("the eleventh")
        return accept(number)

    async def follow(self, group: Group) -> None:
        """Tell the parent of views and of the end."""
        async for event in group.events():
            if isinstance(event, ViewChanged):
                members = [key.hex() for key in event.view.members]
                tell("view", number=event.view.number, members=members)
            elif isinstance(event, GroupEnded):
                tell("ended", expelled=event.expelled, reason=event.reason)

    async def work(self, group: Group) -> None:
        """Propose, look at what came of it, and go on."""
        while not self._resting and group.ended is None:
            self._made += 1
            body = [self._node.key.hex()[:8], self._made]
            self._open += 1
            try:
                decision: Decision = await group.propose("work", body, timeout_s=None)
                if decision.body != body or decision.proposer != self._node.key:
                    raise AssertionError(f"asked for {body}, got {decision}")
            except OutcomeUnknown:
                pass  # Cut off; the end of the group is told by an event.
            except ConsensusError:
                await anyio.sleep(0.2)  # Suspended, or too busy.
            finally:
                self._open -= 1
                self._settled.set()
            await anyio.sleep(random.uniform(*PAUSE_S))

    async def _enter(self, group: Group, tasks: Any) -> dict[str, Any]:
        self._group = group
        tasks.start_soon(self.follow, group)
        for _ in range(PROPOSERS):
            tasks.start_soon(self.work, group)
        view = group.view
        tell("view", number=view.number, members=[key.hex() for key in view.members])
        return self.status()

    async def obey(self, command: dict[str, Any], tasks: Any) -> Any:
        """Do one thing."""
        match command["do"]:
            case "found":
                return await self._enter(await self._node.found("board"), tasks)
            case "invite":
                assert self._group is not None
                return self._group.invite(bytes.fromhex(command["key"]))
            case "join":
                return await self._enter(await self._node.join(command["token"]), tasks)
            case "rest":
                self._resting = True
                with anyio.fail_after(UNFINISHED_S):
                    while self._open:
                        self._settled = anyio.Event()
                        await self._settled.wait()
                return self.status()
            case "status":
                return self.status()
            case "propose":
                assert self._group is not None
                return (await self._group.propose("work", ["last", 1])).outcome.name
        raise ConsensusError(f"no such command: {command}")

    def status(self) -> dict[str, Any]:
        """Where this member stands."""
        group = self._group
        if group is None or group.ended is not None:
            return {"view": 0, "members": [], "open": self._open, "made": self._made}
        view = group.view
        members = [key.hex() for key in view.members]
        return {
            "view": view.number, "members": members, "open": self._open, "made": self._made,
        }  # fmt: skip

    async def answer(self, command: dict[str, Any], tasks: Any) -> None:
        """Do it and say how it went."""
        number = command["id"]
        try:
            tell("done", id=number, result=await self.obey(command, tasks))
        except (ConsensusError, TransportError, TimeoutError, OSError) as error:
            tell("failed", id=number, why=f"{type(error).__name__}: {error}")


async def run(directory: Path, listen: str) -> None:
    """Until standard input ends."""
    async with (
        Node.open(directory / "node.db", listen=listen) as node,
        anyio.create_task_group() as tasks,
    ):
        member = Member(node)
        node.on("work")(member.judge)
        tell("ready", key=node.key.hex())
        async for line in anyio.wrap_file(sys.stdin):
            tasks.start_soon(member.answer, json.loads(line), tasks)
        tasks.cancel_scope.cancel()


def main(arguments: list[str]) -> None:
    """See the module."""
    directory, listen, log, backend = arguments
    record_groups(Path(log))
    entry: Callable[..., Awaitable[None]] = run
    anyio.run(entry, Path(directory), listen, backend=backend)


if __name__ == "__main__":
    main(sys.argv[1:])
