"""The invariant of reads (I10): none returns less than was committed when it began.

Stronger than linearizability asks for: what counts as committed is what any member reported, not
only what a proposer was told.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from scenarios.check.facts import Violation
from scenarios.check.history import Name

__all__ = ["Outside", "ReadChecker"]


class ReadChecker:
    """Sees every committed decision where it is first reported, and both ends of every read."""

    name = "10 reads"

    def __init__(self) -> None:
        self.committed = 0
        """The highest index that anybody reported as committed."""
        self.reads = 0
        """How many reads were seen to end."""

    def reported(self, index: int) -> None:
        """Somebody reported a committed decision."""
        self.committed = max(self.committed, index)

    def began(self) -> int:
        """A read begins: what it must contain."""
        return self.committed

    def ended(self, member: Name, floor: int, index: int) -> None:
        """It returned the state after `index`. Raises Violation."""
        self.reads += 1
        if index < floor:
            raise Violation(
                self.name, (member,), f"{member} read up to {index}; {floor} had been committed"
            )


class Outside:
    """The way around the group by which its users tell each other things, for the explorer: what
    it is told it says to the readers, and it is as fast or as slow as any lane."""

    alive = True
    closed: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()
    log: Hashable = ()
    mark: Hashable = ()

    def __init__(self, readers: dict[int, tuple[int, ...]]):
        self._readers = readers
        """By teller."""

    def key(self) -> Hashable:
        """It remembers nothing."""
        return "outside"

    def inputs(self) -> tuple[Hashable, ...]:
        """It does nothing by itself."""
        return ()

    def take(self, given: Hashable) -> tuple[Outside, Sequence[tuple[int, Hashable]]]:
        """Never asked for: there are no inputs."""
        raise ValueError(f"{given} is no input of what is outside")

    def deliver(
        self, sender: int, message: Hashable
    ) -> tuple[Outside, Sequence[tuple[int, Hashable]]]:
        """Passes on what it is told."""
        return self, [(reader, message) for reader in self._readers[sender]]
