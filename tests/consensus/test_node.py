"""Nodes on real sockets, on both backends."""

import anyio
import anyio.lowlevel
import pytest

from consensus import (
    ConsensusError,
    Decision,
    GroupEnded,
    GroupError,
    Node,
    Outcome,
    Proposal,
    Rejected,
    Unreachable,
    ViewChanged,
    accept,
    reject,
)
from consensus.codec import ValueRefused
from consensus.storage.node_store import StoreBusy
from tests.support.nodes.nodes import gather_group, kicked_by_two, open_nodes
from tests.support.waiting import PATIENCE_S, until
from transport.core.errors import TransportError
from transport.endpoint import EndpointClosed

pytestmark = pytest.mark.anyio


async def test_ask_a_stranger_and_again() -> None:
    async with open_nodes(2) as (asker, asked):
        asked.on("price")(lambda proposal: accept({"of": proposal.body["of"], "eur": 3}))
        for _ in range(3):
            assert await asker.ask(asked.key, "price", {"of": "tea"}) == {"of": "tea", "eur": 3}


async def test_ask_is_rejected_with_a_reason() -> None:
    async with open_nodes(2) as (asker, asked):

        @asked.on("price")
        async def judge(proposal: Proposal) -> object:
            await anyio.lowlevel.checkpoint()
            return reject("sold out")

        with pytest.raises(Rejected, match="sold out"):
            await asker.ask(asked.key, "price")
        with pytest.raises(Rejected, match="no handler"):
            await asker.ask(asked.key, "weather")


async def test_a_handler_that_fails_is_a_reject_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_nodes(2) as (asker, asked):

        @asked.on("divide")
        def divide(proposal: Proposal) -> object:
            return accept(1 / proposal.body)

        with pytest.raises(Rejected, match="the handler failed"):
            await asker.ask(asked.key, "divide", 0)
        assert await asker.ask(asked.key, "divide", 4) == 0.25
    assert "ZeroDivisionError" in caplog.text


