"""The total order of one view: lanes, marks and what comes next.

Decisions are ordered by key (clock, then the proposer's rank). A message's clock is its sender's
Lamport clock, and a proposal's is higher than anything its proposer sent before; so once a lane has
shown a clock, no proposal at or below that clock can still come from it.
"""

from __future__ import annotations

from collections import deque
from heapq import heappush
from typing import Any

from consensus.core.numbers import Clock, Index, Key, Rank

PASSED = 1 << 62
"""What one's own lane counts as: nothing of it is under way to oneself."""


class Order:
    """Where delivery stands in one view."""

    __slots__ = ("heard", "index", "last_key", "log", "marks", "queue", "stable")

    def __init__(self, size: int, rank: Rank, index: Index) -> None:
        self.heard = [Clock(0)] * size
        """The highest clock each lane has shown in this view."""
        self.marks = [index] * size
        """The index up to which each member says it has delivered."""
        self.queue: list[Key] = []
        """Heap of the keys not yet delivered."""
        self.log: deque[Key] = deque()
        """Keys delivered in this view and not known to be delivered by everyone, in order."""
        self.index = index
        """The index of the last decision delivered here."""
        self.last_key = Key(-1)
        """The key of the last decision delivered here in this view."""
        self.stable = index
        """Everyone has delivered up to here."""
        if rank >= 0:
            self.heard[rank] = Clock(PASSED)
            self.marks[rank] = Index(PASSED)

    def add(self, key: Key) -> None:
        heappush(self.queue, key)

    def passed(self, clock: Clock) -> bool:
        """Every lane has shown this clock: no proposal at or below it is still to come."""
        return min(self.heard) >= clock

    def fork(self) -> Order:
        twin = object.__new__(Order)
        twin.heard = list(self.heard)
        twin.marks = list(self.marks)
        twin.queue = list(self.queue)
        twin.log = deque(self.log)
        twin.index = self.index
        twin.last_key = self.last_key
        twin.stable = self.stable
        return twin

    def state(self) -> tuple[Any, ...]:
        return (
            tuple(self.heard),
            tuple(self.marks),
            tuple(sorted(self.queue)),
            tuple(self.log),
            self.index,
            self.last_key,
            self.stable,
        )
