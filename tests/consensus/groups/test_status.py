"""What a member can tell of how its group stands: who holds it up, and by what.

In a simulated world, so that what takes seconds takes none; the last tests are of real nodes.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from consensus import Accept, GroupStatus, Node, Proposal, accept
from consensus.core.outputs import Installed, Suspended
from consensus.core.types import Vote
from consensus.groups.group_state import GroupState
from consensus.groups.observed import Observed
from consensus.groups.watch import AGAIN_S, Watch
from consensus.storage.durable_groups import DurableGroups
from tests.support.nodes.cast import NUMBER, Cast
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes, until
from transport.event_loop import Waiter

TOLD_S = 2.0
"""So soon a member can tell what holds its group up."""


class Watched:
    """A cast, and what each of its members can tell."""

    def __init__(self, names: str) -> None:
        self.cast = Cast(names)
        self.cast.gather(names)
        self._observed = {name: Observed(NUMBER) for name in names}

    def status(self, name: str) -> GroupStatus:
        state = GroupState("board", _no_certificate, Waiter)
        for output in self.cast.outputs(name):
            if isinstance(output, Installed | Suspended):
                state.take(output)
        host = self.cast.hosts[name]
        return host.call(
            lambda player, now: self._observed[name].status(player.machine, state, now, None)
        )

    def pass_time(self, seconds: float = TOLD_S) -> None:
        """Looked at every half second, as a node does every second."""
        for _ in range(int(seconds / 0.5)):
            for name in self.cast.hosts:
                self.status(name)
            self.cast.world.run(lambda: False, limit_s=0.5)

    def silence_program(self, name: str) -> None:
        """Its program never answers."""
        player = self.cast.hosts[name].node
        player.poll_events = player.machine.poll_events


async def _no_certificate(_: object) -> bytes:
    raise AssertionError("nothing is certified here")


def test_nothing_to_tell() -> None:
    watched = Watched("abc")
    status = watched.status("a")
    assert [m.key for m in status.members] == [watched.cast.key("b"), watched.cast.key("c")]
    assert all(m.up and not m.relayed and not m.suspected_by for m in status.members)
    assert all(m.rtt_s and m.heard_s is not None for m in status.members)
    assert (status.proposals, status.unsent, status.waits_for) == ((), 0, ())
    assert not status.held_up
    assert str(status) == f"board: view 3 of 3, {status.index} decided"


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_program_that_does_not_answer_is_named_by_all(names: str) -> None:
    watched = Watched(names)
    cast = watched.cast
    watched.silence_program("b")
    cast.propose("a", b"x")
    watched.pass_time()
    key = cast.key("b")
    for name in names:
        status = watched.status(name)
        (proposal,) = status.proposals
        assert proposal.waits_for == (key,), name
        assert proposal.proposer == cast.key("a")
        assert proposal.kind == "work"
        assert TOLD_S - 0.5 <= proposal.open_s <= TOLD_S
        assert status.held_up
        who = "this node's handler" if name == "b" else key.hex()[:8]
        assert f"waits for {who} (" in str(status)


def test_what_waits_for_its_turn_waits_for_nobody() -> None:
    """Of two proposals the later is accepted by all and comes after the one that is not."""
    watched = Watched("abc")
    cast = watched.cast
    slow = cast.key("b")
    player = cast.hosts["b"].node
    given: Callable[[object], Vote] = player.judge
    held = []

    def judge(proposal: object) -> Vote:
        held.append(proposal)
        return given(proposal)

    player.judge = judge
    watched.silence_program("b")
    cast.propose("a", b"first")
    cast.world.run(lambda: False, limit_s=0.5)
    del player.poll_events
    cast.propose("c", b"second")
    watched.pass_time()
    first, second = watched.status("a").proposals
    assert (first.waits_for, second.waits_for) == ((slow,), ())
    assert len(held) == 1
    assert "and 1 more" in str(watched.status("a"))


def test_a_cut_link_shows_as_a_detour() -> None:
    watched = Watched("abc")
    cast = watched.cast
    cast.world.cut(["a"], ["b"])
    cast.propose("a", b"x")
    watched.pass_time()
    of_a, of_c = watched.status("a"), watched.status("c")
    assert [m.relayed for m in of_a.members] == [True, False]
    assert [m.relayed for m in of_c.members] == [False, False]
    assert of_a.proposals == ()


def test_a_lost_quorum_says_who_is_not_heard() -> None:
    watched = Watched("abc")
    cast = watched.cast
    cast.world.cut(["a"], ["b", "c"])
    cast.propose("a", b"x")
    watched.pass_time()
    status = watched.status("a")
    me = cast.key("a")
    assert status.suspended
    assert [m.suspected_by for m in status.members] == [(me,), (me,)]
    assert "suspended: no quorum is heard" in str(status)
    assert f"{cast.key('b').hex()[:8]} is not heard by this node" in str(status)
    assert all(m.heard_s is not None and m.heard_s > 1 for m in status.members)


def test_a_member_that_does_not_promise_is_waited_for_by_the_group() -> None:
    """It is heard and says nothing: a change of the membership stands, and shows for whom."""
    watched = Watched("abc")
    cast = watched.cast
    machine = cast.machine("b")
    group = machine.group(NUMBER)
    assert group is not None
    group.receive = lambda *_: None  # type: ignore[method-assign]
    kicked = cast.member("c")
    cast.do("a", lambda m, now: m.kick(NUMBER, kicked, "", now))
    watched.pass_time()
    assert cast.key("b") in watched.status("a").waits_for


@pytest.mark.anyio
async def test_real_nodes_tell_and_log_who_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    go = anyio.Event()

    async def wait(_: Proposal) -> Accept:
        await go.wait()
        return accept()

    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        _, bob, carol = nodes
        bob.on("slow")(wait)
        carol.on("slow")(lambda proposal: accept())
        caplog.clear()
        with caplog.at_level(logging.INFO, "quorate.group"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(groups[0].propose, "slow")
                await until(lambda: len(caplog.records) >= len(nodes))
                (proposal,) = groups[2].status().proposals
                assert proposal.waits_for == (bob.key,)
                go.set()
            await until(lambda: sum("goes on" in r.message for r in caplog.records) == len(nodes))
        said = [r.message for r in caplog.records if r.levelno == logging.WARNING]
        assert sum("waits for this node's handler" in line for line in said) == 1
        assert sum(f"waits for {bob.key.hex()[:8]}" in line for line in said) == 2
        assert str(nodes[0].status()).startswith(nodes[0].key.hex()[:8])
        assert repr(groups[0]) == "<Group 'board': view 3 of 3>"
        assert repr(bob).endswith(", 1 groups>")


@pytest.mark.anyio
async def test_a_line_is_written_again_after_a_while_and_no_sooner(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def wait(_: Proposal) -> Accept:
        await anyio.sleep_forever()
        return accept()

    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        nodes[1].on("slow")(wait)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(groups[0].propose, "slow")
            await until(lambda: groups[0].status().held_up)
            watch = Watch(lambda: groups[:1])
            caplog.clear()
            with caplog.at_level(logging.INFO, "quorate.group"):
                lines = []
                for now in (0.0, AGAIN_S / 2, AGAIN_S, AGAIN_S + 1):
                    watch.look(1000.0 + now)
                    lines.append(len(caplog.records))
            assert lines == [1, 1, 2, 2]
            tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_what_has_ended_says_why() -> None:
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        await groups[1].leave()
        status = groups[1].status()
        assert status.ended is not None
        assert (status.members, status.proposals) == ((), ())
        assert str(status) == f"board: ended, {status.ended.reason}"
        assert repr(groups[1]).startswith("<Group 'board': ended, ")


@pytest.mark.anyio
async def test_a_disk_that_does_not_write_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held up before it writes, and let go by the end, as a disk that hangs for a while is."""
    hung, go = threading.Event(), threading.Event()
    write = DurableGroups._write

    def held(*arguments: Any) -> None:
        hung.set()
        assert go.wait(PATIENCE_S)
        write(*arguments)

    async with Node.open(tmp_path / "a.quorate") as node:
        group = await node.found("board", durable=True)
        await until(lambda: group.status().unwritten_s is None)
        monkeypatch.setattr(DurableGroups, "_write", held)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(group.propose, "work")
            await until(lambda: group.status().held_up)
            assert hung.is_set()
            status = group.status()
            assert status.unwritten_s is not None
            assert "the disk has not written for" in str(status)
            go.set()
        await until(lambda: group.status().unwritten_s is None)
        assert not group.status().held_up