async def test_an_answer_that_cannot_be_carried_is_a_reject(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_nodes(2) as (asker, asked):
        asked.on("set")(lambda proposal: accept({1, 2}))
        with pytest.raises(Rejected, match="the handler failed"):
            await asker.ask(asked.key, "set")


async def test_a_slow_handler_is_a_reject_in_its_stead() -> None:
    async with open_nodes(2) as (asker, asked):

        @asked.on("slow")
        async def judge(proposal: Proposal) -> object:
            await anyio.sleep_forever()
            return accept()

        with pytest.raises(Rejected, match="no answer in time"):
            await asker.ask(asked.key, "slow", deadline_s=0.2)


async def test_many_questions_both_ways_at_once() -> None:
    async with open_nodes(2) as nodes:
        for node in nodes:
            node.on("echo")(lambda proposal: accept(proposal.body))
        answers: list[object] = []

        async def ask(asker: Node, asked: Node, number: int) -> None:
            answers.append(await asker.ask(asked.key, "echo", number))

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(ask, *nodes, number)
                tasks.start_soon(ask, *reversed(nodes), number)
        assert sorted(answers) == sorted(2 * list(range(200)))  # type: ignore[type-var]


async def test_a_question_that_answers_by_asking_back() -> None:
    async with open_nodes(2) as (asker, asked):
        asker.on("name")(lambda proposal: accept("alice"))

        @asked.on("greet")
        async def greet(proposal: Proposal) -> object:
            return accept("hello " + await asked.ask(proposal.proposer, "name"))

        assert await asker.ask(asked.key, "greet") == "hello alice"


async def test_large_bodies() -> None:
    async with open_nodes(2) as (asker, asked):
        asked.on("length")(lambda proposal: accept(len(proposal.body)))
        assert await asker.ask(asked.key, "length", b"x" * 48_000) == 48_000
        with pytest.raises(ConsensusError):
            await asker.ask(asked.key, "length", b"x" * 60_000)
        with pytest.raises(ValueRefused):
            await asker.ask(asked.key, "length", {"not": object()})


async def test_nobody_there() -> None:
    async with open_nodes(2) as (asker, other):
        with pytest.raises(GroupError, match="no address is known"):
            await asker.ask(b"\x01" * 32, "price")
        with pytest.raises((TransportError, ConsensusError)):
            await asker.ask(asker.key, "price")
        address = other.address
    async with open_nodes(1) as (asker,):
        asker.know(other.key, [address])
        with pytest.raises((TimeoutError, ConsensusError)):
            await asker.ask(other.key, "price", timeout_s=0.5)


async def test_another_key_at_the_address_is_not_talked_to() -> None:
    async with open_nodes(3) as (asker, there, elsewhere):
        called = []
        there.on("price")(lambda proposal: (called.append(1), accept(1))[1])
        asker.know(elsewhere.key, [there.address])
        with pytest.raises((TimeoutError, ConsensusError)):
            await asker.ask(elsewhere.key, "price", timeout_s=0.5)
        assert not called


async def test_a_group_decides_in_one_order() -> None:
    async with open_nodes(4) as nodes:
        groups = await gather_group(nodes)
        seen: list[list[tuple[int, object]]] = [[] for _ in nodes]

        async def follow(number: int) -> None:
            async for decision in groups[number].decisions():
                if decision.kind == "work":
                    seen[number].append((decision.index, decision.body))
                    if len(seen[number]) == 40:
                        return

        async def propose(number: int) -> None:
            for count in range(10):
                decision = await groups[number].propose("work", [number, count])
                assert decision.outcome is Outcome.COMMITTED
                others = {node.key: [number, count] for node in nodes}
                del others[nodes[number].key]
                assert {k: v for k, v in decision.answers.items() if v is not None} == others

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(follow, number)
                await anyio.wait_all_tasks_blocked()
                for number in range(4):
                    tasks.start_soon(propose, number)
        assert seen[0] == seen[1] == seen[2] == seen[3]
        assert sorted(body for _, body in seen[0]) == sorted(  # type: ignore[type-var]
            [number, count] for number in range(4) for count in range(10)
        )


async def test_one_veto_is_enough() -> None:
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        groups[1].on("work")(lambda proposal: reject("not on my watch"))
        decision = await groups[0].propose("work", 1)
        assert decision.outcome is Outcome.REJECTED
        assert not decision.committed
        assert decision.reasons == {nodes[1].key: "not on my watch"}


async def test_leaving_and_kicking() -> None:
    async with open_nodes(4) as nodes:
        groups = await gather_group(nodes)
        await groups[3].leave()
        assert groups[3].ended is not None
        with pytest.raises(GroupError, match="no longer a member"):
            await groups[3].propose("work")
        decision = await kicked_by_two(groups[0], groups[1], nodes[2].key, "for a reason")
        assert decision.committed
        with anyio.fail_after(PATIENCE_S):
            async for event in groups[2].events():
                if isinstance(event, GroupEnded):
                    break
        assert groups[2].ended is not None
        assert groups[2].ended.expelled
        decision = await groups[1].propose("work", 7)
        assert decision.committed
        assert decision.view.members == (nodes[0].key, nodes[1].key)


async def test_views_are_told() -> None:
    async with open_nodes(2) as (alice, bob):
        group = await alice.found("board")
        changes = []

        async def follow() -> None:
            async for event in group.events(from_now=True):
                if isinstance(event, ViewChanged):
                    changes.append(event)
                    return

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            await bob.join(group.invite(bob.key))
        assert changes[0].joined == (bob.key,)
        assert changes[0].view.members == (alice.key, bob.key)


async def test_identity_and_peers_outlive_the_node(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "alice.db"
    async with open_nodes(1) as (bob,):
        bob.on("echo")(lambda proposal: accept(proposal.body))
        async with Node.open(path) as alice:
            key = alice.key
            alice.know(bob.key, [bob.address])
            assert await alice.ask(bob.key, "echo", 1) == 1
            with pytest.raises(StoreBusy):
                async with Node.open(path):
                    pass
            store = alice._files.store
            await until(lambda: store.peer(bob.key))
        async with Node.open(path) as again:
            assert again.key == key
            assert await again.ask(bob.key, "echo", 2) == 2
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_users_own_error_comes_through_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Node.open(None):
            raise KeyError("mine")


async def test_cancellation_leaves_the_node_usable() -> None:
    async with open_nodes(2) as (asker, asked):

        @asked.on("slow")
        async def slow(proposal: Proposal) -> object:
            thinking.set()
            await over.wait()
            return accept("late")

        thinking, over = anyio.Event(), anyio.Event()
        asked.on("quick")(lambda proposal: accept("now"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(asker.ask, asked.key, "slow")
            await thinking.wait()
            tasks.cancel_scope.cancel()
        over.set()
        assert await asker.ask(asked.key, "quick") == "now"


async def test_reading_too_slowly_is_told() -> None:
    from consensus.groups.history import EVENTS_KEPT, EventsMissed

    async with open_nodes(1) as (alone,):
        group = await alone.found("board")
        decisions = group.decisions()
        first: Decision | None = None

        async def one() -> None:
            nonlocal first
            first = await anext(decisions)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await anyio.wait_all_tasks_blocked()
            await group.propose("alone")
        for _ in range(EVENTS_KEPT + 1):
            await group.propose("alone")
        assert first is not None
        with pytest.raises(EventsMissed):
            await anext(decisions)


async def test_a_fault_in_the_machine_ends_the_node_and_is_not_just_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from consensus.machine.machine import Machine

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async def run() -> None:
        async with Node.open(None) as node, Node.open(None) as other:
            monkeypatch.setattr(Machine, "receive_datagrams", fail)
            node.know(other.key, [other.address])
            await node.ask(other.key, "anything", timeout_s=PATIENCE_S)

    with pytest.raises(RuntimeError, match="a fault of ours"):
        await run()


async def test_a_peer_that_is_not_there_is_unreachable() -> None:
    async with open_nodes(1) as (asker,):
        async with Node.open(None) as gone:
            key, address = gone.key, gone.address
        asker.know(key, [address])
        # It is known why a tenth of the caller's patience before its end, if nobody sleeps through
        # that; test_asking.py has it in a time of its own.
        with pytest.raises((Unreachable, TimeoutError), match=r"could not be reached|in time"):
            await asker.ask(key, "price", timeout_s=1.0, deadline_s=1.0)
        with pytest.raises(TimeoutError, match="no presence"):
            await asker.connect(key, timeout_s=0.5)


async def test_a_closed_node_says_so() -> None:
    async with open_nodes(1) as (other,):
        async with Node.open(None) as node:
            node.know(other.key, [other.address])
            group = await node.found("board")
        for call in (
            node.ask(other.key, "price"),
            node.found("again"),
            node.connect(other.key),
            node.open_channel(other.key, "x"),
            node.share(__file__),
        ):
            with pytest.raises((EndpointClosed, ConsensusError), match=r"closed"):
                await call
        with pytest.raises(GroupError, match="no longer a member"):
            await group.propose("x")


async def test_giving_a_group_up_without_asking() -> None:
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        groups[2].abandon()
        assert groups[2].ended is not None
        assert nodes[2].groups == ()
        with anyio.fail_after(PATIENCE_S):
            async for event in groups[0].events():
                if isinstance(event, ViewChanged) and nodes[2].key in event.left:
                    break
        assert (await groups[0].propose("work", 1)).committed


async def test_nothing_is_missed_between_joining_and_reading() -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        for number in range(5):
            decision = await groups[0].propose("work", number)
        await until(lambda: groups[1].notary.index >= decision.index)
        seen = []
        async for decision in groups[1].decisions():
            if decision.kind == "work":
                seen.append(decision.body)
            if len(seen) == 5:
                break
        assert seen == list(range(5))
