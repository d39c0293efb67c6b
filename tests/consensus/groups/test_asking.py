"""What a question costs beside its decision: datagrams, and watching the peer for the answer."""

import anyio
import anyio.lowlevel
import pytest

from consensus import Accept, Proposal, accept
from consensus.core.outputs import Decided, Lost
from consensus.core.types import Content, Outcome
from consensus.machine.hosted_group import UNREACHABLE, PairEvent, TimedOut
from consensus.machine.machine import Machine
from scenarios.world.network import Link
from tests.support.nodes.cast import Cast
from tests.support.nodes.nodes import open_nodes
from transport.core.types import Transmit


class Counted:
    """Datagrams that each of two players has sent."""

    def __init__(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent = dict.fromkeys(cast.hosts, 0)
        for name in cast.hosts:
            self._count(name, cast.machine(name), monkeypatch)

    def _count(self, name: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        poll = machine.poll_transmits

        def counting() -> list[Transmit]:
            transmits = poll()
            self.sent[name] += len(transmits)
            return transmits

        monkeypatch.setattr(machine, "poll_transmits", counting)

    def since(self) -> dict[str, int]:
        """Those since this was asked last."""
        sent, self.sent = self.sent, dict.fromkeys(self.sent, 0)
        return sent


def decided(cast: Cast, name: str) -> int:
    return sum(
        isinstance(event, PairEvent)
        and isinstance(event.output, Decided)
        and event.output.decision.outcome is Outcome.COMMITTED
        for _, event in cast.hosts[name].events
    )


def ask(cast: Cast, timeout_s: float = 30.0) -> None:
    content = Content("price", b"tea")
    cast.do("a", lambda m, now: m.ask(cast.key("b"), content, now, timeout_s))


def answered(cast: Cast) -> None:
    """Ask, and have the answer."""
    before = decided(cast, "a")
    ask(cast)
    cast.until(lambda: decided(cast, "a") == before + 1)


def quick(cast: Cast) -> bool:
    peer = cast.machine("a").peers._context.by_key[cast.key("b")]
    return peer.liveness.quick


def test_a_question_is_one_datagram_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    cast = Cast("ab", link=Link(delay_s=0.01))
    answered(cast)
    cast.world.run(for_s=1.0)
    counted = Counted(cast, monkeypatch)
    for _ in range(20):
        answered(cast)
        assert counted.since() == {"a": 1, "b": 1}


def test_only_who_asked_is_told_of_the_outcome() -> None:
    cast = Cast("ab")
    answered(cast)
    cast.world.run(for_s=1.0)
    assert decided(cast, "a") == 1
    assert decided(cast, "b") == 0


def test_the_peer_is_watched_while_an_answer_is_awaited_and_soon_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cast = Cast("ab")
    answered(cast)
    cast.world.run(for_s=1.0)
    assert not quick(cast)
    ask(cast)
    assert quick(cast)
    cast.until(lambda: decided(cast, "a") == 2)
    cast.world.run(for_s=1.0)
    assert not quick(cast)
    counted = Counted(cast, monkeypatch)
    cast.world.run(for_s=3.0)
    assert sum(counted.since().values()) <= 2, "slow probes at most"


def test_why_nobody_answers_is_known_before_the_callers_patience_ends() -> None:
    cast = Cast("ab")
    cast.world.cut(["a"], ["b"])
    ask(cast, timeout_s=10.0)
    cast.world.run(for_s=11.0)
    events = [(at, e.output) for at, e in cast.hosts["a"].events if isinstance(e, PairEvent)]
    (lost_at,) = [at for at, output in events if output == Lost(UNREACHABLE)]
    assert not [at for at, output in events if isinstance(output, TimedOut) and at <= lost_at]


@pytest.mark.anyio
async def test_questions_asked_while_one_is_open_share_a_datagram(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_nodes(2) as (asker, asked):
        begun, over = anyio.Event(), anyio.Event()

        @asked.on("wait")
        async def wait(proposal: Proposal) -> Accept:
            begun.set()
            await over.wait()
            return accept(proposal.body)

        asked.on("echo")(lambda proposal: accept(proposal.body))
        assert await asker.ask(asked.key, "echo", 0) == 0
        sizes: list[int] = []
        poll = asker._context.machine.poll_transmits

        def counting() -> list[Transmit]:
            transmits = poll()
            sizes.extend(len(transmit.data) for transmit in transmits)
            return transmits

        answers: list[bytes] = []

        async def ask(kind: str, number: int) -> None:
            answers.append(await asker.ask(asked.key, kind, bytes([number]) * 100))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "wait", 1)
            await begun.wait()
            monkeypatch.setattr(asker._context.machine, "poll_transmits", counting)
            for number in (2, 3, 4):
                tasks.start_soon(ask, "echo", number)
            while len(answers) < 3:
                await anyio.lowlevel.checkpoint()
            # The first that left; on a busy machine it may have been sent again.
            assert next(size for size in sizes if size > 100) > 300
            over.set()
        assert len(answers) == 4
