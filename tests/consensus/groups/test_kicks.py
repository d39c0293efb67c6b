"""Kicks as programs see them: asked about, vetoed, and overtaken by a change of the group."""

import anyio
import anyio.lowlevel
import pytest

from consensus import Accept, GroupConfig, GroupError, Proposal, Reject, accept, reject
from consensus.core.numbers import Clock, Index, ViewNumber
from consensus.core.types import JOIN, LEAVE, Content, Member, Outcome, ProposalId
from consensus.core.types import Decision as Decided
from consensus.decision import body_of, describe
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("reason", "shown"), [("late again", "late again"), ("", "")])
@pytest.mark.parametrize("vetoed", [False, True])
async def test_programs_are_told_why_somebody_is_to_go(
    reason: str, shown: str, vetoed: bool
) -> None:
    """They vote on it with the reason in hand, and who was to go stays if one of them says so."""
    async with open_nodes(3) as nodes:
        alice, bob, carol = nodes
        config = GroupConfig(asks_application_about_kicks=True)
        group = await alice.found("board", config=config)
        groups = [group, await bob.join(group.invite()), await carol.join(group.invite())]
        asked: list[Proposal] = []

        async def judge(proposal: Proposal) -> Accept | Reject:
            asked.append(proposal)
            await anyio.lowlevel.checkpoint()
            return reject("she stays") if vetoed else accept()

        for node in nodes:
            node.on("work")(lambda proposal: accept())
            node.on("@kick")(judge)
        decision = await group.kick(carol.key, reason)
        assert decision.body == shown
        assert [(p.body, p.proposer, p.subject) for p in asked] == [(shown, alice.key, carol.key)]
        if not vetoed:
            assert decision.committed
            return
        assert decision.reasons == {bob.key: "she stays"}
        for each in groups:
            assert (await each.propose("work")).committed
            assert each.view.members == (alice.key, bob.key, carol.key)


async def test_a_kick_whose_target_a_change_has_removed_says_so() -> None:
    """While somebody's program thinks about the kick, its target goes by itself."""
    async with open_nodes(3) as (alice, bob, carol):
        config = GroupConfig(asks_application_about_kicks=True)
        group = await alice.found("board", config=config)
        await bob.join(group.invite())
        of_carol = await carol.join(group.invite())

        async def think(_: Proposal) -> Accept:
            of_carol.abandon()
            await anyio.sleep_forever()
            return accept()

        bob.on("@kick")(think)
        with anyio.fail_after(PATIENCE_S):
            with pytest.raises(GroupError, match="no member any more: a change of the group"):
                await group.kick(carol.key, "going anyway")
        assert group.view.members == (alice.key, bob.key)


async def test_no_member_removes_another_one_by_itself() -> None:
    """By default nobody's program is asked, and a kick that one of four wants is rejected (KT1)."""
    async with open_nodes(4) as nodes:
        groups = await gather_group(nodes)
        decision = await groups[1].kick(nodes[3].key, "because I say so")
        assert not decision.committed
        assert set(decision.reasons.values()) == {"not seen here"}
        assert len(groups[0].view.members) == 4
        assert (await groups[2].kick(nodes[3].key, "so do I")).committed
        await until(lambda: nodes[3].key not in groups[0].view.members)


async def test_in_a_group_of_two_a_kick_takes_the_casting_vote() -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        with pytest.raises(GroupError, match="casting vote"):
            await groups[1].kick(nodes[0].key)
        assert (await groups[0].kick(nodes[1].key)).committed


def test_a_join_whose_note_is_no_value_is_told_without_it() -> None:
    someone = Member(b"k" * 32, 1)
    content = Content(JOIN, b"\xc1", subject=someone)
    proposal = ProposalId(ViewNumber(1), Clock(1), someone)
    told = describe(Decided(proposal, Index(1), content, Outcome.REJECTED, (), ()), None)
    assert told.body is None


def test_the_reason_of_a_leave_is_a_text_whatever_it_holds() -> None:
    someone = Member(b"k" * 32, 1)
    said = body_of(Content(LEAVE, b"\xff no text", subject=someone))
    assert said == "\N{REPLACEMENT CHARACTER} no text"
