"""Durable groups that keep a state: closed and opened again, and what goes wrong with the state."""

import json
import runpy
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from consensus import CommandFailed, Group, GroupError, Node, Replica, RestoreFailed
from consensus.storage.node_store import StoreCorrupt
from tests.support.network.ports import kept_ports
from tests.support.nodes.nodes import PATIENCE_S, PATIENT

pytestmark = pytest.mark.anyio

Ledger: Any = runpy.run_path(str(Path(__file__).parents[3] / "docs/examples/ledger.py"))["Ledger"]


@asynccontextmanager
async def opened(directory: Path, ports: list[int]) -> AsyncIterator[list[Node]]:
    """A node for each port, from the files in the directory."""
    async with AsyncExitStack() as stack:
        nodes = []
        for number, port in enumerate(ports):
            path = directory / f"{number}.quorate"
            node = await stack.enter_async_context(
                Node.open(path, listen=f"127.0.0.1:{port}", config=PATIENT)
            )
            nodes.append(node)
            ports[number] = node.address[1]
        yield nodes


async def banks(nodes: list[Node]) -> tuple[list[Any], list[Group]]:
    """A durable bank of these."""
    ledgers = [Ledger() for _ in nodes]
    groups = [await ledgers[0].replica.found(nodes[0], "bank", durable=True)]
    for node, ledger in zip(nodes[1:], ledgers[1:], strict=True):
        groups.append(await ledger.replica.join(node, groups[0].invite(node.key)))
    return ledgers, groups


async def resumed(nodes: list[Node]) -> tuple[list[Any], list[Group]]:
    """The bank again, with ledgers that know nothing but what is on the disk."""
    ledgers, groups = [Ledger() for _ in nodes], []
    for node, ledger in zip(nodes, ledgers, strict=True):
        groups += await node.resume({"bank": ledger.replica})
    assert len(groups) == len(nodes)
    return ledgers, groups


async def same(ledgers: list[Any]) -> bytes:
    """The state, once all have what was done before."""
    with anyio.fail_after(PATIENCE_S):
        states = {await ledger.replica.read(ledger.snapshot) for ledger in ledgers}
    (state,) = states
    return state


async def test_the_state_goes_on_after_all_nodes_were_closed(tmp_path: Path) -> None:
    ports = kept_ports(3)
    async with opened(tmp_path, ports) as nodes:
        ledgers, _ = await banks(nodes)
        for count in range(12):
            await ledgers[count % 3].transfer(f"t{count}", None, "pot", 10)
        before = await same(ledgers)
    for round_ in range(2):
        async with opened(tmp_path, ports) as nodes:
            ledgers, _ = await resumed(nodes)
            assert await same(ledgers) == before
            assert await ledgers[1].transfer("t3", None, "pot", 10) == "done"  # not once more
            assert await same(ledgers) == before
            await ledgers[2].transfer(f"new {round_}", "pot", "spent", 1)
            before = await same(ledgers)
    async with opened(tmp_path, ports) as nodes, Node.open(tmp_path / "late.quorate") as late:
        ledgers, groups = await resumed(nodes)
        ledgers.append(Ledger())
        await ledgers[3].replica.join(late, groups[1].invite(late.key))
        assert await same(ledgers) == before
        assert ledgers[3].balances == {"pot": 118, "spent": 2}


