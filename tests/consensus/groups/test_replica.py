"""A ledger that every member holds, on real nodes and both backends: nothing lost or doubled."""

import json
import runpy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from consensus import (
    CommandFailed,
    ConsensusError,
    Group,
    GroupConfig,
    GroupError,
    Node,
    OutcomeUnknown,
    Rejected,
    Replica,
    accept,
)
from tests.support.nodes.nodes import PATIENCE_S, open_nodes, until

pytestmark = pytest.mark.anyio

LEDGER = runpy.run_path(str(Path(__file__).parents[3] / "docs/examples/ledger.py"))
Ledger: Any = LEDGER["Ledger"]
open_at: Any = LEDGER["open_at"]


@asynccontextmanager
async def banks(number: int) -> AsyncIterator[tuple[list[Node], list[Any], list[Group]]]:
    """That many members of one bank."""
    async with open_nodes(number) as nodes:
        founder, founders = await open_at(nodes[0])
        ledgers, groups = [founder], [founders]
        for node in nodes[1:]:
            ledger, group = await open_at(node, founders)
            ledgers.append(ledger)
            groups.append(group)
        yield nodes, ledgers, groups


def total(ledger: Any) -> int:
    return sum(ledger.balances.values())


async def same(ledgers: list[Any]) -> None:
    """All have applied the same, once nothing is under way."""
    with anyio.fail_after(PATIENCE_S):
        states = [await ledger.replica.read(ledger.snapshot) for ledger in ledgers]
    assert len(set(states)) == 1


async def test_members_apply_the_same_in_the_same_order() -> None:
    async with banks(3) as (_, ledgers, _):
        for at, ledger in enumerate(ledgers):
            assert await ledger.transfer(f"in {at}", None, f"account {at}", 100) == "done"

        async def spend(ledger: Any, own: int) -> None:
            for count in range(30):
                target = f"account {(own + 1) % 3}"
                await ledger.transfer(f"{own} {count}", f"account {own}", target, 7)

        async with anyio.create_task_group() as tasks:
            for own, ledger in enumerate(ledgers):
                tasks.start_soon(spend, ledger, own)
        await same(ledgers)
        assert total(ledgers[0]) == 300
        assert len(ledgers[0].results) == 93


async def test_a_read_anywhere_sees_what_was_done_before() -> None:
    async with banks(3) as (_, ledgers, _):
        for count in range(60):
            await ledgers[count % 3].transfer(f"t{count}", None, "pot", 1)
            for reader in ledgers:
                assert await reader.balance("pot") == count + 1


async def test_a_joiner_starts_with_the_state_while_others_go_on() -> None:
    async with banks(2) as (_, ledgers, groups), open_nodes(1) as (late,):
        stop = anyio.Event()
        done = 0

        async def keep_on() -> None:
            nonlocal done
            while not stop.is_set():
                await ledgers[1].transfer(f"t{done}", None, "pot", 1)
                done += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_on)
            await until(lambda: done)
            joined, _ = await open_at(late, groups[0])
            seen = joined.balances["pot"]
            assert seen > 0
            await joined.transfer("mine", None, "pot", 1000)
            stop.set()
        await same([*ledgers, joined])
        assert total(joined) == done + 1000


async def test_members_that_stop_and_come_again_lose_and_double_nothing() -> None:
    """One after the other goes (without a word, or by leaving) and joins anew with nothing, while
    the others transfer; whoever does not know what became of a transfer asks again under its id."""
    async with open_nodes(1) as (first,):
        steady, group = await open_at(first)
        await steady.transfer("all", None, "pot", 1000)
        paid = 0
        payments: dict[str, int] = {}

        async def pay(ledger: Any, name: str, stop: anyio.Event) -> None:
            nonlocal paid
            count = 0
            while not stop.is_set():
                await anyio.lowlevel.checkpoint()
                transfer = f"{name} {count}"
                try:
                    result = await ledger.transfer(transfer, "pot", name, 1)
                except OutcomeUnknown:
                    result = await steady.transfer(transfer, "pot", name, 1)
                except ConsensusError:
                    continue  # Suspended, or being left out: it was not proposed.
                paid += result == "done"
                count += 1
                payments[name] = count

        for round_ in range(4):
            stop = anyio.Event()
            async with open_nodes(1) as (guest,):
                at_guest, membership = await open_at(guest, group)
                assert total(at_guest) == 1000
                names = f"steady {round_}", f"guest {round_}"
                async with anyio.create_task_group() as tasks:
                    for ledger, name in zip((steady, at_guest), names, strict=True):
                        tasks.start_soon(pay, ledger, name, stop)
                    await until(lambda names=names: all(payments.get(n, 0) > 5 for n in names))
                    stop.set()
                if round_ % 2:
                    await membership.leave()
            # Otherwise the node is closed under the others' eyes: they find it silent.
            assert await steady.balance("pot") == 1000 - paid
        assert total(steady) == 1000
        assert paid > 4 * 2 * 5


