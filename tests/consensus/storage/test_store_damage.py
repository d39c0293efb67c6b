"""A node's file that was cut off, flipped, swapped or filled up: refused, or never half read.

The property, for a file with one member's group in it: whatever happened to its bytes, the node
either is not opened, or does not resume its group, with a StoreError; or it goes on exactly where
it was; or, where only the end of SQLite's write-ahead log is gone, at an earlier moment of its own
history, which in a group of more than one the others find out (`test_durable_nodes`).
"""

import shutil
import sqlite3
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from consensus import Node, Outcome, accept
from consensus.codec import unpack_untrusted
from consensus.core.engine.state_codec import thaw
from consensus.storage.durable_groups import DurableGroups
from consensus.storage.node_store import GroupRecord, NodeStore, StoreCorrupt, StoreError
from tests.support.nodes.nodes import PATIENCE_S
from transport.core.crypto.keys import Identity
from transport.identity import IdentityError, encode_identity

pytestmark = pytest.mark.anyio

FLIPS = 150
CUTS = 40
ADVICE = ("move it away", "move the file away", "removed", "use that", "another file")
BODIES = [f"body {number}" * 20 for number in range(12)]


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with one node's files as they are while it runs, with a write-ahead log: a
    checkpoint, a log, decisions, an invitation, a peer. Beside it, in `live`, as they are later."""
    monkeypatch.setattr("consensus.core.durable.durable_group.CHECKPOINT_EVERY", 5)
    live, copy = tmp_path / "live", tmp_path / "copy"
    live.mkdir()
    async with Node.open(live / "n.quorate") as node, Node.open(None) as other:
        node.know(other.key, [other.address])
        await node.connect(other.key)
        group = await node.found("board", durable=True)
        node.on("work")(lambda proposal: accept())
        for body in BODIES[:6]:
            await group.propose("work", body)
        node._files.store._one("PRAGMA wal_checkpoint(TRUNCATE)")
        group.invite()
        for body in BODIES[6:]:
            await group.propose("work", body)
        shutil.copytree(live, copy)
    return copy


async def bodies_of(path: Path) -> list[Any]:
    """What the group in the file says it has decided. Raises StoreError, IdentityError."""
    async with Node.open(path) as node:
        assert node.key
        groups = await node.resume()
        for group in groups:
            decisions = await group.recorded()
            assert group.notary is not None
            assert [d.index for d in decisions] == list(range(1, group.notary.index + 1))
            assert all(d.outcome is Outcome.COMMITTED for d in decisions)
            return [d.body for d in decisions]
    raise AssertionError("no group, and nobody said so")


async def tried(source: Path, path: Path, which: str, data: bytes) -> str:
    """What becomes of the files if one of them is this instead."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, path)
    (path / which).write_bytes(data)
    (path / which).chmod(0o600)
    try:
        found = await bodies_of(path / "n.quorate")
    except StoreError as error:
        said = str(error)
        assert "\n" not in said
        assert any(hint in said for hint in ADVICE), said
        return "refused"
    if which.endswith("-wal") and found != BODIES:
        assert found == BODIES[: len(found)]
        return "earlier"
    assert found == BODIES
    return "whole"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("which", ["n.quorate", "n.quorate-wal"])
async def test_flipped_bits_and_cut_off_ends_never_pass(
    made: Path, tmp_path: Path, which: str
) -> None:
    dice = Random(which)
    if which == "n.quorate":
        made = made.parent / "live"  # Everything is in this one file.
    good = (made / which).read_bytes()
    became: dict[str, int] = {}
    for _ in range(FLIPS):
        data = bytearray(good)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        how = await tried(made, tmp_path / "try", which, bytes(data))
        became[how] = became.get(how, 0) + 1
    for _ in range(CUTS):
        size = dice.choice([dice.randrange(len(good)), dice.randrange(len(good)) // 512 * 512])
        how = await tried(made, tmp_path / "try", which, good[:size])
        became[how] = became.get(how, 0) + 1
    assert became["refused" if which == "n.quorate" else "earlier"] > (FLIPS + CUTS) / 5, became


async def test_no_key_is_altered_unnoticed(made: Path, tmp_path: Path) -> None:
    """A row whose key does not belong where it is hides those before it from SQLite's search."""
    good = (made.parent / "live" / "n.quorate").read_bytes()
    async with Node.open(made / "n.quorate") as node:
        (group,) = await node.resume()
        key = group.id
    places = [at for at in range(len(good)) if good.startswith(key, at)]
    refused = 0
    for at in places:
        for bit in (1, 128):
            data = bytearray(good)
            data[at] ^= bit
            how = await tried(made.parent / "live", tmp_path / "try", "n.quorate", bytes(data))
            refused += how == "refused"  # Some are left over where nothing looks.
    assert refused > 2 * len(BODIES)


async def test_a_file_cut_off_to_nothing_is_no_new_node(made: Path) -> None:
    for end in ("-wal", "-shm"):
        (made / f"n.quorate{end}").unlink(missing_ok=True)
    (made / "n.quorate").write_bytes(b"")
    with pytest.raises(StoreCorrupt, match=r"is empty.*copy.*removed"):
        await bodies_of(made / "n.quorate")


async def closed(path: Path, *statements: str) -> None:
    """Change the file as no node would."""
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM identity", "identity is missing"),
        ("UPDATE identity SET data = CAST(x'00' || data AS BLOB)", "row of identity was altered"),
        ("UPDATE groups SET incarnation = x'0000000000000001'", "row of groups was altered"),
        ("UPDATE peers SET seen_at = seen_at + 1", "row of peers was altered"),
        ("UPDATE invitations SET uses = 1000", "row of invitations was altered"),
        ("UPDATE decisions SET place = place + 100", "row of decisions was altered|not all there"),
        ("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)", "not all there"),
        ("DELETE FROM log WHERE seq = (SELECT max(seq) - 1 FROM log)", "record .* is missing"),
        ("UPDATE decisions SET group_id = zeroblob(32) WHERE place = 1", "a row of no group"),
        ("DELETE FROM checkpoints", "is missing"),
        ("UPDATE checkpoints SET data = CAST(substr(data, 1, 99) AS BLOB)", "checkpoint is damag"),
        ("PRAGMA user_version = 1", "another version"),
        ("PRAGMA user_version = 99", "another version"),
        ("PRAGMA application_id = 7", "another program"),
    ],
)
async def test_rows_that_were_altered_or_are_missing(made: Path, statement: str, why: str) -> None:
    await closed(made / "n.quorate", statement)
    with pytest.raises(StoreError, match=why):
        await bodies_of(made / "n.quorate")


