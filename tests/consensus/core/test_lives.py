"""Generations: what tells one time in a group from the next, on lanes and in a node's memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.core import lives
from consensus.core.errors import GroupError
from consensus.core.lives import (
    GENERATION_END,
    LIFE_MASK,
    Generations,
    generation,
    life,
    member_of,
    parted_untrusted,
    prefix,
)

A, B = b"a" * 32, b"b" * 32
GENERATION = st.integers(0, GENERATION_END - 1)


@given(st.integers(0, LIFE_MASK), GENERATION)
def test_an_incarnation_is_a_life_and_a_generation(of_life: int, drawn: int) -> None:
    member = member_of(A, of_life, drawn)
    assert (member.key, life(member), generation(member)) == (A, of_life, drawn)
    assert member.incarnation < 1 << 64


@given(GENERATION, GENERATION, st.binary(min_size=1).filter(lambda e: e[0] != 0xC0))
def test_an_entry_says_from_which_member_to_which(ours: int, theirs: int, said: bytes) -> None:
    lead = prefix(member_of(A, 7, ours), member_of(B, 8, theirs))
    assert len(lead) in (0, lives.PREFIX_SIZE)
    assert bool(lead) == bool(ours or theirs)
    assert parted_untrusted(lead + said) == (ours, theirs, said)


@given(st.binary())
def test_any_bytes_are_parted(entry: bytes) -> None:
    ours, theirs, said = parted_untrusted(entry)
    assert 0 <= ours < GENERATION_END
    assert 0 <= theirs < GENERATION_END
    assert entry.endswith(said)


def test_no_group_has_a_generation_twice_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lives, "KNOWN_GROUPS_MAX", 4)
    drawn, seen = Generations(), set()
    for step in range(200):
        number = step * step % 23
        found = drawn.draw(number)
        assert (number, found) not in seen
        seen.add((number, found))
        assert len(drawn._next) <= 4


def test_the_first_time_of_each_group_has_none_and_the_last_is_said() -> None:
    drawn = Generations()
    assert [drawn.draw(1), drawn.draw(2), drawn.draw(1), drawn.draw(1, 40), drawn.draw(1)] == [
        0, 0, 1, 41, 42,
    ]  # fmt: skip
    assert drawn.draw(3, GENERATION_END - 2) == GENERATION_END - 1
    with pytest.raises(GroupError, match="open it anew"):
        drawn.draw(3)