async def test_saved_states_bound_what_is_kept_and_applied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.core.durable.durable_group.CHECKPOINT_EVERY", 8)
    monkeypatch.setattr("consensus.storage.durable_groups.DECISIONS_KEPT", 4)
    monkeypatch.setattr("consensus.groups.replica.SAVE_EVERY", 8)
    ports = kept_ports(1)
    async with opened(tmp_path, ports) as nodes:
        (ledger,), _ = await banks(nodes)
        for count in range(100):
            await ledger.transfer(f"t{count}", None, "pot", 1)
    with sqlite3.connect(tmp_path / "0.quorate") as connection:
        counts = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("log", "decisions", "states")
        }
        (place,) = connection.execute("SELECT place FROM states").fetchone()
    connection.close()
    assert counts["log"] <= 10
    assert counts["decisions"] <= 24
    assert counts["states"] == 1
    assert place >= 88
    applied: list[Any] = []
    again = Ledger()

    def apply(command: Any) -> str:
        applied.append(command)
        result: str = again.apply(command)
        return result

    replica = Replica(apply=apply, snapshot=again.snapshot, restore=again.restore)
    async with opened(tmp_path, ports) as nodes:
        await nodes[0].resume({"bank": replica})
        assert again.balances == {"pot": 100}
        assert len(applied) == 100 - place


async def test_a_state_that_cannot_be_saved_costs_only_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("consensus.core.durable.durable_group.CHECKPOINT_EVERY", 8)
    monkeypatch.setattr("consensus.storage.durable_groups.DECISIONS_KEPT", 4)
    monkeypatch.setattr("consensus.groups.replica.SAVE_EVERY", 8)
    ports = kept_ports(1)
    async with opened(tmp_path, ports) as nodes:
        ledger = Ledger()
        replica = Replica(
            apply=ledger.apply,
            snapshot=lambda: "no bytes",
            restore=ledger.restore,  # type: ignore[arg-type, return-value]
        )
        await replica.found(nodes[0], "bank", durable=True)
        for count in range(40):
            await replica.do([f"t{count}", None, "pot", 1])
    assert caplog.text.count("no snapshot for the disk") == 5
    assert "snapshot returned str, not bytes" in caplog.text
    async with opened(tmp_path, ports) as nodes:
        (ledger,), _ = await resumed(nodes)
        assert ledger.balances == {"pot": 40}


async def test_a_group_that_keeps_a_state_does_not_go_on_without_it(tmp_path: Path) -> None:
    ports = kept_ports(1)
    async with opened(tmp_path, ports) as nodes:
        (ledger,), _ = await banks(nodes)
        await ledger.transfer("t", None, "pot", 1)
        await nodes[0].found("plain", durable=True)
    ledger = Ledger()

    def fail(data: bytes) -> None:
        raise ZeroDivisionError("no such state")

    async with opened(tmp_path, ports) as nodes:
        with pytest.raises(GroupError, match=r"bank keeps a state.*replicas="):
            await nodes[0].resume()
        assert nodes[0].groups == ()
        first, second = await nodes[0].resume({"bank": ledger.replica})
        assert (first.name, second.name) == ("bank", "plain")
        assert await nodes[0].resume() == ()
        assert await ledger.balance("pot") == 1
        await ledger.transfer("u", None, "pot", 1)
        nodes[0]._durables.save_state(first.id, ledger.replica.index, ledger.snapshot())
        await ledger.transfer("v", None, "pot", 1)
    broken = Replica(apply=ledger.apply, snapshot=ledger.snapshot, restore=fail)
    async with opened(tmp_path, ports) as nodes:
        with pytest.raises(RestoreFailed, match="no such state") as failed:
            await nodes[0].resume({"bank": broken})
        assert isinstance(failed.value.__cause__, ZeroDivisionError)
        assert nodes[0].groups == ()
        ledger = Ledger()
        await nodes[0].resume({"bank": ledger.replica})
        assert await ledger.balance("pot") == 3


async def test_a_joiner_that_cannot_take_the_state_is_not_in_the_group(tmp_path: Path) -> None:
    def fail(data: bytes) -> None:
        raise ZeroDivisionError("no such state")

    for durable in (False, True):
        async with (
            Node.open(tmp_path / f"a{durable}") as alice,
            Node.open(tmp_path / f"b{durable}") as bob,
        ):
            ledger, other = Ledger(), Ledger()
            group = await ledger.replica.found(alice, "bank", durable=durable)
            await ledger.transfer("t", None, "pot", 1)
            broken = Replica(apply=other.apply, snapshot=other.snapshot, restore=fail)
            with anyio.fail_after(PATIENCE_S):
                with pytest.raises(RestoreFailed, match="no such state"):
                    await broken.join(bob, group.invite(bob.key))
                assert bob.groups == ()
                assert await ledger.transfer("u", None, "pot", 1) == "done"
                if not durable:  # There this life of the node cannot come again.
                    await other.replica.join(bob, group.invite(bob.key))
                    assert await other.balance("pot") == 2


