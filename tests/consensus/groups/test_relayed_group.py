"""A group goes on deciding while a link between two members is cut, by way of a third."""

import pytest

from consensus.core.outputs import Suspended
from consensus.core.types import Outcome
from tests.support.nodes.cast import NUMBER, Cast
from transport.core.events import LinkCut, LinkHealed

DECISIONS = 12
DECIDING_S = 0.5


@pytest.mark.parametrize("one_way", [False, True], ids=["both ways", "one way"])
@pytest.mark.parametrize("names", ["abc", "abcde"])
def test_decisions_go_on_by_relay(names: str, one_way: bool) -> None:
    cast = Cast(names)
    cast.gather(names)
    view = cast.view("a")
    cast.world.cut(["a"], ["b"], one_way=one_way)
    for number in range(DECISIONS):
        name = "ab"[number % 2]
        handle = cast.propose(name, b"%d" % number)
        cast.until(lambda name=name, handle=handle: cast.outcome(name, handle) is not None)  # type: ignore[misc]
        decision = cast.outcome(name, handle)
        assert decision is not None
        assert decision.outcome is Outcome.COMMITTED
        assert len(decision.answers) == len(names) - 1
        cast.world.run(lambda: False, limit_s=DECIDING_S)
    for name in names:
        bodies = [d.content.body for d in cast.decisions(name) if d.content.kind == "work"]
        assert bodies == [b"%d" % number for number in range(DECISIONS)]
        assert cast.view(name) == view, "nobody was removed"
        assert not any(isinstance(o, Suspended) for o in cast.outputs(name))
    told = [type(event) for name in "ab" for _, event in cast.hosts[name].events]
    assert LinkCut in told
    cast.world.network.heal()
    cast.world.run(lambda: False, limit_s=2.0)
    told = [type(event) for name in "ab" for _, event in cast.hosts[name].events]
    assert told.count(LinkHealed) == told.count(LinkCut)


def test_nobody_is_removed_while_a_relay_reaches_them() -> None:
    """For as long as it takes: a link that stays cut for minutes is no reason to remove anybody
    (D34)."""
    cast = Cast("abc")
    cast.gather("abc")
    view = cast.view("a")
    cast.world.cut(["a"], ["b"])
    cast.world.run(lambda: False, limit_s=120.0)
    handle = cast.propose("b", b"still")
    cast.until(lambda: cast.outcome("b", handle) is not None)
    assert [cast.view(name) for name in "abc"] == [view] * 3


def test_without_a_relay_who_is_cut_off_from_both_sides_is_removed() -> None:
    """What the test above would show if nobody relayed."""
    cast = Cast("abc")
    cast.gather("abc")
    cast.world.cut(["a"], ["b"])
    cast.world.cut(["c"], ["b"])
    cast.until(lambda: cast.in_view("ac"))
    handle = cast.propose("a", b"on")
    cast.until(lambda: cast.outcome("a", handle, NUMBER) is not None)
