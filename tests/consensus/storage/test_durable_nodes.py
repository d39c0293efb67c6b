"""Durable groups of real nodes: closed and opened again, refused where they cannot be."""

import shutil
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from consensus import Node, NodeConfig, Outcome, OutcomeUnknown, accept, reject
from consensus.groups.certificates import verify_certificate_untrusted
from consensus.machine.machine import MachineConfig
from consensus.storage.node_store import StoreCorrupt, StoreError
from tests.support.network.ports import kept_ports
from tests.support.nodes.nodes import PATIENCE_S, PATIENT, until
from transport.core.config import TransportConfig

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(directory, ports, config=PATIENT):
    """A node for each port, from the files in the directory; `work` is voted on by the body."""
    async with AsyncExitStack() as stack:
        nodes = []
        for number, port in enumerate(ports):
            path = directory / f"{number}.quorate"
            node = await stack.enter_async_context(
                Node.open(path, listen=f"127.0.0.1:{port}", config=config)
            )
            node.on("work")(lambda proposal: accept() if proposal.body else reject("nothing"))
            nodes.append(node)
            ports[number] = node.address[1]
        yield nodes


async def begun(nodes):
    groups = [await nodes[0].found("board", durable=True)]
    for node in nodes[1:]:
        groups.append(await node.join(groups[0].invite(node.key)))
    return groups


async def resumed(nodes):
    groups = []
    for node in nodes:
        groups += await node.resume()
    assert len(groups) == len(nodes)
    return groups


async def caught_up(group, index):
    with anyio.fail_after(PATIENCE_S):
        while group.notary.index < index:
            await group.changed()


async def test_a_group_goes_on_after_all_its_nodes_were_closed(tmp_path):
    ports = kept_ports(3)
    async with opened(tmp_path, ports) as nodes:
        groups = await begun(nodes)
        before = [await groups[n].propose("work", n) for n in range(3)]
        keys = [node.key for node in nodes]
        lives = [node._context.me for node in nodes]
        group_id = groups[0].id
    async with opened(tmp_path, ports) as nodes:
        assert [node._context.me for node in nodes] == lives
        groups = await resumed(nodes)
        assert {group.id for group in groups} == {group_id}
        assert groups[0].view.members == tuple(keys)
        known = {d.index: d for d in await groups[0].recorded()}
        for decision in before:
            found = known[decision.index]
            assert (found.outcome, found.body) == (decision.outcome, decision.body)
            assert dict(found.reasons).keys() <= set(keys)
        with anyio.fail_after(PATIENCE_S):
            after = await groups[1].propose("work", "more")
        assert after.outcome is Outcome.COMMITTED
        assert after.index == before[-1].index + 1
        for group in groups:
            await group.read(timeout_s=PATIENCE_S)
            assert group.notary.index >= after.index  # what was reported anywhere is known here
        for index in (before[1].index, after.index):
            await caught_up(groups[1], index)
            (decision,) = await groups[1].recorded(index - 1, 1)
            shown = verify_certificate_untrusted(await decision.certificate())
            assert (shown.group, shown.index) == (group_id, index)


async def test_a_vote_that_was_not_given_is_asked_for_again(tmp_path):
    """A handler still thinks when its node is closed; the next life of the program answers."""
    ports = kept_ports(2)
    asked = anyio.Event()

    async def think(proposal):
        asked.set()
        await anyio.sleep_forever()

    async with opened(tmp_path, ports) as nodes:
        groups = await begun(nodes)
        nodes[1].on("work")(think)
        async with anyio.create_task_group() as tasks:

            async def propose():
                with pytest.raises(OutcomeUnknown):
                    await groups[0].propose("work", "slow")

            tasks.start_soon(propose)
            with anyio.fail_after(PATIENCE_S):
                await asked.wait()
            groups[0].close("the test closes it")
    async with opened(tmp_path, ports) as nodes:
        groups = await resumed(nodes)
        with anyio.fail_after(PATIENCE_S):
            await caught_up(groups[0], 2)
        (decision,) = await groups[0].recorded(1)
        assert (decision.body, decision.outcome) == ("slow", Outcome.COMMITTED)


async def test_a_durable_group_needs_a_file():
    async with Node.open(None) as node:
        with pytest.raises(StoreError, match="needs a file"):
            await node.found("board", durable=True)