async def test_the_log_of_another_identity_or_group_is_refused(made: Path, tmp_path: Path) -> None:
    path, second = made / "n.quorate", tmp_path / "second.quorate"
    shutil.copy(path, second)
    shutil.copy(made / "n.quorate-wal", f"{second}-wal")
    with NodeStore.open(second) as store:
        store.save_identity(encode_identity(Identity.generate(Random(1).randbytes), None))
    with pytest.raises(StoreCorrupt, match="not of this member"):
        await bodies_of(second)
    async with Node.open(path) as node:
        await node.resume()
        other = await node.found("other", durable=True)
        number = other.id
    async with Node.open(path) as node:
        store = node._files.store
        (board,) = [g for g in store.groups() if g.name == "board"]
        checkpoint = store.checkpoint(board.id)
        assert checkpoint is not None
        store.save_checkpoint(number, checkpoint)
    async with Node.open(path) as node:
        with pytest.raises(StoreCorrupt, match=r"'other' is damaged.*not of this member and group"):
            await node.resume()


async def test_a_passphrase_is_not_taken_for_a_file_that_has_none(tmp_path: Path) -> None:
    async with Node.open(tmp_path / "n") as node:
        key = node.key
    with pytest.raises(IdentityError, match="not encrypted"):
        await Node.open(tmp_path / "n", passphrase="secret")
    async with Node.open(tmp_path / "n") as node:
        assert node.key == key


async def test_a_wrong_passphrase_opens_nothing(tmp_path: Path) -> None:
    async with Node.open(tmp_path / "n", passphrase="right") as node:
        await node.found("board", durable=True)
    for wrong in ("wrong", None):
        with pytest.raises(IdentityError):
            async with Node.open(tmp_path / "n", passphrase=wrong):
                pass


async def test_with_a_full_disk_nothing_is_voted_that_is_not_written(tmp_path: Path) -> None:
    """The disk of one of three is full in the middle of the load: its node ends and says why, and
    whatever the others had its vote for is in its file."""
    path, full = tmp_path / "full.quorate", ""
    voted: set[int] = set()
    async with Node.open(tmp_path / "a") as alice, Node.open(tmp_path / "b") as bob:
        try:
            async with Node.open(path) as carol:
                key = carol.key
                for node in (alice, bob, carol):
                    node.on("work")(lambda proposal: accept(proposal.body[0]))
                groups = [await alice.found("board", durable=True)]
                for node in (bob, carol):
                    groups.append(await node.join(groups[0].invite(node.key)))
                carol._files.store._one("PRAGMA max_page_count = 60")
                with anyio.fail_after(PATIENCE_S):
                    for number in range(10_000):
                        decision = await groups[0].propose("work", [number, bytes(4000)])
                        assert decision.outcome is Outcome.COMMITTED
                        if key in decision.answers:
                            voted.add(number)
                        elif len(groups[0].view.members) == 2:
                            break
                await anyio.sleep_forever()  # until the node ends
        except StoreError as error:
            full = str(error)
        assert full == f"no room on the disk for {path}: nothing of this batch was kept"
        with anyio.fail_after(PATIENCE_S):
            assert (await groups[1].propose("work", [-1])).outcome is Outcome.COMMITTED
    assert len(voted) > 5
    async with Node.open(path) as carol:
        store = carol._files.store
        (record,) = store.groups()
        engine = DurableGroups(carol._context, carol._files)._rebuilt(record).durable.group
        written = {unpack_untrusted(thaw(data).content.body)[0] for _, data in works(store, record)}
        for ballot in engine._ballots.values():
            if ballot.accepted & engine._bit and ballot.content.kind == "work":
                written.add(unpack_untrusted(ballot.content.body)[0])
        assert voted <= written


def works(store: NodeStore, record: GroupRecord) -> list[tuple[int, bytes]]:
    """The users' decisions in a file."""
    return [row for row in store.decisions(record.id) if thaw(row[1]).content.kind == "work"]
