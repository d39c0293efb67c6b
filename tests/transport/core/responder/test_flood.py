"""Effort follows load: floods in the simulated world, and what honest initiators feel of them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median, quantiles

import pytest

from tests.support.flood.flood import Flood, everywhere, one_range, one_range_6
from transport.core.responder.address_load import AddressLoad
from transport.core.responder.effort import EffortController
from transport.core.types import Address

FLOOD_S = 20.0


def served(flood: Flood) -> tuple[float, float]:
    """Median and 99th percentile of the time honest initiators took."""
    assert len(flood.latencies) >= 80
    return median(flood.latencies), quantiles(flood.latencies, n=100, method="inclusive")[98]


def test_ten_times_the_capacity_from_addresses_that_do_not_solve() -> None:
    flood = Flood()
    flood.run(FLOOD_S, 60.0)
    assert flood.hostile >= 9 * 100 * FLOOD_S
    half, nearly_all = served(flood)
    assert half < 2.0
    assert nearly_all < 10.0
    assert max(effort for _, effort in flood.efforts) > 0, "the flood was felt"
    back = flood.effort_after(FLOOD_S + 59.0)
    assert back
    assert set(back) == {0}


def test_without_a_controller_the_same_flood_keeps_honest_ones_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(EffortController, "strained", lambda self: None)
    flood = Flood()
    flood.run(8.0, 2.0)
    assert flood.responder.effort == 0
    slow = [latency for latency in flood.latencies if latency > 2.0]
    missing = flood.honest_per_s * 7 - len(flood.latencies)
    assert len(slow) + missing > 0.5 * flood.honest_per_s * 7


@pytest.mark.parametrize("addresses", [one_range, one_range_6])
def test_a_range_that_works_for_it_is_outranked(
    addresses: Callable[[int], Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds a /24 or a /56 and solves what is asked waits behind the rest."""

    def run() -> Flood:
        flood = Flood(hashes_max=200, times_capacity=5.0, addresses=addresses)
        flood.run(8.0, 12.0)
        return flood

    with monkeypatch.context() as without:
        without.setattr(AddressLoad, "level", lambda *_: 0)
        unprotected = run()
    protected = run()
    assert len(protected.latencies) == 35
    assert max(protected.latencies) < 0.5, "not one of the rest feels it"
    assert max(unprotected.latencies) > 5.0


def test_the_range_is_asked_for_more_than_the_rest() -> None:
    flood = Flood(hashes_max=200, times_capacity=5.0, addresses=one_range)
    flood.run(4.0, 0.0)
    effort = flood.responder.effort
    assert effort > 0
    assert flood.responder.effort_for(everywhere(3)) == effort
    assert flood.responder.effort_for(one_range(500)) >= 4 * effort
