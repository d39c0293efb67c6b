"""One member of a durable group as a process of its own, to be killed at any moment.

    python -m tests.support.nodes.durable_member FILE PORT REPORT

Commands come as lines on stdin (`found`, `join TOKEN`, `invite KEY`, `start`, `state`), answers go
as JSON lines to stdout. Whatever is reported to this program, it appends to REPORT before anything
else, a line of JSON for each outcome. Once started it proposes, one proposal after the other.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from functools import partial

import anyio
import anyio.abc
from anyio import to_thread

from consensus.decision import OutcomeUnknown
from quorate import (
    Accept,
    Decision,
    Group,
    GroupError,
    Node,
    Proposal,
    Reject,
    accept,
    reject,
)
from tests.support.nodes.nodes import PATIENT


def told(decision: Decision) -> dict[str, object]:
    return {
        "index": decision.index,
        "outcome": decision.outcome.name,
        "kind": decision.kind,
        "body": decision.body,
        "proposer": decision.proposer.hex(),
    }


class Member:
    def __init__(self, node: Node, report: int) -> None:
        self.node = node
        self.report = report

    def note(self, what: dict[str, object]) -> None:
        os.write(self.report, json.dumps(what).encode() + b"\n")

    async def follow(self, group: Group) -> None:
        async for decision in group.decisions():
            self.note(told(decision))
        print(f"ended: {group.ended}", file=sys.stderr, flush=True)

    async def load(self, group: Group) -> None:
        life = os.getpid()
        for number in itertools.count():
            try:
                decision = await group.propose("work", [life, number], timeout_s=None)
            except OutcomeUnknown:
                return
            except GroupError:
                await anyio.sleep(0.05)
                continue
            self.note(told(decision))

    async def serve(self, group: Group, tasks: anyio.abc.TaskGroup) -> None:
        tasks.start_soon(self.follow, group)
        tasks.start_soon(self.load, group)


def say(**values: object) -> None:
    print(json.dumps(values), flush=True)


async def main(path: str, port: str, report: str) -> None:
    handle = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with (
        Node.open(path, listen=f"127.0.0.1:{port}", config=PATIENT) as node,
        anyio.create_task_group() as tasks,
    ):
        member = Member(node, handle)

        @node.on("work")
        def judge(proposal: Proposal) -> Accept | Reject:
            number = proposal.body[1]
            return reject("odd one out") if number % 5 == 4 else accept()

        groups = await node.resume()
        say(key=node.key.hex(), port=node.address[1], resumed=len(groups))
        for group in groups:
            await member.serve(group, tasks)
        while line := await to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            command, *arguments = line.split()
            if command == "found":
                group = await node.found("board", durable=True)
                groups = (group,)
                say(group=group.id.hex())
            elif command == "invite":
                say(token=groups[0].invite(bytes.fromhex(arguments[0])))
            elif command == "join":
                groups = (await node.join(arguments[0]),)
                say(group=groups[0].id.hex())
            elif command == "start":
                await member.serve(groups[0], tasks)
            elif command == "state":
                decisions, after = [], 0
                while some := await groups[0].recorded(after):
                    decisions += [told(decision) for decision in some]
                    after = some[-1].index
                view = groups[0].view
                say(decisions=decisions, view=view.number, members=len(view.members))
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:4]))
