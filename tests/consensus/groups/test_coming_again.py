"""Coming into a group again, in the same process and in a later one, on real sockets."""

from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from consensus import Accept, GroupEnded, Node, Proposal, Rejected, Replica, accept, reject
from consensus.core import outputs
from consensus.core.numbers import Index
from consensus.core.types import Content, Decision, Member, Outcome, ProposalId
from consensus.core.view import View
from consensus.decision import Decision as Described
from consensus.groups.group_state import GroupState
from consensus.groups.history import Events
from consensus.groups.invitations import ENQUIRE, JOIN
from consensus.machine.machine import group_number
from tests.support.network.ports import kept_ports
from tests.support.nodes.nodes import PATIENCE_S, open_nodes, until

pytestmark = pytest.mark.anyio
A, B = Member(b"a" * 32, 1), Member(b"b" * 32, 2)


async def test_a_joiner_sees_every_decision_once_from_its_last_snapshot_on() -> None:
    """A first join fed it with decisions and lapsed; the second one's snapshot is of later."""
    state = GroupState("board", lambda *_: None, lambda: None)  # type: ignore[arg-type, return-value]

    def tell(index: int) -> None:
        named = ProposalId(1, index, A)
        state.decided(
            outputs.Decided(
                Decision(named, Index(index), Content("work"), Outcome.COMMITTED, (), ()), None
            )
        )

    state.take(outputs.SnapshotReceived(Index(2), b""))
    for index in (3, 4):
        tell(index)
    state.take(outputs.SnapshotReceived(Index(7), b""))
    for index in (8, 9):
        tell(index)
    state.take(outputs.Installed(View(3, (A, B), True)))
    tell(10)
    seen = Events(state.history, Described, from_now=False)
    assert [(await anext(seen)).index for _ in range(3)] == [8, 9, 10]
    assert state.history.decision(4) is None


@pytest.mark.parametrize("others", [0, 1])
async def test_a_join_that_is_cancelled_at_any_step_is_repeated(others: int) -> None:
    """In a group of one too: its sponsor has nobody to ask, and gives it up by itself."""
    async with open_nodes(2 + others) as (alice, bob, *more):
        group = await alice.found("board")
        for node in more:
            await node.join(group.invite(node.key))
        token = group.invite(bob.key, uses=99)  # Who was in already has used one up.
        sponsoring = alice._context.machine._hosted[group_number(group.id)].group
        for turns in range(0, 24, 2):
            with anyio.CancelScope() as scope:

                async def cancel(scope: anyio.CancelScope = scope, turns: int = turns) -> None:
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()

                bob._context.spawn(cancel)
                await bob.join(token, timeout_s=PATIENCE_S)
            if not scope.cancelled_caught:
                break  # It was through already.
            assert not bob._groups
        else:
            await bob.join(token, timeout_s=PATIENCE_S)
        assert bob.key in group.view.members
        assert not sponsoring.sponsoring
        await until(lambda: not alice._invitations._under_way)


async def test_a_join_that_timed_out_says_what_it_waited_for() -> None:
    async with open_nodes(2) as (alice, bob):
        group = await alice.found("board")
        alice._invitations._under_way.update((group.id, bytes([n]) * 32) for n in range(4))
        with pytest.raises(TimeoutError, match="waits for the sponsor, which is busy: 4 others"):
            await bob.join(group.invite(), timeout_s=0.6)
        alice._invitations._under_way.clear()
        hosted = alice._context.machine._hosted[group_number(group.id)].group
        hosted._on_ready = lambda *_: None  # type: ignore[method-assign]
        with pytest.raises(TimeoutError, match="waits for the others to change the view"):
            await bob.join(group.invite(), timeout_s=0.6)

        async def say_nothing(_: Proposal) -> Accept:
            await anyio.sleep_forever()
            return accept()

        alice._context.handlers[ENQUIRE] = say_nothing
        with pytest.raises(TimeoutError, match="waits for the sponsor, which has not answered"):
            await bob.join(group.invite(), timeout_s=0.3)


def _kept(into: list[str]) -> Replica:
    return Replica(
        apply=into.append,
        snapshot=lambda: "\n".join(into).encode(),
        restore=lambda data: into.__setitem__(slice(None), data.decode().split("\n")),
    )


async def test_who_was_removed_while_it_was_away_is_told_so_in_every_life(tmp_path: Path) -> None:
    """And comes in again in whichever of them; a join that fails is no reason to forget it. The
    lines that found a group where none is resumed never found a second one."""
    ports = kept_ports(2)
    async with AsyncExitStack() as stack:
        opened = Node.open(tmp_path / "a", listen=f"127.0.0.1:{ports[0]}")
        alice = await stack.enter_async_context(opened)
        ledger: list[str] = []
        replica = _kept(ledger)
        group = await replica.found(alice, "bank", durable=True)
        where = f"127.0.0.1:{ports[1]}"
        async with Node.open(tmp_path / "b", listen=where) as bob:
            await _kept([]).join(bob, group.invite(bob.key))
        await replica.do("without bob")
        assert len(group.view.members) == 1
        for time in range(3):
            async with Node.open(tmp_path / "b", listen=where) as bob:
                entries: list[str] = []
                (former,) = await bob.resume(replicas={"bank": _kept(entries)})
                with anyio.fail_after(PATIENCE_S):
                    await former.state.history.ended.wait()
                assert former.id == group.id
                assert former.ended == GroupEnded(True, "silent")
                assert former.view is not None
                assert bob.groups == ()
                if time == 1:
                    answers = alice._context.handlers
                    join, answers[JOIN] = answers[JOIN], lambda _: reject("not now")
                    with pytest.raises(Rejected, match="not now"):
                        await _kept([]).join(bob, group.invite(bob.key))
                    answers[JOIN] = join
                if time == 2:
                    await _kept(entries).join(bob, group.invite(bob.key))
                    assert entries == ["without bob"]
                    await replica.do("with bob")
                    await until(lambda entries=entries: entries[-1] == "with bob")
        async with Node.open(tmp_path / "b", listen=where) as bob:
            resumed = await bob.resume(replicas={"bank": _kept([])})
            assert [each.id for each in resumed] == [group.id]
