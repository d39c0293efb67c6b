"""What the explorer explores, and what it says about it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from scenarios.check.facts import Violation

__all__ = ["Actor", "Counterexample", "Result", "Step"]


class Actor(Protocol):
    """One member with its surroundings, as a value: nothing here is ever changed in place."""

    @property
    def alive(self) -> bool: ...
    @property
    def closed(self) -> frozenset[int]:
        """Members whose lanes to this one are gone for good."""
        ...

    @property
    def blocked(self) -> frozenset[int]:
        """Members whose lanes to this one stand still."""
        ...

    @property
    def log(self) -> Hashable:
        """What it did so far; only grows."""
        ...

    @property
    def mark(self) -> Hashable:
        """Changes whenever the log grows by something that can contradict another log."""
        ...

    def key(self) -> Hashable:
        """Equal keys behave equally and log equally."""
        ...

    def inputs(self) -> Iterable[Hashable]:
        """Its own inputs, besides deliveries."""
        ...

    def take(self, given: Hashable) -> tuple[Actor, Sequence[tuple[int, Hashable]]]:
        """The member after one of its own inputs, and `(to, message)` in order of sending."""
        ...

    def deliver(
        self, sender: int, message: Hashable
    ) -> tuple[Actor, Sequence[tuple[int, Hashable]]]:
        """The member after a message, and what it sends."""
        ...


Step = tuple[int, str, Any]
"""One transition: `(member, "deliver", sender)` or `(member, "input", given)`."""


@dataclass
class Counterexample:
    """A violation and the steps from the beginning that lead to it."""

    violation: Violation
    steps: list[Step]


@dataclass
class Result:
    """What one exploration visited."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    ends: int = 0
    """States in which nothing is possible any more."""
    member_states: int = 0
    member_steps: int = 0
    """Distinct `(state, input)` pairs that the engine really computed."""
    closed: bool = False
    """True: everything within the bounds was visited."""
    seconds: float = 0.0
    """Processor time."""
    counterexamples: list[Counterexample] = field(default_factory=list)
