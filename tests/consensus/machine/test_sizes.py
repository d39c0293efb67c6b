"""Groups of 1 to 16 and many of them on one node, and who goes on when half of two is gone: real
nodes on real sockets."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from consensus import (
    Group,
    GroupConfig,
    GroupError,
    GroupSuspended,
    Node,
    Outcome,
    Rejected,
    accept,
)
from consensus.core.view import VIEW_SIZE_MAX
from consensus.machine import machine as machine_module
from tests.support.nodes.nodes import PATIENCE_S, open_nodes

pytestmark = pytest.mark.anyio

MANY = 40


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_groups_of_one_to_sixteen() -> None:
    async with open_nodes(VIEW_SIZE_MAX + 1) as nodes:
        for node in nodes:
            node.on("work")(lambda proposal: accept(proposal.body))
        groups: list[Group] = []
        with anyio.fail_after(PATIENCE_S):
            for size, node in enumerate(nodes[:VIEW_SIZE_MAX], start=1):
                if not groups:
                    groups.append(await node.found("board"))
                else:
                    sponsor = groups[size * 7 % len(groups)]
                    groups.append(await node.join(sponsor.invite(node.key)))
                proposer = size * 5 % size
                decision = await groups[proposer].propose("work", size)
                assert decision.outcome is Outcome.COMMITTED
                assert decision.view.members == tuple(n.key for n in nodes[:size])
                others = {n.key for at, n in enumerate(nodes[:size]) if at != proposer}
                answers = {key: said for key, said in decision.answers.items() if said}
                assert answers == dict.fromkeys(others, size)
            with pytest.raises(Rejected, match="full"):
                await nodes[-1].join(groups[3].invite(nodes[-1].key))
            # All at once, from everybody: one order.
            async with anyio.create_task_group() as tasks:
                for number, group in enumerate(groups):
                    tasks.start_soon(group.propose, "work", [number])
            orders = [await concurrent(group) for group in groups]
            assert all(order == orders[0] for order in orders)
            assert sorted(number for _, number in orders[0]) == list(range(VIEW_SIZE_MAX))


async def concurrent(group: Group) -> list[tuple[int, int]]:
    """Index and proposer's number of the decisions that everybody made at once."""
    found: list[tuple[int, int]] = []
    async for decision in group.decisions():
        if isinstance(decision.body, list):
            found.append((decision.index, decision.body[0]))
        if len(found) == VIEW_SIZE_MAX:
            break
    return found


async def test_many_groups_of_the_same_members() -> None:
    async with open_nodes(3) as nodes:
        groups: list[list[Group]] = []
        with anyio.fail_after(PATIENCE_S):
            for number in range(MANY):
                founder = nodes[number % 3]
                first = await founder.found(f"group {number}")
                members = {founder.key: first}
                for node in nodes:
                    if node is not founder:
                        members[node.key] = await node.join(first.invite(node.key))
                own = [members[node.key] for node in nodes]
                for group in own:
                    group.on("work")(lambda proposal, number=number: accept(number))
                groups.append(own)

            async def decide(number: int) -> None:
                group = groups[number][(number + 1) % 3]
                decision = await group.propose("work", number)
                assert decision.outcome is Outcome.COMMITTED
                assert [said for said in decision.answers.values() if said is not None] == [
                    number
                ] * 2
                assert decision.index == 3  # after two joins

            async with anyio.create_task_group() as tasks:
                for number in range(MANY):
                    tasks.start_soon(decide, number)
            assert [len(node.groups) for node in nodes] == [MANY] * 3
            # One of them ends; the others do not notice.
            await groups[0][1].leave()
            assert (await groups[1][0].propose("work", 1)).outcome is Outcome.COMMITTED


async def test_groups_of_one_node_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "GROUPS_MAX", 3)
    async with open_nodes(1) as (node,):
        for number in range(3):
            await node.found(f"group {number}")
        with pytest.raises(GroupError, match="at most 3"):
            await node.found("one more")
        node.groups[0].abandon()
        await node.found("in its place")


@asynccontextmanager
async def two(casting_vote: bool, dies: int) -> AsyncIterator[tuple[list[Group], AsyncExitStack]]:
    """A group of two, the first the senior one, and what closes one's node."""
    async with Node.open(None) as stays, AsyncExitStack() as end:
        goes = await end.enter_async_context(Node.open(None))
        nodes = [stays, goes] if dies else [goes, stays]
        for node in nodes:
            node.on("work")(lambda proposal: accept())
        config = GroupConfig(casting_vote=casting_vote)
        senior = await nodes[0].found("pair", config=config)
        junior = await nodes[1].join(senior.invite(nodes[1].key))
        assert junior.config.casting_vote is casting_vote
        assert (await junior.propose("work")).outcome is Outcome.COMMITTED
        yield [senior, junior], end


@pytest.mark.parametrize("casting_vote", [True, False], ids=["casting vote", "strict"])
@pytest.mark.parametrize("dies", [0, 1], ids=["senior", "junior"])
async def test_of_two_only_the_senior_with_the_casting_vote_goes_on_alone(
    casting_vote: bool, dies: int
) -> None:
    async with two(casting_vote, dies) as (groups, end):
        left, (gone, *_) = groups[1 - dies], groups[1 - dies].peers()
        await end.aclose()
        with anyio.fail_after(PATIENCE_S):
            if casting_vote and dies == 1:
                while len(left.view.members) == 2:
                    await left.changed()
                assert (await left.propose("work")).outcome is Outcome.COMMITTED
                await left.read()
                return
            while not left.suspended:
                await left.changed()
            for refused in (left.propose("work"), left.read(), left.leave(), left.kick(gone)):
                with pytest.raises(GroupSuspended):
                    await refused
            assert len(left.view.members) == 2
            left.abandon()
            assert left.ended is not None
