"""Quorum arithmetic and the removal set, against naive counts."""

from itertools import combinations, product
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


def naive_suspects(down, size, casting_vote):
    """Those whom a quorum of others does not hear."""
    return frozenset(
        target
        for target in range(size)
        if naive_quorum(
            {r for r in range(size) if r != target and down[r] >> target & 1}, size, casting_vote
        )
    )


def view_of(size, casting_vote):
    return View(1, tuple(Member(b"", r) for r in range(size)), casting_vote)


def matrices(size):
    """Everything a view's members can say of whom they do not hear. For five, where that is a
    million, each link is whole, or cut in one way, or cut in both, drawn at random for every
    choice of links."""
    links = list(combinations(range(size), 2))
    random = Random(5)
    choices = product(range(2), repeat=len(links)) if size == 5 else ()
    drawn = ([cut and random.randrange(1, 4) for cut in choice] for choice in choices)
    for said in drawn if size == 5 else product(range(4), repeat=len(links)):
        down = [0] * size
        for (a, b), how in zip(links, said, strict=True):
            down[a] |= (how & 1) << b
            down[b] |= (how >> 1) << a
        yield down


@pytest.mark.parametrize("casting_vote", [True, False])
@pytest.mark.parametrize("size", range(1, 6))
def test_nobody_is_removed_where_no_connected_quorum_is_left(size, casting_vote):
    """D15, R17: whom a quorum does not hear goes, as long as who stays contains a quorum whose
    members all hear each other; if there is none, nobody goes."""
    view = view_of(size, casting_vote)
    removals = refusals = 0
    for down in matrices(size):
        matrix = Matrix(size)
        matrix.down = list(down)
        suspects = naive_suspects(down, size, casting_vote)
        asked_for = naive_removal(matrix.cuts(), size, casting_vote)
        assert matrix.removed(view) == (0 if asked_for is None else mask_of(suspects))
        assert asked_for is None or not mask_of(suspects) & ~asked_for
        removals += bool(suspects) and asked_for is not None
        refusals += bool(suspects) and asked_for is None
    assert removals or size == 1 or (size == 2 and not casting_vote)
    assert refusals or size < 4


@pytest.mark.parametrize("casting_vote", [True, False])
def test_agreements_of_different_moments_leave_a_quorum(casting_vote):
    """Rows come one by one, so those at hand may agree to removals that were asked for at
    different moments; together they could be more than a view can spare."""
    random = Random(15)
    view = view_of(5, casting_vote)
    too_many = 0
    for _ in range(2_000):
        matrix = Matrix(5)
        for rank in range(5):
            matrix.down[rank] = random.choice((0, 0, 1 << random.randrange(5))) & ~(1 << rank)
            matrix.agreed[rank] = random.randrange(32) & random.randrange(32)
        removed = matrix.removed(view)
        assert view.is_quorum(view.full & ~removed)
        rows = list(enumerate(matrix.agreed))
        agreed = [sum(row >> target & 1 for r, row in rows if r != target) for target in range(5)]
        too_many += sum(count >= 3 for count in agreed) > 2
    assert too_many


@pytest.mark.parametrize("casting_vote", [True, False])
def test_a_silent_minority_is_removed(casting_vote):
    for size in range(3, 8):
        view = view_of(size, casting_vote)
        for silent in range(1, (size - 1) // 2 + 1):
            gone = mask_of(range(size - silent, size))
            matrix = Matrix(size)
            matrix.down = [0 if gone >> r & 1 else gone for r in range(size)]
            assert matrix.removed(view) == gone
    pair, matrix = view_of(2, casting_vote), Matrix(2)
    matrix.down = [0b10, 0b01]
    assert matrix.removed(pair) == (0b10 if casting_vote else 0)