async def test_a_command_may_be_vetoed_and_apply_may_fail() -> None:
    async with open_nodes(2) as (alice, bob):
        state: list[list[int]] = [[], []]

        def replica(own: list[int]) -> Replica:
            def apply(command: int) -> int:
                own.append(command)
                return 60 // command

            def restore(data: bytes) -> None:
                own[:] = json.loads(data)

            def check(command: Any) -> str | None:
                return None if isinstance(command, int) else "no number"

            return Replica(
                apply=apply, snapshot=lambda: json.dumps(own).encode(), restore=restore, check=check
            )

        first, second = replica(state[0]), replica(state[1])
        group = await first.found(alice, "numbers")
        await second.join(bob, group.invite(bob.key))
        assert await second.do(3) == 20
        with pytest.raises(Rejected, match="no number"):
            await first.do("three")
        with pytest.raises(CommandFailed) as failed:
            await first.do(0)
        assert isinstance(failed.value.__cause__, ZeroDivisionError)
        assert await first.do(2) == 30
        await second.read(lambda: None)
        assert state[0] == state[1] == [3, 0, 2]
        assert first.index == second.index


async def test_the_proposers_own_check_is_asked_also_where_it_is_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def make(check: Callable[[Any], str | None]) -> Replica:
        return Replica(
            apply=lambda command: command, snapshot=bytes, restore=lambda data: None, check=check
        )

    def check(command: Any) -> str | None:
        # As other members see it: a tuple has become a list.
        return "overdraft" if command[0] < 0 else None

    async with open_nodes(2) as (alice, bob):
        first, second = make(check), make(lambda command: None)
        group = await first.found(alice, "bank")
        for _ in ("alone", "of two"):
            assert await first.do((5,)) == [5]
            before = first.index
            with pytest.raises(Rejected, match="overdraft"):
                await first.do((-5,))
            assert first.index == before, "it was proposed"
            with pytest.raises(Rejected, match="check failed"):
                await first.do(())
            assert "IndexError" in caplog.text
            if not second.index:
                await second.join(bob, group.invite(bob.key))
        with pytest.raises(Rejected, match="overdraft"):
            await second.do((-5,))


async def test_groups_with_and_without_a_state_do_not_mix() -> None:
    async with open_nodes(2) as (alice, bob):
        ledger, group = await open_at(alice)
        with pytest.raises(GroupError, match="keeps a state"):
            await bob.join(group.invite(bob.key))
        with pytest.raises(GroupError, match="in a group already"):
            await ledger.replica.found(alice, "second")
        plain = await alice.found("plain", config=GroupConfig())
        with pytest.raises(GroupError, match="keeps no state"):
            await Ledger().replica.join(bob, plain.invite(bob.key))
        with pytest.raises(GroupError, match="in no group"):
            await Ledger().balance("x")


async def test_group_reads_without_a_replica() -> None:
    async with open_nodes(2) as (alice, bob):
        group = await alice.found("plain")
        alice.on("work")(lambda proposal: accept())
        bob.on("work")(lambda proposal: accept())
        other = await bob.join(group.invite(bob.key))
        seen: list[int] = []

        async def follow() -> None:
            async for decision in other.decisions():
                seen.append(decision.index)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            decision = await group.propose("work")
            await other.read()
            await anyio.wait_all_tasks_blocked()
            assert decision.index in seen
            tasks.cancel_scope.cancel()
        await other.leave()
        with pytest.raises(GroupError, match="no longer a member"):
            await other.read()
