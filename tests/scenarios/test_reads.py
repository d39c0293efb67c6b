"""Reads are linearizable whatever stops, puts to sleep, cuts off or skews their members; and what
makes them so is needed."""

from collections.abc import Callable
from typing import Any

import pytest

from consensus.core.engine.reads import Reads
from consensus.machine.instant import Instant
from consensus.machine.lease_clock import CLOCK_RATE_BOUND, LeaseClock
from scenarios.check.facts import Violation
from scenarios.check.reads import ReadChecker
from tests.support.scripts.reading import LEASE_S, Readers

SEEDS = 30
SECONDS = 8.0
SKEW = 0.49 * CLOCK_RATE_BOUND
"""Of each clock against the true time: between two of them it is less than the bound."""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_reads_return_all_that_was_committed(seed: int) -> None:
    readers = Readers(seed, SKEW, asks=seed % 3 == 2)
    readers.go(SECONDS)
    assert readers.checker.reads > 50
    assert readers.checker.committed > 20


def test_most_reads_need_no_message() -> None:
    readers = Readers(3, SKEW)
    world, host = readers.world, readers.hosts[1]
    passed: list[int] = []
    world.network.trace = lambda *_: passed.append(1)
    world.run(for_s=10.0)
    idle = len(passed)
    passed.clear()
    for _ in range(1000):
        readers.read(host)
        world.run(for_s=0.01)
    assert readers.checker.reads >= 999
    renewals = 10.0 / (LEASE_S / 2)
    assert len(passed) < idle + 8 * renewals, "two questions, two answers, and what acknowledges"


def caught(**options: Any) -> bool:
    for seed in range(SEEDS):
        try:
            Readers(seed, SKEW, **options).go(SECONDS)
        except Violation as violation:
            if violation.invariant != ReadChecker.name:
                raise
            return True
    return False


def test_without_the_second_look_at_the_clock_it_is_caught() -> None:
    assert caught(second_look=False)


def test_a_coordinator_that_does_not_wait_for_leases_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Reads, "_leases_over", lambda self, promisers: True)
    assert caught()


def test_a_lease_that_nobody_has_undertaken_to_honour_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Reads, "_grant", lambda self, rank, granted_ms: None)
    assert caught()


def test_a_quorum_of_one_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reads, "_needs_no_lease", lambda self: True)
    assert caught(asks=True)


def test_a_read_that_does_not_wait_for_what_was_accepted_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Reads, "_fence", lambda self: -1)
    assert caught()


def test_a_lease_of_which_the_holder_counts_twice_the_time_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    granted = LeaseClock.granted
    monkeypatch.setattr(
        LeaseClock, "granted", lambda self, number, lease_s: granted(self, number, 2 * lease_s)
    )
    assert caught()


def boot_s(now: Instant, since: Instant) -> float:
    return now.boot_s - since.boot_s


def awake_s(now: Instant, since: Instant) -> float:
    return now.awake_s - since.awake_s


def raw_s(now: Instant, since: Instant) -> float:
    return now.raw_s - since.raw_s


Counts = Callable[[Instant, Instant], float]


@pytest.mark.parametrize("counts", [awake_s, raw_s])
def test_a_holder_that_does_not_count_sleep_is_caught(
    monkeypatch: pytest.MonkeyPatch, counts: Counts
) -> None:
    monkeypatch.setattr(Instant, "most_s", counts)
    assert caught()


def cut_off_in_turn() -> None:
    """Each of three, of which one slewed clock runs slower than the others."""
    for seed in range(3):
        readers = Readers(seed, SKEW)
        readers.cut_off(readers.hosts[1])
        assert readers.checker.reads > 100
        assert readers.checker.committed > 100


def test_slewed_clocks_make_no_read_old() -> None:
    cut_off_in_turn()


@pytest.mark.parametrize("counts", [boot_s, awake_s])
@pytest.mark.parametrize("which", ["most_s", "least_s"])
def test_a_clock_that_is_slewed_is_caught_at_the_holder_and_at_the_grantor(
    monkeypatch: pytest.MonkeyPatch, which: str, counts: Counts
) -> None:
    monkeypatch.setattr(Instant, which, counts)
    with pytest.raises(Violation, match=ReadChecker.name):
        cut_off_in_turn()
