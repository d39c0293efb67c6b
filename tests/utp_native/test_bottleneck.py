"""Congestion control in virtual time: the bars are in docs/native.md, with the whole table.

The slow rows of that table are run by `python -m benchmarks.bottleneck`.
"""

from __future__ import annotations

import pytest

from utp_native.bottleneck import Flow, Path, Result, jain, simulate

LINK = Path(rate_bps=10e6, rtt_s=0.02, buffer_s=0.2)
MINUTE_S = 60.0


def last_minute(flows: int) -> tuple[Result, list[float]]:
    """So many flows, started a minute apart; rates over the last of three minutes with all."""
    end = (flows + 2) * MINUTE_S
    result = simulate(LINK, [Flow(start_s=i * MINUTE_S) for i in range(flows)], end)
    return result, [result.rate(i, end - MINUTE_S, end) for i in range(flows)]


def test_64_mib_without_a_bottleneck() -> None:
    result = simulate(Path(rate_bps=0, rtt_s=0.05), [Flow(size=64 << 20)], 30)
    assert result.finished_s[0] is not None
    assert result.finished_s[0] <= 2.0
    # Slow start never ended, so nothing was slowed down.
    assert result.slowdowns == (0,)


def test_one_flow_fills_the_link_and_not_the_queue() -> None:
    result = simulate(LINK, [Flow()], MINUTE_S)
    assert result.rate(0, 0, MINUTE_S) >= 9.5e6
    assert result.queue_median_s(0, MINUTE_S) <= 0.060
    assert result.dropped == (0,)
    # At least 18 round trips lie between slowdowns: with the queue, of 80 ms.
    assert 2 <= result.slowdowns[0] <= MINUTE_S / (18 * 0.08)


def test_two_flows_share() -> None:
    result, rates = last_minute(2)
    assert jain(rates) >= 0.9
    assert sum(rates) >= 9.5e6
    assert result.queue_median_s(3 * MINUTE_S, 4 * MINUTE_S) <= 0.065


def test_three_flows_share() -> None:
    _, rates = last_minute(3)
    assert jain(rates) >= 0.9
    assert sum(rates) >= 9.5e6


def test_gives_way_to_tcp_and_comes_back() -> None:
    tcp = Flow(start_s=30, stop_s=90, cubic=True)
    result = simulate(LINK, [Flow(), tcp], 100)
    assert result.rate(0, 30, 90) <= 0.15 * LINK.rate_bps
    assert result.rate(1, 30, 90) >= 0.85 * LINK.rate_bps
    assert result.rate(0, 94, 95) >= 0.9 * LINK.rate_bps


def test_comes_back_on_a_longer_path_too() -> None:
    # Growth by LEDBAT++'s half a packet a round trip took 16 s; one packet takes less than 6.
    path = Path(rate_bps=20e6, rtt_s=0.05, buffer_s=0.25)
    result = simulate(path, [Flow(), Flow(start_s=30, stop_s=90, cubic=True)], 97)
    assert result.rate(0, 30, 90) <= 0.15 * path.rate_bps
    assert result.rate(0, 96, 97) >= 0.9 * path.rate_bps


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.02])
@pytest.mark.parametrize("rtt_s", [0.01, 0.02])
def test_losses_without_a_queue_cost_less_than_they_cost_tcp(rtt_s: float, loss: float) -> None:
    path = Path(rate_bps=100e6, rtt_s=rtt_s, buffer_s=0.1, loss=loss)
    ours, tcp = (simulate(path, [Flow(cubic=cubic)], 20).rate(0, 0, 20) for cubic in (False, True))
    assert ours >= 1.3 * tcp


@pytest.mark.parametrize(
    ("rate_bps", "rtt_s", "buffer_s"),
    [
        *((20e6, 0.05, buffer_s) for buffer_s in (0.0015, 0.003, 0.01)),
        *((50e6, 0.02, buffer_s) for buffer_s in (0.001, 0.002, 0.005)),
        (100e6, 0.05, 0.002),
    ],
)
def test_buffers_that_show_no_delay(rate_bps: float, rtt_s: float, buffer_s: float) -> None:
    # They are too short for a queue that could be seen, so losses look like a radio's; what tells
    # them apart is that the delay is the longest there is.
    path = Path(rate_bps, rtt_s, buffer_s)
    result = simulate(path, [Flow(), Flow(start_s=30, stop_s=90, cubic=True)], 90)
    assert result.rate(1, 30, 90) >= 0.4 * rate_bps
    assert result.rate(0, 30, 90) <= 0.35 * rate_bps


def test_cold_start_on_a_long_fat_path() -> None:
    # The bar is 800 Mb/s over a minute, which the benchmark runs; a quarter of it is harder.
    path = Path(rate_bps=1e9, rtt_s=0.1, buffer_s=0.1)
    result = simulate(path, [Flow()], 15)
    assert result.rate(0, 0, 15) >= 800e6
    assert result.dropped == (0,)


def test_repeated_losses_leave_a_threshold() -> None:
    # A lossy path keeps the window small; when it gets better the flow is not left for dead.
    path = Path(rate_bps=100e6, rtt_s=0.1, buffer_s=0.1, loss=0.05)
    result = simulate(path, [Flow()], MINUTE_S)
    assert result.rate(0, 30, MINUTE_S) >= 0.2e6


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_arguments_give_the_same_result(seed: int) -> None:
    path = Path(rate_bps=5e6, rtt_s=0.03, buffer_s=0.1, loss=0.01)
    flows = [Flow(), Flow(start_s=1, cubic=True)]
    assert simulate(path, flows, 5, seed=seed) == simulate(path, flows, 5, seed=seed)


def test_the_model_of_tcp_fills_a_link_alone() -> None:
    result = simulate(LINK, [Flow(cubic=True)], MINUTE_S)
    assert result.rate(0, 10, MINUTE_S) >= 9.5e6
    # It fills the queue, which is what giving way is measured against.
    assert result.queue_median_s(10, MINUTE_S) >= 0.1
    assert result.dropped[0] > 0


def test_stock_libutp_behaves_as_its_defects_say() -> None:
    """What the fork mends shows in the same simulator: the bars are not of its making."""
    result = simulate(LINK, [Flow(), Flow(start_s=20)], 60, stock=True)
    assert result.rate(0, 50, 60) < 0.05e6 < 9e6 < result.rate(1, 50, 60)
    slow = simulate(Path(rate_bps=0, rtt_s=0.05), [Flow(size=64 << 20)], 30, stock=True)
    assert slow.finished_s[0] is not None
    assert slow.finished_s[0] > 8
