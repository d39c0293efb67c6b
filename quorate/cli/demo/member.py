"""One process of the demonstration: a node that obeys commands on standard input.

One JSON object a line each way. A command `{"do": name, "id": n, ...}` is answered by
`{"event": "done", "id": n, "result": ...}` or `{"event": "failed", "id": n, "why": ...}`; what
happens meanwhile is told by events of its own.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup

from consensus.core.blob.tree import BlobRef, parse_ref_untrusted
from consensus.core.errors import ConsensusError
from consensus.decision import (
    Accept,
    Decision,
    GroupEnded,
    Proposal,
    Reject,
    SuspensionChanged,
    ViewChanged,
    ViewInfo,
    accept,
    reject,
)
from consensus.groups.handle import Group
from consensus.node import Node
from transport.core.errors import TransportError

BUDGET_LIMIT_EUR = 1000
PRICES_EUR = {"tea": 3, "coffee": 4}
PROGRESS_STEP = 0.05


def emit(event: str, **fields: Any) -> None:
    """Tell the parent."""
    sys.stdout.write(json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


def price(proposal: Proposal) -> Accept | Reject:
    """Answer a peer that asks what something costs."""
    wanted = proposal.body.get("of") if isinstance(proposal.body, dict) else None
    return accept(PRICES_EUR[wanted]) if wanted in PRICES_EUR else reject(f"no {wanted!r} here")


def describe_view(view: ViewInfo) -> dict[str, Any]:
    """A view as JSON."""
    return {"number": view.number, "members": [key.hex() for key in view.members]}


def describe_decision(decision: Decision) -> dict[str, Any]:
    """A decision as JSON."""
    return {
        "outcome": decision.outcome.name.lower(),
        "index": decision.index,
        "view": decision.view.number,
        "kind": decision.kind,
        "body": decision.body,
        "subject": None if decision.subject is None else decision.subject.hex(),
        "proposer": decision.proposer.hex(),
        "answers": {key.hex(): value for key, value in decision.answers.items()},
        "reasons": {key.hex(): value for key, value in decision.reasons.items()},
    }


class Member:
    """The process's node, its group, and what each command does."""

    def __init__(self, node: Node, directory: Path, tasks: TaskGroup) -> None:
        self.node = node
        self.directory = directory
        self.tasks = tasks
        self.group: Group | None = None

    def held_group(self) -> Group:
        """The group this process is in."""
        if self.group is None:
            raise ConsensusError("not in a group yet")
        return self.group

    def judge(self, proposal: Proposal) -> Accept | Reject:
        """Vote on a budget: one's share below the limit, a veto above it."""
        asked = proposal.body.get("eur") if isinstance(proposal.body, dict) else None
        if not isinstance(asked, int):
            return reject("a budget names an amount in whole euros")
        if asked > BUDGET_LIMIT_EUR:
            return reject(f"{asked} EUR is above my limit of {BUDGET_LIMIT_EUR}")
        return accept({"share_eur": round(asked / len(self.held_group().view.members), 2)})

    async def follow(self, group: Group) -> None:
        """Tell the parent all that happens in the group."""
        async for event in group.events():
            match event:
                case Decision():
                    emit("decision", **describe_decision(event))
                case ViewChanged():
                    emit("view", **describe_view(event.view))
                case SuspensionChanged():
                    emit("suspended", suspended=event.suspended)
                case GroupEnded():
                    emit("ended", expelled=event.expelled, reason=event.reason)

    def enter(self, group: Group) -> dict[str, Any]:
        """Follow a group from now on."""
        self.group = group
        self.tasks.start_soon(self.follow, group)
        return describe_view(group.view)

    async def found(self, name: str) -> Any:
        return self.enter(await self.node.found(name))

    async def invite(self, key: str) -> Any:
        return self.held_group().invite(bytes.fromhex(key))

    async def join(self, token: str) -> Any:
        return self.enter(await self.node.join(token))

    async def ask(self, peer: str, kind: str, body: Any) -> Any:
        before = time.perf_counter()
        answer = await self.node.ask(bytes.fromhex(peer), kind, body)
        return {"answer": answer, "ms": round(1000 * (time.perf_counter() - before), 3)}

    async def propose(self, kind: str, body: Any, blobs: list[str] | None = None) -> Any:
        before = time.perf_counter()
        refs = [parse_ref_untrusted(text) for text in blobs or ()]
        decision = await self.held_group().propose(kind, body, blobs=refs)
        elapsed_ms = round(1000 * (time.perf_counter() - before), 3)
        return {**describe_decision(decision), "ms": elapsed_ms}

    async def share(self, path: str) -> Any:
        return str(await self.held_group().share(path))

    async def serve(self) -> None:
        """Obey until standard input ends."""
        lines = anyio.wrap_file(sys.stdin)
        commands: dict[str, Callable[..., Awaitable[Any]]] = {
            "found": self.found,
            "invite": self.invite,
            "join": self.join,
            "ask": self.ask,
            "propose": self.propose,
            "share": self.share,
        }
        async for line in lines:
            command = json.loads(line)
            action = commands[command.pop("do")]
            self.tasks.start_soon(self.obey, command.pop("id"), action, command)

    async def obey(self, number: int, action: Callable[..., Awaitable[Any]], fields: Any) -> None:
        """Run one command and answer it."""
        try:
            emit("done", id=number, result=await action(**fields))
        except (ConsensusError, TransportError, TimeoutError, OSError) as error:
            emit("failed", id=number, why=f"{type(error).__name__}: {error}")


async def run(directory: Path, listen: str) -> None:
    """Open the node and obey."""
    async with (
        Node.open(directory / "node.db", listen=listen) as node,
        anyio.create_task_group() as tasks,
    ):
        member = Member(node, directory, tasks)
        node.on("budget")(member.judge)
        node.on("price")(price)

        shown: dict[bytes, float] = {}

        def progress(ref: BlobRef, done: int, total: int) -> None:
            share = done / total if total else 1.0
            if share >= 1.0 or share - shown.get(ref.root, -1.0) >= PROGRESS_STEP:
                shown[ref.root] = share
                emit("progress", blob=str(ref), done=done, total=total)

        @node.on("publish")
        def publish(proposal: Proposal) -> Accept | Reject:
            return accept({"verified_bytes": sum(ref.size for ref in proposal.blobs)})

        node.on_progress = progress
        emit("ready", key=node.key.hex(), address=f"{node.address[0]}:{node.address[1]}")
        await member.serve()
        tasks.cancel_scope.cancel()


def main(arguments: list[str]) -> int:
    """`python -m quorate.cli.demo.member DIRECTORY LISTEN`."""
    anyio.run(run, Path(arguments[0]), arguments[1])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
