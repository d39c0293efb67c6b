"""Entries that wait for a place in a packet, and how they are packed.

A piece is `head (2) | [group (8)] | bytes`; the layout is in docs/protocol/presence.md.
"""

from __future__ import annotations

from struct import Struct

from transport.core.lane.receiver import ENTRY_GROUP, ENTRY_MORE

__all__ = ["BODY_SIZE_MAX", "EntryQueue"]

BODY_SIZE_MAX = 1_024
"""Bytes of entries, their headers included, in one lane packet."""

_PIECE_MIN = 64  # do not cut an entry to fill less than this
_GROUP_SIZE = 8
_HEADS = [size.to_bytes(2, "big") for size in range(BODY_SIZE_MAX + 1)]
_GROUP_HEAD = Struct(">HQ").pack
_WITH_GROUP = ENTRY_GROUP << 8
_TAKEN_MAX = 1_024  # places of entries that left, before the list is cut


class EntryQueue:
    """First in, first out. A list and an index: an empty deque would take 600 bytes a peer."""

    __slots__ = ("_cut", "_head", "entries")

    def __init__(self) -> None:
        self.entries: list[tuple[int, bytes]] = []
        """Group number and entry; empty exactly if nothing waits. Append to it."""
        self._head = 0  # the first that waits
        self._cut = 0  # bytes of it that already left

    def pack(self, room: int) -> tuple[bytes, int, int]:
        """One body of at most `room` bytes from the front; the entries that end in it, and the
        bytes of entries it holds. Something must wait.
        """
        entries = self.entries
        if len(entries) == 1 and not self._cut:
            group, entry = entries[0]
            size = len(entry)
            if size + 2 + _GROUP_SIZE <= room:
                entries.clear()
                if group:
                    return _GROUP_HEAD(_WITH_GROUP | size, group) + entry, 1, size
                return _HEADS[size] + entry, 1, size
        return self._pack_many(room)

    def _pack_many(self, room: int) -> tuple[bytes, int, int]:
        entries = self.entries
        parts: list[bytes] = []
        add = parts.append
        heads = _HEADS
        group = 0
        taken = 0
        left = room
        head = first = self._head
        start = self._cut
        end = len(entries)
        while head < end:
            tag, entry = entries[head]
            size = len(entry) - start
            need = size + 2 if tag == group else size + 2 + _GROUP_SIZE
            if need <= left:
                if start:
                    entry = entry[start:]
                    start = 0
                if tag == group:
                    add(heads[size])
                else:
                    add(_GROUP_HEAD(_WITH_GROUP | size, tag))
                    group = tag
                add(entry)
                left -= need
                taken += size
                head += 1
                continue
            if parts and size + 2 + _GROUP_SIZE <= BODY_SIZE_MAX:
                break  # it fits in a packet of its own: do not cut it
            piece = left - (need - size)
            if piece < (_PIECE_MIN if parts else 1):
                break
            bits = ENTRY_MORE
            if tag != group:
                bits |= ENTRY_GROUP
            add((bits << 8 | piece).to_bytes(2, "big"))
            if tag != group:
                add(tag.to_bytes(_GROUP_SIZE, "big"))
            add(entry[start : start + piece])
            start += piece
            taken += piece
            break
        self._cut = start
        if head == end:
            entries.clear()
            self._head = 0
        elif head > _TAKEN_MAX and head * 2 > end:
            del entries[:head]
            self._head = 0
        else:
            self._head = head
        return b"".join(parts), head - first, taken
