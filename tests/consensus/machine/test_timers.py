"""Named timers against the plainest thing that does the same."""

from hypothesis import given
from hypothesis import strategies as st

from consensus.machine.timers import SLACK, SOON_S, Timers

names = st.sampled_from("abcde")
steps = st.one_of(
    st.tuples(st.just("arm"), names, st.integers(0, 40)),
    st.tuples(st.just("disarm"), names, st.just(0)),
    st.tuples(st.just("due"), st.just(""), st.integers(0, 16)),
)
STEP_S = SOON_S / 8
"""Delays lie on both sides of SOON_S, and are exact as numbers."""


@given(st.lists(steps, max_size=60))
def test_as_a_dictionary_would(script: list[tuple[str, str, int]]) -> None:
    timers, plain, now = Timers[str](), dict[str, float](), 0.0
    for action, name, number in script:
        if action == "arm":
            timers.arm(name, now, number * STEP_S)
            plain[name] = now + number * STEP_S
        elif action == "disarm":
            timers.disarm(name)
            plain.pop(name, None)
        else:
            now += number * STEP_S
            fired = []
            while (due := timers.due(now)) is not None:
                fired.append(due)
            assert sorted(fired) == sorted(n for n, when in plain.items() if when <= now)
            assert [plain[name] for name in fired] == sorted(plain[name] for name in fired)
            plain = {n: when for n, when in plain.items() if when > now}
        asked_at = timers.next_timeout()
        assert (asked_at is None) == (not plain)
        # What was disarmed may have it asked too early, what is armed never too late.
        assert asked_at is None or asked_at <= min(plain.values())
        assert len(timers) == len(plain)


def test_whoever_asks_when_told_asks_rarely() -> None:
    """A thousand timers that are due one after the other, and as many that were disarmed."""
    timers = Timers[int]()
    for number in range(2000):
        timers.arm(number, 0.0, 10 * SOON_S + number * SOON_S / 1000)
    for number in range(0, 2000, 2):
        timers.disarm(number)
    asked = moved = 0
    fired = []
    while (now := timers.next_timeout()) is not None:
        asked += 1
        before = timers._look_at
        while (due := timers.due(now)) is not None:
            fired.append(due)
        moved += timers._look_at != before
    assert fired == list(range(1, 2000, 2))
    assert asked <= 1000 + moved
    assert moved <= 4


def test_timers_that_are_armed_again_and_again_take_no_room() -> None:
    timers = Timers[int]()
    for number in range(10_000):
        timers.arm(number % 3, float(number), SOON_S / 2)
        timers.arm(number % 3 + 3, float(number), 2 * SOON_S)
    assert len(timers) == 6
    assert len(timers._heap) <= 2 * 3 + SLACK + 1
    assert len(timers._later) == 3
