"""The estimator against the arithmetic of RFC 6298, section 2."""

from __future__ import annotations

import pytest

from transport.core.lane.rtt import RoundTrip


def make() -> RoundTrip:
    return RoundTrip(initial_s=1.0, min_s=0.1, max_s=8.0)


def test_before_the_first_sample_the_timer_is_the_initial_one() -> None:
    assert make().timeout_s() == 1.0


def test_section_2_2_the_first_sample() -> None:
    rtt = make()
    rtt.sample(0.4)
    assert (rtt.smoothed_s, rtt.variance_s) == (0.4, 0.2)
    assert rtt.timeout_s() == pytest.approx(0.4 + 4 * 0.2)


def test_section_2_3_the_next_samples() -> None:
    rtt = make()
    rtt.sample(0.4)
    rtt.sample(0.8)
    assert rtt.variance_s == pytest.approx(0.75 * 0.2 + 0.25 * 0.4)
    assert rtt.smoothed_s == pytest.approx(0.875 * 0.4 + 0.125 * 0.8)


def test_the_timer_has_a_floor_and_a_cap_and_doubles_between() -> None:
    rtt = make()
    for _ in range(100):
        rtt.sample(0.001)
    assert [rtt.timeout_s(backoff) for backoff in range(8)] == [
        0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0,
    ]  # fmt: skip
    assert rtt.timeout_s(10_000) == 8.0


def test_the_peers_delay_is_subtracted_but_never_below_the_least_sample() -> None:
    rtt = make()
    rtt.sample(0.100)
    rtt.sample(0.125, delay_s=0.025)
    assert rtt.smoothed_s == pytest.approx(0.100)
    rtt.sample(0.110, delay_s=0.255)  # a lie, or a clock
    assert rtt.smoothed_s == pytest.approx(0.875 * 0.100 + 0.125 * 0.110)


def test_a_negative_sample_is_ignored_and_a_reset_forgets() -> None:
    rtt = make()
    rtt.sample(-1.0)
    assert rtt.smoothed_s is None
    rtt.sample(0.2)
    rtt.reset()
    assert (rtt.smoothed_s, rtt.least_s, rtt.timeout_s()) == (None, None, 1.0)


def test_a_guess_holds_until_the_first_sample_and_never_beyond_the_initial_timer() -> None:
    """Karn's rule: a handshake's datagrams may have been sent more than once."""
    rtt = RoundTrip(1.0, 0.1, 8.0)
    rtt.guess(0.1)
    assert rtt.timeout_s() == pytest.approx(0.3)
    rtt.guess(1.8)
    assert rtt.timeout_s() == 1.0
    rtt.sample(0.06)
    assert rtt.smoothed_s == 0.06
    rtt.guess(1.8)
    assert rtt.timeout_s() == pytest.approx(0.18)
    rtt.reset()
    rtt.guess(0.2)
    assert rtt.timeout_s() == pytest.approx(0.6)
