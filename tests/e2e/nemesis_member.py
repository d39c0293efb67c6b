"""One member under the nemesis: a node that proposes, transfers and reads, and logs its history.

`python -m tests.e2e.nemesis_member DIRECTORY LISTEN LOG BACKEND durable|memory SUSPICION_S`; one
JSON object a line on standard input (commands) and output (what has happened). LOG is the path of
this process's history; those of the processes before it end in lower numbers. What it does at the
bank goes to `acts` in DIRECTORY.
"""

import json
import logging
import random
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

from consensus.groups import replica as replica_module
from consensus.machine.instant import Instant
from consensus.machine.lease_clock import LeaseClock
from consensus.machine.machine import MachineConfig
from quorate import (
    Accept,
    ConsensusError,
    Decision,
    Group,
    GroupEnded,
    Node,
    NodeConfig,
    Outcome,
    OutcomeUnknown,
    Proposal,
    Reject,
    ViewChanged,
    accept,
    reject,
)
from tests.e2e.accounts import CAPITAL, Accounts, Acts
from tests.support.clocks.stood import shared_s
from tests.support.nodes.recorded import record_groups
from transport.core.config import TransportConfig
from transport.core.errors import TransportError

PROPOSERS = 2
PAUSE_S = (0.01, 0.1)
READ_PAUSE_S = (0.005, 0.01, 0.02, 0.05, 0.4)
"""Mostly within a lease, now and then beyond it."""
THINKS_S = (0.0, 0.0, 0.0, 0.002, 0.02, 0.2)
"""How long a handler takes; votes on several proposals are under way at once."""
VETOED_OF = 11
"""One proposal in so many is vetoed, by whom its number says."""
UNFINISHED_S = 60.0
SAVE_EVERY = 64
"""Decisions between two states on the disk: often, so that they are gone back to."""


