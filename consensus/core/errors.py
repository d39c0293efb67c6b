"""What can go wrong in the deciding engine, and whose fault it is."""

from __future__ import annotations


class ConsensusError(Exception):
    """Base of everything `consensus.core` raises."""


class MessageError(ConsensusError):
    """A remote fault: bytes that are no message of a group."""


class GroupError(ConsensusError):
    """A local fault: the caller asked for what this group cannot do."""


class GroupClosed(GroupError):
    """This object is no member (not yet, or no longer)."""


class GroupSuspended(GroupError):
    """This member hears no quorum, so it accepts no proposals."""


class GroupBusy(GroupError):
    """The window and the queue behind it are full; try again after an outcome."""
