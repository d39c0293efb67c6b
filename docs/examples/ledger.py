"""A ledger of accounts that every member holds: money is neither lost nor doubled."""

import json
from typing import Any

import anyio

from quorate import Group, Node, Replica


class Ledger:
    """The state: balances by account, and the transfers that were made, by their ids."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.results: dict[str, str] = {}
        self.replica = Replica(apply=self.apply, snapshot=self.snapshot, restore=self.restore)

    def apply(self, command: Any) -> str:
        """Carry out a committed transfer. One that comes again changes nothing: whoever does not
        know what became of a transfer may ask for it once more under the same id."""
        transfer, source, target, amount = command
        if transfer in self.results:
            return self.results[transfer]
        if source is not None and self.balances.get(source, 0) < amount:
            result = "not enough"
        else:
            if source is not None:
                self.balances[source] -= amount
            self.balances[target] = self.balances.get(target, 0) + amount
            result = "done"
        self.results[transfer] = result
        return result

    def snapshot(self) -> bytes:
        """The whole state for a joiner."""
        return json.dumps([self.balances, self.results]).encode()

    def restore(self, data: bytes) -> None:
        """The state of those who were there before."""
        self.balances, self.results = json.loads(data)

    async def transfer(self, name: str, source: str | None, target: str, amount: int) -> str:
        """Move money from `source` (None: from outside) to `target`."""
        result: str = await self.replica.do([name, source, target, amount])
        return result

    async def balance(self, account: str) -> int:
        """At least as new as every transfer that was done, anywhere, before this call."""
        return await self.replica.read(lambda: self.balances.get(account, 0))


async def open_at(node: Node, founder: Group | None = None) -> tuple[Ledger, Group]:
    """Found the bank, or join it by an invitation from its founder."""
    ledger = Ledger()
    if founder is None:
        return ledger, await ledger.replica.found(node, "bank")
    return ledger, await ledger.replica.join(node, founder.invite(node.key))


async def main() -> None:
    async with Node.open() as alice, Node.open() as bob:
        at_alice, group = await open_at(alice)
        await at_alice.transfer("t1", None, "alice", 100)
        at_bob, _ = await open_at(bob, group)
        print("bob reads:", await at_bob.balance("alice"))
        print("30 to bob:", await at_bob.transfer("t2", "alice", "bob", 30))
        print("once more:", await at_bob.transfer("t2", "alice", "bob", 30))
        print("too much:", await at_alice.transfer("t3", "bob", "alice", 31))
        async with Node.open() as carol:
            at_carol, _ = await open_at(carol, group)
            print("carol has:", dict(sorted(at_carol.balances.items())))
            print("10 to carol:", await at_carol.transfer("t4", "bob", "carol", 10))
        # Carol is gone without a word; the others remove her and go on.
        print("5 to alice:", await at_bob.transfer("t5", "bob", "alice", 5))
        print("alice reads:", await at_alice.balance("alice"), await at_alice.balance("bob"))


if __name__ == "__main__":
    anyio.run(main)
