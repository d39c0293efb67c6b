"""Invitations as a sponsor keeps them: how often, for whom and how long they are good, and that a
durable group's survive the sponsor's process. Real nodes and files, both backends."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from consensus import Group, GroupError, Node, Rejected, StoreError, TokenError, accept
from consensus import invitations as module
from consensus.core.token import parse_untrusted
from consensus.store import NodeStore
from consensus.values import pack
from tests.support.nodes import PATIENCE_S, open_nodes
from transport.core.keys import verify

pytestmark = pytest.mark.anyio


class Sponsor:
    """A node with a file that is opened again and again on one port, alone in a durable group."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "sponsor.quorate"
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Node, Group]]:
        async with Node.open(self.path, listen=f"127.0.0.1:{self.port}") as node:
            self.port = node.address[1]
            groups = await node.resume()
            yield node, groups[0] if groups else await node.found("board", durable=True)

    @property
    def kept(self) -> int:
        """How many invitations are in the file, once it is closed."""
        with sqlite3.connect(self.path) as connection:
            (number,) = connection.execute("SELECT count(*) FROM invitations").fetchone()
        connection.close()
        return int(number)


@asynccontextmanager
async def opened(directory: Path, number: int) -> AsyncIterator[list[Node]]:
    """So many nodes with files."""
    if number == 0:
        yield []
        return
    async with (
        opened(directory, number - 1) as others,
        Node.open(directory / f"joiner{number}.quorate") as node,
    ):
        yield [*others, node]


async def test_what_is_left_of_an_invitation_survives_the_sponsor(tmp_path: Path) -> None:
    sponsor = Sponsor(tmp_path)
    async with opened(tmp_path, 4) as (bob, carol, dave, eve):
        async with sponsor.open() as (_, group):
            twice, bound = group.invite(uses=2), group.invite(carol.key)
            revoked, expiring = group.invite(), group.invite(expires_in_s=1.0)
            await bob.join(twice)
            group.revoke(revoked)
            used_up = group.invite()
            await dave.join(used_up)
            await anyio.sleep(1.1)
        async with sponsor.open() as (_, group):
            with anyio.fail_after(PATIENCE_S):
                for token, why in ((revoked, "revoked"), (used_up, "used up")):
                    with pytest.raises(Rejected, match=why):
                        await eve.join(token)
                for token, why in ((bound, "another key"), (expiring, "expired")):
                    with pytest.raises(TokenError, match=why):
                        await eve.join(token)
                await carol.join(twice)  # the second and last use
                with pytest.raises(Rejected, match="used up"):
                    await eve.join(twice)
                assert len(group.view.members) == 4
                later = group.invite()
                group.revoke(later)
    # The bound one was not used. The expired one goes when the next invitation is given out.
    assert sponsor.kept == 1


async def test_a_use_that_was_taken_stays_with_who_took_it(tmp_path: Path) -> None:
    """The sponsor dies while the group decides: the use is that joiner's, and nobody else's."""
    sponsor = Sponsor(tmp_path)
    async with opened(tmp_path, 2) as (bob, eve):
        asked = anyio.Event()

        async def think(*_: object) -> object:
            asked.set()
            await anyio.sleep_forever()

        async with sponsor.open() as (node, group):
            token = group.invite()
            node._sponsor = think  # type: ignore[method-assign, assignment]
            async with anyio.create_task_group() as tasks:

                async def join() -> None:
                    with pytest.raises((GroupError, TimeoutError)):
                        await bob.join(token, timeout_s=3.0)

                tasks.start_soon(join)
                with anyio.fail_after(PATIENCE_S):
                    await asked.wait()
                node._tasks.cancel_scope.cancel()  # type: ignore[union-attr]
        with NodeStore.open(sponsor.path) as store:
            (record,) = store.invitations(group.id)
            assert (record.uses, record.taken_by) == (0, (bob.key,))
        async with sponsor.open() as (_, group):
            with anyio.fail_after(PATIENCE_S):
                with pytest.raises(Rejected, match="used up"):
                    await eve.join(token)


async def test_who_asks_before_the_sponsor_is_back_is_told_to_try_again(tmp_path: Path) -> None:
    sponsor = Sponsor(tmp_path)
    async with sponsor.open() as (_, group):
        token = group.invite()
    async with (
        Node.open(tmp_path / "bob.quorate") as bob,
        Node.open(sponsor.path, listen=f"127.0.0.1:{sponsor.port}") as node,
    ):
        with anyio.fail_after(PATIENCE_S):
            with pytest.raises(Rejected, match="not back in its group yet"):
                await bob.join(token)
            await node.resume()
            joined = await bob.join(token)
            assert len(joined.view.members) == 2


async def test_an_invitation_that_cannot_be_kept_is_not_given_out(tmp_path: Path) -> None:
    sponsor = Sponsor(tmp_path)
    async with sponsor.open() as (node, group):
        store = node._files.store
        pages = store._one("PRAGMA page_count")
        assert pages is not None
        store._one(f"PRAGMA max_page_count = {pages[0]}")
        given = []
        with pytest.raises(StoreError, match="no room"):  # noqa: PT012
            for _ in range(1000):
                given.append(group.invite())
        assert len(node._invitations._issued) == len(given)
        store._one("PRAGMA max_page_count = 1000000")
        group.invite()
    assert sponsor.kept == len(given) + 1


async def test_invitations_end_with_the_group(tmp_path: Path) -> None:
    sponsor = Sponsor(tmp_path)
    async with sponsor.open() as (node, group):
        group.invite()
        group.abandon()
        assert node._invitations._issued == {}
        with pytest.raises(GroupError, match="no longer a member"):
            group.invite()
    assert sponsor.kept == 0


async def test_open_invitations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INVITATIONS_MAX", 3)
    async with open_nodes(1) as (alice,):
        group = await alice.found("board")
        tokens = [group.invite() for _ in range(3)]
        with pytest.raises(GroupError, match="more than 3"):
            group.invite()
        group.revoke(tokens[0])
        group.invite()
        with pytest.raises(GroupError, match="at least one use"):
            group.invite(uses=0)


async def test_a_token_of_another_group_or_sponsor_opens_nothing() -> None:
    """Also when its id is that of one which was given out here."""
    async with open_nodes(3) as (alice, bob, eve):
        group, other = await alice.found("board"), await alice.found("other")
        alice.on("work")(lambda proposal: accept())
        token, swapped = group.invite(), other.invite()
        mine = parse_untrusted(token, verify).invitation_id
        theirs = parse_untrusted(swapped, verify).invitation_id
        issued = alice._invitations._issued
        issued[mine], issued[theirs] = issued[theirs], issued[mine]
        for each in (token, swapped):
            with pytest.raises(Rejected, match="not given out here"):
                await bob.join(each)
        forged = await eve.found("board")
        eve._random = lambda size: mine[:size].ljust(size, b"\0")
        elsewhere = parse_untrusted(forged.invite(), verify)
        assert elsewhere.invitation_id == mine
        with pytest.raises(Rejected, match="not given out here"):
            await bob._ask_framework(
                alice.key, module.ENQUIRE, pack({"token": forged.invite()}), 5.0, 5.0
            )
