"""Named timers against the plainest thing that does the same."""

from hypothesis import given
from hypothesis import strategies as st

from consensus.timers import SLACK, Timers

names = st.sampled_from("abcde")
steps = st.one_of(
    st.tuples(st.just("arm"), names, st.integers(0, 20)),
    st.tuples(st.just("disarm"), names, st.just(0)),
    st.tuples(st.just("due"), st.just(""), st.integers(0, 20)),
)


@given(st.lists(steps, max_size=60))
def test_as_a_dictionary_would(script: list[tuple[str, str, int]]) -> None:
    timers, plain = Timers[str](), dict[str, int]()
    for action, name, at in script:
        if action == "arm":
            timers.arm(name, at)
            plain[name] = at
        elif action == "disarm":
            timers.disarm(name)
            plain.pop(name, None)
        else:
            fired = []
            while (due := timers.due(at)) is not None:
                fired.append(due)
            assert sorted(fired) == sorted(n for n, when in plain.items() if when <= at)
            plain = {n: when for n, when in plain.items() if when > at}
        assert timers.next_timeout() == min(plain.values(), default=None)
        assert len(timers) == len(plain)


def test_timers_that_are_armed_again_and_again_take_no_room() -> None:
    timers = Timers[int]()
    for at in range(10_000):
        timers.arm(at % 3, float(at))
    assert len(timers) == 3
    assert len(timers._heap) <= 2 * 3 + SLACK + 1
