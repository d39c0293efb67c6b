"""Invitations as a sponsor keeps them: how often, for whom and how long they are good, and that a
durable group's survive the sponsor's process. Real nodes and files, both backends."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from consensus import (
    Accept,
    Group,
    GroupError,
    Node,
    Proposal,
    Rejected,
    StoreError,
    TokenError,
    accept,
)
from consensus.codec import pack
from consensus.core.evidence.invitation_text import parse_untrusted
from consensus.core.message_kinds import FORMAT
from consensus.core.types import Member, Timer
from consensus.groups import invitations as module
from consensus.groups.invitations import ENQUIRE, JOIN, terms
from consensus.machine.machine import group_number
from consensus.storage.node_store import InvitationRecord, NodeStore
from tests.support.network.ports import kept_port
from tests.support.nodes.nodes import PATIENCE_S, PATIENT, open_nodes, until
from transport.core.crypto.keys import verify

pytestmark = pytest.mark.anyio


class Sponsor:
    """A node with a file that is opened again and again on one port, alone in a durable group."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "sponsor.quorate"
        self.port = kept_port()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Node, Group]]:
        async with Node.open(self.path, listen=f"127.0.0.1:{self.port}", config=PATIENT) as node:
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
        Node.open(directory / f"joiner{number}.quorate", config=PATIENT) as node,
    ):
        yield [*others, node]


async def test_what_is_left_of_an_invitation_survives_the_sponsor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sponsor = Sponsor(tmp_path)
    async with opened(tmp_path, 4) as (bob, carol, dave, eve):
        async with sponsor.open() as (_, group):
            twice, bound = group.invite(uses=2), group.invite(carol.key)
            revoked = group.invite()
            await bob.join(twice)
            group.revoke(revoked)
            used_up = group.invite()
            await dave.join(used_up)
            with monkeypatch.context() as past:
                long_ago = time.time() - 3600.0
                past.setattr("transport.surroundings.time.time", lambda: long_ago)
                expiring = group.invite(expires_in_s=1.0)
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
            node._invitations._sponsor = think  # type: ignore[method-assign, assignment]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bob.join, token)
                with anyio.fail_after(PATIENCE_S):
                    await asked.wait()
                node._context.tasks.cancel_scope.cancel()  # type: ignore[union-attr]
                tasks.cancel_scope.cancel()
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
        eve._context.random = lambda size: mine[:size].ljust(size, b"\0")
        elsewhere = parse_untrusted(forged.invite(), verify)
        assert elsewhere.invitation_id == mine
        with pytest.raises(Rejected, match="not given out here"):
            await bob._context.ask_framework(
                alice.key, module.ENQUIRE, pack({"token": forged.invite()}), PATIENCE_S, PATIENCE_S
            )


async def test_a_use_is_given_back_when_the_join_lapses_after_its_commit() -> None:
    """The group said yes, but the joiner was never in: it needs no other invitation."""
    async with open_nodes(3) as (alice, bob, carol):
        group = await alice.found("board")
        await bob.join(group.invite(bob.key))
        token = group.invite()
        (issued,) = alice._invitations._issued.values()
        core = alice._context.machine._hosted[group_number(group.id)].group
        snapshot = core.snapshot

        def refuse(joiner: Member, index: int, _: bytes | None) -> None:
            snapshot(joiner, index, None)

        core.snapshot = refuse  # type: ignore[method-assign, assignment]
        with anyio.fail_after(PATIENCE_S):
            with pytest.raises(GroupError, match="no snapshot"):
                await carol.join(token)
            await until(lambda: not issued.taken_by)
            assert (issued.uses, alice._invitations._under_way) == (1, set())
            del core.snapshot
            await carol.join(token)
            await until(lambda: not issued.taken_by)
        assert len(group.view.members) == 3
        assert alice._invitations._issued == {}


async def test_a_use_is_settled_when_nobody_waits_for_it_any_more() -> None:
    """A joiner gives up while the group thinks about it; what becomes of the join still counts."""
    async with open_nodes(2) as (alice, bob):
        group = await alice.found("board")
        token = group.invite(uses=2)
        (issued,) = alice._invitations._issued.values()
        sponsor = alice._invitations._sponsor

        async def slow(*arguments: Any) -> Any:
            await sponsor(*arguments)
            await anyio.sleep_forever()

        alice._invitations._sponsor = slow  # type: ignore[method-assign, assignment]
        core = alice._context.machine._hosted[group_number(group.id)].group
        core._joiner_gone = lambda _: None  # type: ignore[method-assign]
        question = pack({"token": token, "addresses": [], "format": FORMAT})
        with anyio.fail_after(PATIENCE_S):
            with pytest.raises((Rejected, TimeoutError)):
                await bob._context.ask_framework(alice.key, module.JOIN, question, 3.0, PATIENCE_S)
            # Bob has no group to be let into: his node says so, which is heard late here.
            assert (issued.uses, issued.taken_by) == (1, {bob.key})
            assert alice._invitations._under_way == {(group.id, bob.key)}
            ((joiner, at),) = core._sponsored.items()
            alice._context.do(lambda m, now: core.lost(joiner))
            alice._context.do(lambda m, now: core.fire(Timer("join", at.handle)))
            await until(lambda: not issued.taken_by)
        assert (issued.uses, alice._invitations._under_way) == (2, set())


async def test_a_use_is_spent_by_a_join_that_outlives_the_sponsors_process(tmp_path: Path) -> None:
    """What was committed goes on when the group is resumed; then the invitation is used up."""
    sponsor = Sponsor(tmp_path)
    async with opened(tmp_path, 1) as (bob,):
        async with sponsor.open() as (_, group):
            token = group.invite()
            await bob.join(token)
        with NodeStore.open(sponsor.path) as store:
            parsed = parse_untrusted(token, verify)
            assert store.invitations(group.id) == []
            # As if the process had ended before it was written down who is in.
            store.save_invitation(
                InvitationRecord(parsed.invitation_id, group.id, parsed.expires_at, 0, (bob.key,))
            )
        async with sponsor.open() as (node, group):
            with anyio.fail_after(PATIENCE_S):
                await until(lambda: not node._invitations._issued)
    assert sponsor.kept == 0


async def test_a_joiner_of_the_format_before_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Its question says no format; one that says another is refused as well."""
    sponsor = Sponsor(tmp_path)
    async with opened(tmp_path, 1) as (bob,), sponsor.open() as (node, group):
        bob.know(node.key, [node.address])
        for said in ({}, {"format": 1}, {"format": FORMAT + 1}, {"format": True}, {"format": []}):
            question = pack({"token": group.invite(), "addresses": [], **said})
            for kind in (ENQUIRE, JOIN):
                with pytest.raises(Rejected, match="the joiner is of another version"):
                    await bob._context.ask_framework(node.key, kind, question, 9.0, PATIENCE_S)
        assert group.view.members == (node.key,)
        await bob.join(group.invite())


async def test_a_sponsor_of_the_format_before_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sponsor = Sponsor(tmp_path)
    async with opened(tmp_path, 1) as (bob,), sponsor.open() as (node, group):

        def told(_: Proposal) -> Accept:
            rules = terms(group)
            del rules["format"], rules["generation"], rules["kicks_need_two"]
            return accept(rules)

        monkeypatch.setitem(node._context.handlers, ENQUIRE, told)
        with pytest.raises(TokenError, match=r"sponsor is of another version.* format 1 and not 2"):
            await bob.join(group.invite())
