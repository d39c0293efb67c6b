"""Durable groups above the real transport, simulated: a member is killed at every moment."""

import pytest

from consensus.core.outputs import Lost
from consensus.machine.machine import MachineConfig
from scenarios.world.network import Link
from tests.support.nodes.lasting import LastingCast
from transport.core.config import TransportConfig

DELAY_S = 0.002
STEP_S = 0.0037
"""Between the moments tried; coprime to the delay, so that they fall everywhere."""
MOMENTS = 40
DOWN_S = 0.4


def three(suspicion_s: float) -> LastingCast:
    config = MachineConfig(transport=TransportConfig(suspicion_s=suspicion_s))
    cast = LastingCast("ABC", 1, Link(delay_s=DELAY_S), config)
    cast.found("A")
    for joiner, here in (("B", "AB"), ("C", "ABC")):
        cast.admit("A", joiner)
        cast.until(lambda here=here: cast.in_view(here))  # type: ignore[misc]
    return cast


def decides(cast: LastingCast) -> None:
    """All who stand decide what any of them proposes."""
    names = cast.standing()
    handles = [(name, cast.propose(name, b"after")) for name in names]
    cast.until(lambda: all(cast.outcome(name, handle) for name, handle in handles), 20.0)


@pytest.mark.parametrize("victim", ["A", "B"])
@pytest.mark.parametrize("part", range(4))
def test_killed_at_any_moment_while_another_comes_back(victim: str, part: int) -> None:
    for moment in range(part, MOMENTS, 4):
        cast = three(suspicion_s=1.0)
        cast.hosts["C"].crash()
        cast.forget("C")
        cast.until(lambda cast=cast: cast.in_view("AB"))  # type: ignore[misc]
        cast.hosts["C"].restart()
        cast.introduce("C")
        cast.admit("A", "C")
        cast.run_for(moment * STEP_S)
        cast.hosts[victim].crash()
        cast.run_for(DOWN_S)
        cast.hosts[victim].restart()
        cast.run_for(5.0)
        cast.until(lambda cast=cast: victim in cast.standing())  # type: ignore[misc]
        decides(cast)


@pytest.mark.parametrize("victims", ["A", "C", "AB", "ABC"])
def test_a_restart_is_a_pause_and_no_silence(victims: str) -> None:
    cast = three(suspicion_s=2.0)
    for name in victims:
        cast.hosts[name].crash()
    cast.run_for(0.5)
    for name in victims:
        cast.hosts[name].restart()
    cast.run_for(10.0)
    assert cast.standing() == "ABC"
    view = cast.view("A")
    assert view is not None
    assert view.number == 3, "nobody was removed"
    decides(cast)


@pytest.mark.parametrize("victim", ["A", "B"])
def test_in_a_view_of_two_a_restart_is_no_silence_either(victim: str) -> None:
    config = MachineConfig(transport=TransportConfig(suspicion_s=2.0))
    cast = LastingCast("AB", 1, Link(delay_s=DELAY_S), config)
    cast.found("A")
    cast.admit("A", "B")
    cast.until(lambda: cast.in_view("AB"))
    cast.hosts[victim].crash()
    cast.run_for(0.5)
    cast.hosts[victim].restart()
    cast.run_for(5.0)
    assert cast.standing() == "AB"
    decides(cast)


def test_who_comes_back_and_finds_the_others_in_other_lives_learns_that_it_is_over() -> None:
    """It has had no presence with them in this process: their lives are news, not a change."""
    cast = three(suspicion_s=1.0)
    for name in "ABC":
        cast.hosts[name].crash()
    for name in "AB":
        cast.forget(name)
    for name in "ABC":
        cast.hosts[name].restart()
        cast.introduce(name)
    cast.until(lambda: any(isinstance(o, Lost) for o in cast.outputs("C")), 30.0)
