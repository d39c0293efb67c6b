"""What one member keeps for reads: those that wait, and a view's leases. See `engine.reads`."""

from __future__ import annotations

from typing import Any

from consensus.core.numbers import Key, Mask, Rank, ViewNumber
from consensus.core.types import Handle


class Read:
    """One read that waits."""

    __slots__ = ("fence", "handle", "lease", "need", "view")

    def __init__(self, handle: Handle, view: ViewNumber, fence: Key, need: int, lease: int) -> None:
        self.handle = handle
        self.view = view
        self.fence = fence
        """Key of the last proposal accepted in that view when the read began, or -1."""
        self.need = need
        """The question whose answer shows that the view was the newest then; 0: it is shown."""
        self.lease = lease
        """The question whose lease shows it, as far as the shell's clock agrees, or 0."""

    def fork(self) -> Read:
        return Read(self.handle, self.view, self.fence, self.need, self.lease)

    def state(self) -> tuple[Any, ...]:
        return self.handle, self.view, self.fence, self.need, self.lease


class Leases:
    """What one member has asked, been granted and granted in one view."""

    __slots__ = ("asked", "granted_ms", "granters", "grants", "held", "running", "serial")

    def __init__(self, size: int, asked: int, serial: int) -> None:
        self.asked = asked
        """The last question; questions are counted over all views."""
        self.granters: Mask = 0
        """Mask of those who answered it, oneself included; 0 when a quorum has."""
        self.granted_ms = 0
        """The shortest time among the answers."""
        self.held = 0
        """The last question a quorum answered in this view, or 0."""
        self.grants: dict[Rank, int] = {}
        """By rank of the holder, the serial number of the grant that runs."""
        self.serial = serial
        """The last grant's, over all views: a timer that is late must not end a newer one."""
        self.running: list[Mask] = [0] * size
        """By rank of the grantor, whose leases it has granted that still run, as it said."""

    def fork(self) -> Leases:
        twin = Leases(0, self.asked, self.serial)
        twin.granters = self.granters
        twin.granted_ms = self.granted_ms
        twin.held = self.held
        twin.grants = dict(self.grants)
        twin.running = list(self.running)
        return twin

    def state(self) -> tuple[Any, ...]:
        grants = tuple(sorted(self.grants.items()))
        return (
            self.asked, self.granters, self.granted_ms, self.held, grants, self.serial,
            tuple(self.running),
        )  # fmt: skip

    @property
    def granted(self) -> Mask:
        """Mask of the holders of leases that this member granted and that still run."""
        return sum(1 << rank for rank in self.grants)
