"""The puzzle: its solutions, its price, and that one is good for one P3."""

from __future__ import annotations

import statistics
from hashlib import blake2b

import pytest

from transport.core.constants import EFFORT_MAX, PUZZLE_PARTS, SOLUTION_SIZE
from transport.core.handshake.puzzle import NO_SOLUTION, Solver, is_solution, part_effort, rest_hash

COOKIE, REST = bytes(16), bytes(32)


def solve(effort: int, cookie: bytes = COOKIE, rest: bytes = REST) -> Solver:
    solver = Solver(cookie, rest, effort)
    assert solver.work(solver.hashes_max)
    return solver


@pytest.mark.parametrize("effort", [1, 8, 9, 100, 5000])
def test_solutions(effort: int) -> None:
    solution = solve(effort).solution
    assert len(solution) == SOLUTION_SIZE
    assert is_solution(COOKIE, REST, effort, solution)
    limit = (2**32 - 1) // part_effort(effort)
    for part in range(PUZZLE_PARTS):
        guess = solution[3 * part : 3 * part + 3]
        content = b"quorate puzzle" + COOKIE + REST + bytes([part]) + guess
        assert int.from_bytes(blake2b(content, digest_size=4).digest(), "big") <= limit


def test_effort_zero_asks_for_nothing_and_takes_nothing_else() -> None:
    solver = Solver(COOKIE, REST, 0)
    assert solver.work(0)
    assert solver.hashes == 0
    assert solver.solution == NO_SOLUTION
    assert is_solution(COOKIE, REST, 0, NO_SOLUTION)
    assert not is_solution(COOKIE, REST, 0, bytes(23) + b"\1")
    assert not is_solution(COOKIE, REST, 0, b"")


def test_a_solution_is_good_for_one_p3() -> None:
    effort = 8 * 4096
    solution = solve(effort).solution
    assert is_solution(COOKIE, REST, effort, solution)
    assert not is_solution(COOKIE, bytes(31) + b"\1", effort, solution)
    assert not is_solution(bytes(15) + b"\1", REST, effort, solution)
    assert not is_solution(COOKIE, REST, effort, solution[:-1])
    # Parts do not stand for each other.
    assert not is_solution(COOKIE, REST, effort, solution[3:6] * PUZZLE_PARTS)


def test_the_work_is_linear_in_the_effort_and_near_it() -> None:
    def spent(effort: int) -> float:
        return statistics.mean(solve(effort, rest=bytes([n]) * 32).hashes for n in range(24))

    for effort in (400, 4000):
        # The mean of 24 sums of 8 scatters by 7 %: five deviations.
        assert effort * 0.65 < spent(effort) < effort * 1.35


def test_slices_find_what_one_go_finds() -> None:
    whole = solve(3000)
    sliced = Solver(COOKIE, REST, 3000)
    calls = 1
    while not sliced.work(7):
        assert sliced.hashes == 7 * calls
        calls += 1
    assert sliced.solution == whole.solution
    assert sliced.hashes == whole.hashes
    assert not sliced.exhausted


def test_a_search_without_end_ends() -> None:
    solver = Solver(COOKIE, REST, EFFORT_MAX)
    solver._candidate = (1 << 24) - 3
    solver._limit = bytes(4)
    assert not solver.work(100)
    assert solver.hashes == 3
    assert solver.exhausted


def test_rest_hash_covers_all_but_the_solution() -> None:
    datagram = bytes(range(200))
    plain = rest_hash(datagram, 69)
    for at in range(200):
        changed = datagram[:at] + b"\xff" + datagram[at + 1 :]
        assert (rest_hash(changed, 69) == plain) == (69 <= at < 69 + SOLUTION_SIZE)
