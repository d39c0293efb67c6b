"""Quorum arithmetic and the removal set, against naive counts."""

from itertools import combinations
from random import Random

import pytest

from consensus.core.quorum import Standing, is_quorum, standing
from consensus.core.tables.suspicion import Matrix, smallest_removal
from consensus.core.types import Member
from consensus.core.view import View


def naive_quorum(members, size, casting_vote):
    if len(members) > size - len(members):
        return True
    return casting_vote and len(members) == size - len(members) and 0 in members


def sets_of(size):
    for count in range(size + 1):
        for members in combinations(range(size), count):
            yield frozenset(members)


def mask_of(members):
    return sum(1 << rank for rank in members)


@pytest.mark.parametrize("casting_vote", [True, False])
@pytest.mark.parametrize("size", range(1, 8))
def test_is_quorum(size, casting_vote):
    for members in sets_of(size):
        expected = naive_quorum(members, size, casting_vote)
        assert is_quorum(mask_of(members), size, casting_vote) == expected


@pytest.mark.parametrize("casting_vote", [True, False])
@pytest.mark.parametrize("size", range(1, 8))
def test_two_quorums_meet(size, casting_vote):
    quorums = [m for m in map(mask_of, sets_of(size)) if is_quorum(m, size, casting_vote)]
    assert quorums
    assert all(a & b for a in quorums for b in quorums)


@pytest.mark.parametrize("casting_vote", [True, False])
@pytest.mark.parametrize("size", range(1, 6))
def test_standing_is_what_the_rest_can_still_do(size, casting_vote):
    for yes in sets_of(size):
        for no in sets_of(size):
            if yes & no:
                continue
            rest = frozenset(range(size)) - yes - no
            if naive_quorum(yes, size, casting_vote):
                expected = Standing.WON
            elif naive_quorum(yes | rest, size, casting_vote):
                expected = Standing.PENDING
            else:
                expected = Standing.LOST
            assert standing(mask_of(yes), mask_of(no), size, casting_vote) == expected


def naive_removal(cuts, size, casting_vote):
    """Try every set, the smallest first, the one that spares seniors first."""
    everybody = frozenset(range(size))
    for count in range(size + 1):
        found = []
        for removed in combinations(range(size), count):
            rest = everybody - frozenset(removed)
            connected = all(not cuts[a] >> b & 1 for a in rest for b in rest)
            if connected and naive_quorum(rest, size, casting_vote):
                found.append(removed)
        if found:
            return mask_of(max(found))
    return None


@pytest.mark.parametrize("casting_vote", [True, False])
@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 9])
def test_smallest_removal(size, casting_vote):
    random = Random(size)
    view = View(1, tuple(Member(b"", r) for r in range(size)), casting_vote)
    for _ in range(150 if size < 9 else 25):
        matrix = Matrix(size)
        for a in range(size):
            for b in range(size):
                if a != b and random.random() < random.choice((0.05, 0.2)):
                    matrix.down[a] |= 1 << b
        cuts = matrix.cuts()
        assert smallest_removal(cuts, view) == naive_removal(cuts, size, casting_vote)


def test_largest_view_is_quick():
    """A perfect matching of cut links is the worst case of 16: one of each pair goes."""
    view = View(1, tuple(Member(b"", r) for r in range(16)), True)
    cuts = [1 << (r ^ 1) for r in range(16)]
    removed = smallest_removal(cuts, view)
    assert removed == sum(1 << r for r in range(1, 16, 2))


def test_removal_needs_a_quorum_with_the_target_left_out():
    view = View(1, tuple(Member(b"", r) for r in range(4)), False)
    matrix = Matrix(4)
    matrix.down = [0b1000, 0b1000, 0, 0]
    assert matrix.removed(view) == 0
    matrix.agreed[3] = 0b1000  # the target's own opinion does not count
    assert matrix.removed(view) == 0
    matrix.agreed[2] = 0b1000
    assert matrix.removed(view) == 0b1000
