"""Coming into a group: invitations and joins, on real sockets and both backends."""

import time
from functools import partial
from typing import Any

import anyio
import pytest

from consensus import GroupError, LocalError, Node, Proposal, Rejected, TokenError
from consensus.codec import pack
from consensus.core.evidence.invitation_text import parse_untrusted
from consensus.core.message_kinds import FORMAT
from consensus.groups.invitations import ENQUIRE, JOIN
from tests.support.nodes.nodes import PATIENCE_S, open_nodes, until
from transport.core.crypto.keys import verify

pytestmark = pytest.mark.anyio


async def test_invitations_are_bound_and_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_nodes(3) as (alice, bob, eve):
        group = await alice.found("board")
        bound = group.invite(bob.key)
        with pytest.raises(TokenError, match="another key"):
            await eve.join(bound)
        await bob.join(bound)
        with pytest.raises(GroupError, match="already"):
            await bob.join(bound)
        expired = group.invite(eve.key, expires_in_s=60.0)
        later = time.time() + 61.0
        monkeypatch.setattr("transport.surroundings.time.time", lambda: later)
        with pytest.raises(TokenError, match="expired"):
            await eve.join(expired)


async def test_an_invitation_is_not_spent_by_a_join_that_failed() -> None:
    async with open_nodes(3) as (alice, bob, carol):
        group = await alice.found("board")
        await bob.join(group.invite(bob.key))
        token = group.invite(carol.key)
        bob.know(carol.key, [("127.0.0.1", 9)])  # Bob vetoes whom he cannot reach:
        context, carol_address = carol._context, carol._context.advertised
        context.advertised = lambda: (("127.0.0.1", 9),)  # type: ignore[method-assign]
        advertised = alice._context.machine.contacts.addresses
        alice._context.machine.contacts.addresses = lambda peer: ()  # type: ignore[method-assign]
        with pytest.raises((Rejected, TimeoutError)):
            await carol.join(token, timeout_s=12.0)
        context.advertised = carol_address  # type: ignore[method-assign]
        alice._context.machine.contacts.addresses = advertised  # type: ignore[method-assign]
        await carol.join(token)


async def test_bearer_invitation_counts_its_uses() -> None:
    async with open_nodes(4) as (alice, bob, carol, dave):
        group = await alice.found("board")
        token = group.invite(uses=2)
        await bob.join(token)
        await carol.join(token)
        with pytest.raises(Rejected, match="used up"):
            await dave.join(token)
        revoked = group.invite()
        group.revoke(revoked)
        with pytest.raises(Rejected, match="revoked"):
            await dave.join(revoked)
        with pytest.raises(TokenError):
            await dave.join(revoked[:-9])
        with pytest.raises(TokenError):
            await dave.join("quorate1:nonsense")


async def test_two_joins_of_one_group_do_not_undo_each_other() -> None:
    async with open_nodes(2) as (alice, bob):
        group = await alice.found("board")
        token = group.invite(bob.key)
        outcomes: list[object] = []

        async def join() -> None:
            try:
                outcomes.append(await bob.join(token))
            except GroupError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(join)
            tasks.start_soon(join)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Group", "GroupError"]
        assert len(group.view.members) == 2


async def test_where_a_node_that_listens_everywhere_is_reached() -> None:
    async with Node.open(None, listen="0.0.0.0:0") as unsaid:
        group = await unsaid.found("board")
        with pytest.raises(GroupError, match="advertise"):
            group.invite()
    async with (
        Node.open(None, listen="0.0.0.0:0", advertise=[("192.0.2.7", 4000)]) as told,
        Node.open(None) as other,
    ):
        token = (await told.found("board")).invite()
        assert parse_untrusted(token, verify).addresses == (("192.0.2.7", 4000),)
        with pytest.raises(TokenError, match="another sponsor"):
            await other.join(token, sponsor=other.key)
        with pytest.raises(TokenError, match="another node"):
            (await other.found("own")).revoke(token)
    for wrong in ("nonsense", "localhost:1", "127.0.0.1:70000", "127.0.0.1:\u00b2", "a\0b:1"):
        with pytest.raises(LocalError):
            async with Node.open(None, listen=wrong):
                pass


async def test_many_who_join_at_once_all_get_in() -> None:
    """By one sponsor, who takes in four at a time, with an invitation each that is good once."""
    async with open_nodes(8) as (founder, *others):
        group = await founder.found("board")
        issued = founder._invitations._issued
        tokens = [group.invite(node.key) for node in others]
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for node, token in zip(others, tokens, strict=True):
                    tasks.start_soon(partial(node.join, token, timeout_s=PATIENCE_S))
            await until(lambda: not issued)  # The sponsor hears of the last one a moment later.
        assert set(group.view.members) == {founder.key, *(node.key for node in others)}
        with pytest.raises(GroupError, match="already"):
            await others[0].join(tokens[0])


async def test_a_busy_sponsor_says_so() -> None:
    """To who does not wait, and to nobody else's harm: his invitation is as it was."""
    async with open_nodes(2) as (alice, bob):
        group = await alice.found("board")
        token = group.invite()
        under_way = alice._invitations._under_way
        under_way.update((group.id, bytes([number]) * 32) for number in range(4))
        question = pack({"token": token, "addresses": [], "format": FORMAT})
        for kind in (ENQUIRE, JOIN):
            with pytest.raises(Rejected, match="busy: 4 others are joining, try again"):
                await bob._context.ask_framework(alice.key, kind, question, PATIENCE_S, PATIENCE_S)
        with pytest.raises(TimeoutError, match="not in board"):
            await bob.join(token, timeout_s=0.6)
        (issued,) = alice._invitations._issued.values()
        assert (issued.uses, issued.taken_by) == (1, set())
        refused = anyio.Event()
        enquire = alice._context.handlers[ENQUIRE]

        async def busy(proposal: Proposal) -> Any:
            refused.set()
            return enquire(proposal)

        alice._context.handlers[ENQUIRE] = busy
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(bob.join, token, timeout_s=PATIENCE_S))
            await refused.wait()
            under_way.clear()
        assert bob.key in group.view.members
