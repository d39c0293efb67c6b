"""What a forked child lets go of.

A child of `os.fork` has a copy of every descriptor. It would go on holding the port of a node that
its parent has closed, and the lock of its folder, for as long as it lives, and no new node could
have them. What a child executes instead of itself inherits none of these: Python sees to that.
"""

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Holder", "let_go_in_children"]


class Holder(Protocol):
    """Somebody with a descriptor that only one process may hold."""

    def let_go(self) -> None:
        """Called in a child just forked: close the descriptor, and do nothing more with what it
        stood for, which is the parent's."""


_holders: WeakSet[Holder] = WeakSet()


def let_go_in_children(holder: Holder) -> None:
    """Have it told in every child from now on, for as long as there is anything of it."""
    _holders.add(holder)


def _let_go() -> None:
    for holder in list(_holders):
        holder.let_go()


os.register_at_fork(after_in_child=_let_go)
