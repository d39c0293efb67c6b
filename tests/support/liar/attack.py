"""One thing that a liar does, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.support.liar.liar import Liar


class Attack(NamedTuple):
    """One thing that the liar does."""

    kind: str
    """The message, or what every message has."""
    what: str
    because: str
    """What it is accused of; or why it stays: an honest member that is slow could have sent the
    same, or what it sent changes nothing."""
    out: bool
    """It is out then."""
    carry_out: Callable[[Liar], object]


class Attacks(list[Attack]):
    """Those that are tried, in the order of the page."""

    def out(self, kind: str, what: str, because: str, carry_out: Callable[[Liar], object]) -> None:
        """One that costs the liar its place."""
        self.append(Attack(kind, what, because, True, carry_out))

    def stays(
        self, kind: str, what: str, because: str, carry_out: Callable[[Liar], object]
    ) -> None:
        """One that does not."""
        self.append(Attack(kind, what, because, False, carry_out))
