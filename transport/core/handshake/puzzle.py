"""The puzzle: proof of work that makes a handshake cost its initiator something under load.

A solution has eight parts. Part `i` is three bytes `x` such that

    R = BLAKE2b-4(label | cookie | H(rest of P3) | i | x),    R * effort of the part <= 2^32 - 1

so that the expected number of hashes is linear in the effort, and eight parts keep the actual
number near it. The hash of the rest of P3 makes one solution good for one P3. Effort 0 asks for
nothing; its solution is zero bytes.
"""

from __future__ import annotations

from hashlib import blake2b

from transport.core.constants import HASH_SIZE, PUZZLE_PART_SIZE, PUZZLE_PARTS, SOLUTION_SIZE

_LABEL = b"quorate puzzle"
_LIMIT = 2**32 - 1
_CANDIDATES = 1 << (8 * PUZZLE_PART_SIZE)

NO_SOLUTION = bytes(SOLUTION_SIZE)
"""The solution of effort 0."""


def rest_hash(datagram: bytes, solution_at: int) -> bytes:
    """H(rest of P3): all of the datagram but the solution at that offset."""
    rest = datagram[:solution_at] + datagram[solution_at + SOLUTION_SIZE :]
    return blake2b(rest, digest_size=HASH_SIZE).digest()


def part_effort(effort: int) -> int:
    """An eighth, rounded up."""
    return -(-effort // PUZZLE_PARTS)


def is_solution(cookie: bytes, rest: bytes, effort: int, solution: bytes) -> bool:
    """Whether `solution` is worth `effort`: at most eight hashes, none for effort 0."""
    if effort == 0 or len(solution) != SOLUTION_SIZE:
        return effort == 0 and solution == NO_SOLUTION
    limit = _LIMIT // part_effort(effort)
    prefix = _LABEL + cookie + rest
    for part in range(PUZZLE_PARTS):
        at = part * PUZZLE_PART_SIZE
        candidate = bytes([part]) + solution[at : at + PUZZLE_PART_SIZE]
        digest = blake2b(prefix + candidate, digest_size=4).digest()
        if int.from_bytes(digest, "big") > limit:
            return False
    return True


class Solver:
    """Searches for a solution in slices, so that the caller decides when to pause."""

    __slots__ = ("_candidate", "_limit", "_part", "_prefix", "_solution", "hashes", "hashes_max")

    def __init__(self, cookie: bytes, rest: bytes, effort: int) -> None:
        self._prefix = _LABEL + cookie + rest
        self._limit = (_LIMIT // part_effort(effort)).to_bytes(4, "big") if effort else b""
        self._part = 0 if effort else PUZZLE_PARTS
        self._candidate = 0
        self._solution = b"" if effort else NO_SOLUTION
        self.hashes = 0
        # The effort is an expectation. Eight parts together take four times as much with a
        # probability of 1e-7; small efforts scatter more, hence the constant.
        self.hashes_max = 4 * part_effort(effort) * PUZZLE_PARTS + 64

    def work(self, hashes_max: int) -> bool:
        """Spend at most that many hashes; whether the solution is complete."""
        stop = self.hashes + hashes_max
        limit = self._limit
        candidate = self._candidate
        while self._part < PUZZLE_PARTS:
            prefix = self._prefix + bytes([self._part])
            end = min(_CANDIDATES, candidate + stop - self.hashes)
            start = candidate
            while candidate < end:
                guess = candidate.to_bytes(PUZZLE_PART_SIZE, "big")
                candidate += 1
                # Digests of equal length compare as big-endian numbers do.
                if blake2b(prefix + guess, digest_size=4).digest() <= limit:
                    self._solution += guess
                    self._part += 1
                    self.hashes += candidate - start
                    candidate = 0
                    break
            else:
                self.hashes += candidate - start
                break
        self._candidate = candidate
        return self._part == PUZZLE_PARTS

    @property
    def exhausted(self) -> bool:
        """A part has no solution at all: below e^-16 for every effort that is allowed."""
        return self._candidate == _CANDIDATES

    @property
    def solution(self) -> bytes:
        """The solution, once `work` returned True."""
        return self._solution
