"""A process that is one member of the bank of docs/examples/ledger.py.

    python -m tests.support.nodes.ledger_member [FILE PORT]

With a file the bank is durable, and a process that finds it there goes on with it. It says {"key":
hex, "port": number, "resumed": groups} first. Then one JSON line asks and one answers. Requests are
lists: ["found"], ["invite", key], ["join", token], ["transfer", id, source, target, amount],
["balance", account], ["state"]. Answers are [true, value] or [false, the error's class and text].
"""

import json
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio

from consensus.machine.machine import MachineConfig
from quorate import ConsensusError, Group, Node, NodeConfig, Replica
from transport.core.config import TransportConfig

DURABLE_S = 20.0
"""Nobody is taken for gone in the time that starting a process takes."""
IN_MEMORY_S = 3.0
"""Nor in the time for which a busy machine may not run a process."""
EXAMPLE = Path(__file__).parents[3] / "docs/examples/ledger.py"


class Ledger(Protocol):
    """What the example makes."""

    replica: Replica
    balances: dict[str, int]
    results: dict[str, str]

    async def transfer(self, name: str, source: str | None, target: str, amount: int) -> str:
        """Move money."""
        ...

    async def balance(self, account: str) -> int:
        """What is there."""
        ...


class Member:
    """A ledger, and the group it is kept in."""

    def __init__(self, node: Node, durable: bool) -> None:
        self.node = node
        self.durable = durable
        self.ledger: Ledger = runpy.run_path(str(EXAMPLE))["Ledger"]()
        self.group: Group | None = None

    async def do(self, what: str, *arguments: Any) -> Any:
        """Carry out one request. Raises what the framework raises."""
        ledger = self.ledger
        match what:
            case "found":
                durable = self.durable
                self.group = await ledger.replica.found(self.node, "bank", durable=durable)
            case "join":
                self.group = await ledger.replica.join(self.node, *arguments)
            case "invite":
                assert self.group is not None
                return self.group.invite(bytes.fromhex(arguments[0]))
            case "transfer":
                return await ledger.transfer(*arguments)
            case "balance":
                return await ledger.balance(*arguments)
            case "state":
                return [ledger.balances, ledger.results]
        return None


async def main(path: str | None = None, port: str = "0") -> None:
    suspicion_s = IN_MEMORY_S if path is None else DURABLE_S
    transport = TransportConfig(suspicion_s=suspicion_s)
    config = NodeConfig(machine=MachineConfig(transport=transport))
    async with Node.open(path, listen=f"127.0.0.1:{port}", config=config) as node:
        member = Member(node, path is not None)
        groups = await node.resume({"bank": member.ledger.replica})
        member.group = groups[0] if groups else None
        said = {"key": node.key.hex(), "port": node.address[1], "resumed": len(groups)}
        print(json.dumps(said), flush=True)
        async for line in anyio.wrap_file(sys.stdin):
            try:
                answer = [True, await member.do(*json.loads(line))]
            except (ConsensusError, TimeoutError) as error:
                answer = [False, f"{type(error).__name__}: {error}"]
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:3]))
