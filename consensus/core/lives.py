"""Which life of a peer, and which of its times in a group, an incarnation stands for.

A member is one time that a peer is in a group, or tries to be: what was said by or to an earlier
one must not be taken for something of a later one. So of the 64 bits of a member's incarnation the
lower 40 are the **life** of the peer's node, which the transport knows, and the upper 24 the
**generation**: the first time in a group has 0, and each later one in the same life a higher one.

Lanes run between lives. An entry between two members of generation 0 is the bare message, as
nearly all are; of any others it begins with both generations.
"""

from __future__ import annotations

from consensus.core.errors import GroupError
from consensus.core.types import Member

LIFE_BITS = 40
LIFE_MASK = (1 << LIFE_BITS) - 1
GENERATION_END = 1 << 24
_TAG = b"\xc0"
"""Begins an entry with generations: msgpack's nil, and no message is that."""
_WIDTH = 3
PREFIX_SIZE = 1 + 2 * _WIDTH
KNOWN_GROUPS_MAX = 1024
"""Groups whose next generation is remembered by itself."""


def life(member: Member) -> int:
    """The life of the node whose member this is."""
    return member.incarnation & LIFE_MASK


def generation(member: Member) -> int:
    """How often, in its life, it had entered the group before; not without gaps."""
    return member.incarnation >> LIFE_BITS


def member_of(key: bytes, of_life: int, of_generation: int) -> Member:
    """The member of a life and a generation."""
    return Member(key, of_life | of_generation << LIFE_BITS)


def prefix(sender: Member, receiver: Member) -> bytes:
    """What entries from one to the other begin with."""
    ours, theirs = generation(sender), generation(receiver)
    if not ours | theirs:
        return b""
    return _TAG + ours.to_bytes(_WIDTH, "big") + theirs.to_bytes(_WIDTH, "big")


def parted_untrusted(entry: bytes) -> tuple[int, int, bytes]:
    """The sender's generation, the receiver's, and the entry itself. What is too short to have them
    is given as it is: it is no message either."""
    if entry[:1] != _TAG or len(entry) <= PREFIX_SIZE:
        return 0, 0, entry
    ours, theirs = entry[1 : 1 + _WIDTH], entry[1 + _WIDTH : PREFIX_SIZE]
    return int.from_bytes(ours, "big"), int.from_bytes(theirs, "big"), entry[PREFIX_SIZE:]


class Generations:
    """The next generation of each group, in one life of a node. Of many groups only the latest are
    remembered by themselves; all others begin above whatever was forgotten."""

    def __init__(self, floor: int = 0) -> None:
        """`floor`: what a group that is not known begins with, where an earlier process of the same
        life may have been in it."""
        self._floor = floor
        self._next: dict[int, int] = {}

    def draw(self, number: int, above: int = -1) -> int:
        """One that the group of that number has not had, above the one given. Raises GroupError
        when there is none left in this life."""
        found = max(self._next.pop(number, self._floor), above + 1)
        if found >= GENERATION_END:
            raise GroupError("this life of the node has been in that group too often: open it anew")
        self._next[number] = found + 1
        if len(self._next) > KNOWN_GROUPS_MAX:
            self._floor = max(self._floor, self._next.pop(next(iter(self._next))))
        return found
