"""What anybody can throw at a node: silence or one clear error, and everything goes on."""

import logging
import os
import random
import socket
import sqlite3
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from consensus.core.errors import ConsensusError
from consensus.core.evidence.invitation_text import TokenError
from consensus.storage.node_store import StoreBusy, StoreCorrupt, StoreError
from quorate import Group, Node, Outcome, Rejected, Unreachable, accept
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes
from tests.support.waiting import turns
from transport.core.constants import MAGIC
from transport.core.errors import LocalError
from transport.core.types import Address, Transmit

ORDINARY = "%s: view ", "%s: this node is no longer in it"
"""How lines of the log begin that are written where nothing is wrong."""

pytestmark = pytest.mark.anyio
KEPT = 400
THROWN_AT_ONCE = 40
ROUNDS = 120


class Thrower:
    """Listens to what nodes send and throws it back at them, altered, from a socket of its own."""

    def __init__(self, nodes: list[Node], seed: int) -> None:
        self._random = random.Random(seed)
        self._heard: list[Transmit] = []
        self._targets = [node.address for node in nodes]
        self.thrown = 0
        for node in nodes:
            self._listen(node)

    def _listen(self, node: Node) -> None:
        machine = node._context.machine
        poll = machine.poll_transmits

        def spy() -> list[Transmit]:
            transmits = poll()
            self._heard = (self._heard + transmits)[-KEPT:]
            return transmits

        machine.poll_transmits = spy  # type: ignore[method-assign]

    def _altered(self, data: bytes) -> bytes:
        choose = self._random.randrange
        match choose(5):
            case 0:
                return data[: choose(len(data) + 1)]
            case 1:
                at = choose(len(data))
                return data[:at] + bytes([data[at] ^ 1 << choose(8)]) + data[at + 1 :]
            case 2:
                return data + self._random.randbytes(choose(64))
            case 3:
                return data[:16] + self._random.randbytes(max(len(data) - 16, 0))
        return data  # Sent twice, from elsewhere.

    def _next(self) -> tuple[bytes, Address]:
        if self._heard and self._random.random() < 0.7:
            transmit = self._random.choice(self._heard)
            return self._altered(transmit.data), transmit.address
        noise = self._random.randbytes(self._random.randrange(1500))
        if self._random.random() < 0.5:
            noise = MAGIC + noise
        return noise, self._random.choice(self._targets)

    async def run(self) -> None:
        """At every turn of the event loop, until cancelled."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while True:
                for _ in range(THROWN_AT_ONCE):
                    sock.sendto(*self._next())
                    self.thrown += 1
                await anyio.lowlevel.checkpoint()


async def test_datagrams_thrown_in_the_middle_of_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with open_nodes(3) as nodes:
        thrower = Thrower(nodes, 7)
        groups: list[Group] = []
        answers: list[int] = []
        committed: list[int] = []

        async def ask() -> None:
            for number in range(ROUNDS):
                answers.append(await nodes[0].ask(nodes[1].key, "double", number))

        async def decide(group: Group) -> None:
            for number in range(ROUNDS // 3):
                decision = await group.propose("work", number)
                assert decision.outcome is Outcome.COMMITTED
                committed.append(decision.index)

        nodes[1].on("double")(lambda proposal: accept(2 * proposal.body))
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(thrower.run)
                groups += await gather_group(nodes)  # Handshakes and joins, too.
                async with anyio.create_task_group() as work:
                    work.start_soon(ask)
                    for group in groups:
                        work.start_soon(decide, group)
                tasks.cancel_scope.cancel()

        # Each question takes a turn at least, however long that is.
        assert thrower.thrown > ROUNDS * THROWN_AT_ONCE
        await turns()
        assert answers == [2 * number for number in range(ROUNDS)]
        assert len(set(committed)) == ROUNDS
        for node, group in zip(nodes, groups, strict=True):
            assert len(group.view.members) == 3
            context = node._context.machine.peers._context
            assert len(context.by_key) == 2  # Nobody was remembered who is nobody.
            assert context.unconfirmed == 0
    said = [record for record in caplog.records if record.name.startswith("quorate")]
    assert [r.getMessage() for r in said if not r.msg.startswith(ORDINARY)] == []


async def test_no_damaged_invitation_is_taken_and_the_good_one_stays_good() -> None:
    async with open_nodes(2) as (alice, bob):
        group = await alice.found("board")
        token = group.invite(bob.key)
        draw = random.Random(3)
        body = len("quorate1:")
        for _ in range(60):
            at = draw.randrange(body, len(token))
            other = draw.choice([c for c in "abcdefghijklmnopqrstuvwxyz234567" if c != token[at]])
            with pytest.raises(TokenError) as raised:
                await bob.join(token[:at] + other + token[at + 1 :])
            assert "\n" not in str(raised.value)
        for text in ("", "quorate1:", token[:-1], token + "aaaaaaaa", token * 2, "\0" * 4000):
            with pytest.raises(TokenError):
                await bob.join(text)
        assert not bob.groups
        await bob.join(token)
        assert len(group.view.members) == 2


async def test_an_invitation_of_a_sponsor_that_has_forgotten_it() -> None:
    async with open_nodes(3) as (alice, bob, carol):
        groups = await gather_group([alice, bob])
        token = groups[1].invite(carol.key)
        groups[1].revoke(token)
        with pytest.raises(Rejected, match="not given out here, or is used up or revoked"):
            await carol.join(token)
        await groups[1].leave()
        late = groups[0].invite(carol.key)
        await carol.join(late)
        assert set(groups[0].view.members) == {alice.key, carol.key}


async def test_an_invitation_for_somebody_else(caplog: pytest.LogCaptureFixture) -> None:
    async with open_nodes(3) as (bob, alice, stranger):
        group = await alice.found("board")
        with pytest.raises(TokenError, match="another key"):
            await stranger.join(group.invite(bob.key))
    assert caplog.text == ""


async def test_a_sponsor_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    async with open_nodes(1) as (alice,):
        token = (await alice.found("board")).invite()
    async with open_nodes(1) as (bob,):
        # On a slow machine the caller's patience may end before it is known why.
        either = (Unreachable, TimeoutError)
        with pytest.raises(either, match=r"not be reached|not in board") as raised:
            await bob.join(token, timeout_s=2.0)
        assert "\n" not in str(raised.value)
        assert not bob.groups
    assert caplog.text == ""


async def test_a_node_file_that_is_damaged_or_not_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    async with Node.open(path) as node:
        key = node.key
        with pytest.raises(StoreBusy) as busy:
            async with Node.open(path):
                pass
        assert "\n" not in str(busy.value)
    good = path.read_bytes()

    async def refused(data: bytes, error: type[Exception]) -> None:
        path.write_bytes(data)
        with pytest.raises(error) as raised:
            async with Node.open(path):
                pass
        assert "\n" not in str(raised.value)
        assert path.read_bytes() == data

    await refused(b"no database at all, but long enough" * 300, StoreCorrupt)
    await refused(good[: len(good) // 2], StoreCorrupt)
    await refused(good[:100] + os.urandom(len(good) - 100), StoreCorrupt)
    path.write_bytes(good)
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="another version"):
        async with Node.open(path):
            pass
    path.write_bytes(good)
    async with Node.open(path) as node:
        assert node.key == key


@pytest.mark.parametrize(
    "listen", ["nowhere", "127.0.0.1", "127.0.0.1:99999", "localhost.invalid:0", "203.0.113.1:0"]
)
async def test_an_address_that_cannot_be_listened_on(listen: str) -> None:
    with pytest.raises(LocalError, match="listen") as raised:
        async with Node.open(None, listen=listen):
            pass
    assert "\n" not in str(raised.value)


async def test_a_socket_in_use() -> None:
    async with open_nodes(1) as (node,):
        taken = f"{node.address[0]}:{node.address[1]}"
        with pytest.raises(LocalError, match="cannot listen on"):
            async with Node.open(None, listen=taken):
                pass
        assert (await (await node.found("board")).propose("work")).committed


async def test_what_cannot_be_proposed_is_said_and_costs_nothing() -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        for kind, body in [
            ("@join", None), ("quorate.join", None), ("x" * 65, None), ("", None),
            ("work", bytes(60_000)), ("work", object()), ("work", 1 << 70),
        ]:  # fmt: skip
            with pytest.raises(ConsensusError) as raised:
                await groups[0].propose(kind, body)
            assert "\n" not in str(raised.value)
        assert (await groups[0].propose("work", 1)).committed