def tell(event: str, **fields: Any) -> None:
    """A line for the parent."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


class Kinds:
    """By what the last read was begun: a lease, being a quorum alone, or a question."""

    last = ""

    @classmethod
    def watch(cls) -> None:
        """From now on."""
        begin = LeaseClock.begin

        def watched(self: LeaseClock, group: Any, now: Instant | None) -> Any:
            leased = self.leased(group.lease, now) is not None
            cls.last = "lease" if leased else "alone" if group.always_leased else "question"
            return begin(self, group, now)

        LeaseClock.begin = watched  # type: ignore[method-assign]


class Member:
    """The process's node, its group and its work."""

    def __init__(self, node: Node, acts: Acts, accounts: Accounts, durable: bool) -> None:
        self._node = node
        self._acts = acts
        self._accounts = accounts
        self._durable = durable
        self._group: Group | None = None
        self._resting = False
        self._open = 0
        self._settled = anyio.Event()
        self._made = 0
        self._life = random.getrandbits(32)

    async def judge(self, proposal: Proposal) -> Accept | Reject:
        """Yes, but for a few."""
        _, number = proposal.body
        await anyio.sleep(random.choice(THINKS_S))
        if number % VETOED_OF == 0 and self._node.key[0] % 3 == number % 3:
            return reject("the eleventh")
        return accept(number)

    async def follow(self, group: Group) -> None:
        """Tell the parent of views and of the end, and the log of what is known to be decided."""
        async for event in group.events():
            if isinstance(event, Decision):
                if event.outcome is Outcome.COMMITTED:
                    self._acts.note("reported", event.index)
            elif isinstance(event, ViewChanged):
                members = [key.hex() for key in event.view.members]
                tell("view", number=event.view.number, members=members)
            elif isinstance(event, GroupEnded):
                group.abandon()  # So that the next process does not go on with it.
                tell("ended", expelled=event.expelled, reason=event.reason)

    def _name(self) -> str:
        self._made += 1
        return f"{self._node.key.hex()[:8]} {self._life} {self._made}"

    async def _doing(self, action: Callable[[], Awaitable[None]]) -> None:
        self._open += 1
        try:
            await action()
        except OutcomeUnknown:
            pass  # Cut off; the end of the group is told by an event.
        except ConsensusError:
            await anyio.sleep(0.2)  # Suspended, or too busy.
        finally:
            self._open -= 1
            self._settled.set()
        await anyio.sleep(random.uniform(*PAUSE_S))

    async def work(self, group: Group) -> None:
        """Propose, look at what came of it, and go on."""

        async def propose() -> None:
            self._made += 1
            body = [self._node.key.hex()[:8], self._made]
            decision = await group.propose("work", body, timeout_s=None)
            if decision.body != body or decision.proposer != self._node.key:
                raise AssertionError(f"asked for {body}, got {decision}")

        while not self._resting and group.ended is None:
            await self._doing(propose)

    async def transfer(self, group: Group) -> None:
        """Move money, one piece at a time; what is not known to be done is tried again."""
        unfinished = self._acts.unfinished

        async def move() -> None:
            if not unfinished:
                unfinished.append(self._name())
            name, attempt = unfinished[0], self._name()
            account = self._node.key.hex()[:8]
            self._acts.note("tried", name, attempt)
            command = [attempt, name, "pot", account, 1]
            if await self._accounts.replica.do(command, timeout_s=None) == "done":
                self._acts.note("done", name)
                unfinished.pop(0)

        while group.ended is None and (unfinished or not self._resting):
            await self._doing(move)

    async def look(self, group: Group) -> None:
        """Read, mostly often enough to hold a lease."""
        replica = self._accounts.replica

        async def read() -> None:
            began = shared_s()
            index = await replica.read(lambda: replica.index, timeout_s=UNFINISHED_S)
            self._acts.note("read", began, index, Kinds.last)

        while not self._resting and group.ended is None:
            try:
                await read()
            except (ConsensusError, TimeoutError):
                await anyio.sleep(0.1)
            await anyio.sleep(random.choice(READ_PAUSE_S))

    async def enter(self, group: Group, tasks: Any) -> dict[str, Any]:
        """The group is there: work in it."""
        self._group = group
        await group.installed.wait()
        tasks.start_soon(self.follow, group)
        for job in (*[self.work] * PROPOSERS, self.transfer, self.look):
            tasks.start_soon(job, group)
        return self.status()

    async def obey(self, command: dict[str, Any], tasks: Any) -> Any:
        """Do one thing."""
        replica = self._accounts.replica
        match command["do"]:
            case "found":
                group = await replica.found(self._node, "board", durable=self._durable)
                self._acts.note("tried", "capital", "capital")
                await replica.do(["capital", "capital", None, "pot", CAPITAL])
                return await self.enter(group, tasks)
            case "invite":
                assert self._group is not None
                return self._group.invite(bytes.fromhex(command["key"]))
            case "join":
                joined = None
                with anyio.move_on_after(command["within_s"]):
                    joined = await replica.join(self._node, command["token"])
                if joined is None:
                    raise ConsensusError("the join was given up")
                return await self.enter(joined, tasks)
            case "rest":
                self._resting = True
                with anyio.fail_after(UNFINISHED_S):
                    while self._open or self._acts.unfinished:
                        self._settled = anyio.Event()
                        await self._settled.wait()
                return self.status()
            case "propose":
                assert self._group is not None
                return (await self._group.propose("work", ["last", 1])).outcome.name
            case "state":
                return await replica.read(self._accounts.told)
        raise ConsensusError(f"no such command: {command}")

    def status(self) -> dict[str, Any]:
        """Where this member stands."""
        group = self._group
        if group is None or group.ended is not None:
            return {"view": 0, "members": [], "open": self._open, "made": self._made}
        return {"view": group.view.number, "open": self._open, "made": self._made}

    async def answer(self, command: dict[str, Any], tasks: Any) -> None:
        """Do it and say how it went."""
        number = command["id"]
        try:
            tell("done", id=number, result=await self.obey(command, tasks))
        except (ConsensusError, TransportError, TimeoutError, OSError) as error:
            tell("failed", id=number, why=f"{type(error).__name__}: {error}")


async def run(directory: Path, listen: str, durable: bool, suspicion_s: float) -> None:
    """Until standard input ends."""
    config = NodeConfig(machine=MachineConfig(transport=TransportConfig(suspicion_s=suspicion_s)))
    async with (
        Node.open(directory / "disk" / "node.db", listen=listen, config=config) as node,
        anyio.create_task_group() as tasks,
    ):
        accounts = Accounts()
        member = Member(node, Acts(directory / "acts"), accounts, durable)
        node.on("work")(member.judge)
        stored = await node.resume({"board": accounts.replica})
        # One that the others have ended is given back to say so: this process comes in anew.
        groups = [group for group in stored if group.ended is None]
        tell("ready", key=node.key.hex(), port=node.address[1], resumed=len(groups))
        for group in groups:
            await member.enter(group, tasks)
        async for line in anyio.wrap_file(sys.stdin):
            tasks.start_soon(member.answer, json.loads(line), tasks)
        tasks.cancel_scope.cancel()


def main(arguments: list[str]) -> None:
    """See the module."""
    directory, listen, log, backend, mode, suspicion_s = arguments
    # That members wait is told as a warning, and is what the nemesis is there for.
    logging.getLogger("quorate").addHandler(logging.NullHandler())
    path = Path(log)
    record_groups(path, sorted(p for p in path.parent.glob(f"{path.stem}.*") if p < path))
    replica_module.SAVE_EVERY = SAVE_EVERY
    Kinds.watch()
    entry: Callable[..., Awaitable[None]] = run
    anyio.run(
        entry, Path(directory), listen, mode == "durable", float(suspicion_s), backend=backend
    )


if __name__ == "__main__":
    main(sys.argv[1:])