async def test_who_left_is_not_in_the_group_any_more(tmp_path):
    ports = kept_ports(2)
    async with opened(tmp_path, ports) as nodes:
        groups = await begun(nodes)
        await groups[1].leave()
        with anyio.fail_after(PATIENCE_S):
            while len(groups[0].view.members) > 1:
                await groups[0].changed()
        life = nodes[1]._context.me
        # Until nobody needs it to answer any more.
        await until(lambda: not nodes[1]._files.store.group(groups[1].id).origin)
    async with opened(tmp_path, ports) as nodes:
        (group,) = await nodes[0].resume()
        assert await nodes[1].resume() == ()  # That it left needs no telling.
        assert nodes[1]._context.me != life
        for generation in range(2):
            with anyio.fail_after(PATIENCE_S):
                again = await nodes[1].join(group.invite(nodes[1].key))
                assert len(again.view.members) == 2
                assert again.me.incarnation >> 40 == generation
                await group.propose("work", generation)
                await again.leave()
                while len(group.view.members) > 1:
                    await group.changed()


async def test_lives_that_were_in_long_ago_are_forgotten(tmp_path, monkeypatch):
    """Each time that somebody is in a group is a life of its own, whose messages are counted."""
    monkeypatch.setattr("consensus.core.durable.durable_line.FORMER_MAX", 2)
    ports = kept_ports(2)
    async with opened(tmp_path, ports) as nodes:
        group = await nodes[0].found("board", durable=True)
        for time in range(6):
            with anyio.fail_after(PATIENCE_S):
                again = await nodes[1].join(group.invite(nodes[1].key))
                await group.propose("work", time + 1)
                await again.leave()
                while len(group.view.members) > 1:
                    await group.changed()
        (hosted,) = nodes[0]._context.machine._hosted.values()
        assert len(hosted.durable._lines) <= 4


@pytest.mark.parametrize("what", ["altered", "torn", "gap", "checkpoint"])
async def test_a_damaged_log_is_refused_with_advice(tmp_path, what):
    ports = kept_ports(1)
    async with opened(tmp_path, ports) as nodes:
        (group,) = await begun(nodes)
        for number in range(1, 6):
            await group.propose("work", number)
    with sqlite3.connect(tmp_path / "0.quorate") as connection:
        last = connection.execute("SELECT max(seq) FROM log").fetchone()[0]
        statement = {
            "altered": "UPDATE log SET entry ="
            " CAST(substr(entry, 1, 20) || x'ff' || substr(entry, 22) AS BLOB) WHERE seq = ?",
            "torn": "UPDATE log SET entry = substr(entry, 1, length(entry) - 1) WHERE seq = ?",
            "gap": "DELETE FROM log WHERE seq = ? - 1",
            "checkpoint": "UPDATE checkpoints SET data = CAST(x'00' || data AS BLOB) WHERE ? > 0",
        }[what]
        connection.execute(statement, (last,))
    connection.close()
    async with opened(tmp_path, ports) as nodes:
        with pytest.raises(StoreCorrupt, match=r"board.*damaged.*older copy.*join again"):
            await nodes[0].resume()


async def test_the_log_does_not_grow_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("consensus.core.durable.durable_group.CHECKPOINT_EVERY", 8)
    ports = kept_ports(1)
    async with opened(tmp_path, ports) as nodes:
        (group,) = await begun(nodes)
        for number in range(1, 40):
            await group.propose("work", number)
    with sqlite3.connect(tmp_path / "0.quorate") as connection:
        assert connection.execute("SELECT count(*) FROM log").fetchone()[0] <= 10
    connection.close()
    async with opened(tmp_path, ports) as nodes:
        (group,) = await nodes[0].resume()
        assert [d.body for d in await group.recorded()] == list(range(1, 40))
        assert (await group.propose("work", 40)).index == 40


async def test_old_copies_are_found_out_by_the_others(tmp_path):
    """Also one whose write-ahead log lost its end: to the node it is the same."""
    ports = kept_ports(3)
    config = NodeConfig(machine=MachineConfig(transport=TransportConfig(suspicion_s=5.0)))
    async with opened(tmp_path, ports, config) as nodes:
        groups = await begun(nodes)
        await groups[0].propose("work", 1)
        await groups[2].read()
        for end in ("", "-wal"):
            shutil.copy(tmp_path / f"2.quorate{end}", tmp_path / f"old{end}")
        decisions = [await groups[n % 3].propose("work", n) for n in range(1, 8)]
        reported = {d.index: d.outcome for d in decisions}
    for end in ("", "-wal"):
        (tmp_path / f"2.quorate{end}").unlink(missing_ok=True)
        shutil.copy(tmp_path / f"old{end}", tmp_path / f"2.quorate{end}")
    async with opened(tmp_path, ports, config) as nodes:
        groups = await resumed(nodes)
        with anyio.fail_after(PATIENCE_S):
            while groups[2].ended is None:
                await groups[2].changed()
            assert "older than what it has said" in groups[2].ended.reason
            # The others take it for gone when it does not answer.
            assert (await groups[1].propose("work", "on")).outcome is Outcome.COMMITTED
            while len(groups[0].view.members) == 3:
                await groups[0].changed()
        known = {d.index: d.outcome for d in await groups[0].recorded()}
        assert reported.items() <= known.items()