@pytest.mark.parametrize("what", ["raises", "large", "text"])
async def test_a_joiner_hears_that_there_is_no_snapshot(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("consensus.groups.replica.SNAPSHOT_SIZE_MAX", 100)
    ledger = Ledger()

    def snapshot() -> Any:
        if what == "raises":
            raise ZeroDivisionError
        return bytes(101) if what == "large" else "text"

    async with Node.open() as alice, Node.open() as bob:
        keeper = Replica(apply=ledger.apply, snapshot=snapshot, restore=ledger.restore)
        group = await keeper.found(alice, "bank")
        with anyio.fail_after(PATIENCE_S), pytest.raises(GroupError, match="has no snapshot"):
            await Ledger().replica.join(bob, group.invite(bob.key))
        assert "no snapshot for a joiner" in caplog.text
        assert await keeper.do(["t", None, "pot", 1]) == "done"
        assert len(group.view.members) == 1


async def test_functions_that_would_have_to_be_awaited_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger = Ledger()

    async def later(*_: Any) -> None:
        raise AssertionError("it is never run")

    class Later:
        async def __call__(self, *_: Any) -> None:
            raise AssertionError("it is never run")

    functions = {"apply": ledger.apply, "snapshot": ledger.snapshot, "restore": ledger.restore}
    for name in (*functions, "check"):
        for function in (later, Later()):
            with pytest.raises(TypeError, match="called and not awaited"):
                Replica(**{**functions, name: function})  # type: ignore[arg-type]
    hidden = Replica(**{**functions, "apply": lambda command: later()})  # type: ignore[arg-type]
    async with Node.open() as alice:
        await hidden.found(alice, "bank")
        with pytest.raises(CommandFailed, match="to be awaited"):
            await hidden.do(1)


async def test_an_altered_state_or_decision_is_refused(tmp_path: Path) -> None:
    ports = kept_ports(1)
    async with opened(tmp_path, ports) as nodes:
        (ledger,), (group,) = await banks(nodes)
        for count in range(3):
            await ledger.transfer(f"t{count}", None, "pot", 1)
        nodes[0]._durables.save_state(group.id, 2, json.dumps([{"pot": 2}, {}]).encode())
        await ledger.transfer("last", None, "pot", 1)
    good = (tmp_path / "0.quorate").read_bytes()
    for statement, why in (
        ("UPDATE states SET data = '[{}, {}]'", "a row of states was altered"),
        ("UPDATE states SET place = 3", "a row of states was altered"),
        ("UPDATE decisions SET data = (SELECT max(data) FROM decisions)", "of decisions was alt"),
        ("DELETE FROM decisions WHERE place = 4", "up to 4 are not all there"),
        ("DELETE FROM decisions WHERE place = 2", "up to 4 are not all there"),
        ("DELETE FROM decisions WHERE place < 4", "decision 3 is not there"),
        ("DELETE FROM decisions", "up to 4 are not all there"),
    ):
        (tmp_path / "0.quorate").write_bytes(good)
        with sqlite3.connect(tmp_path / "0.quorate") as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(statement.replace("'[{}, {}]'", "CAST('[{}, {}]' AS BLOB)"))
        connection.close()
        async with opened(tmp_path, ports) as nodes:
            with pytest.raises(StoreCorrupt, match=why):
                await nodes[0].resume({"bank": Ledger().replica})
            assert nodes[0].groups == ()
