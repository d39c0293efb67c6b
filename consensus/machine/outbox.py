"""Group messages on their way to the lanes: what a full lane does not take waits here."""

from collections import deque

from consensus.core.errors import MessageError
from consensus.core.message_fields import GoneMessage
from consensus.core.message_kinds import EXPELLED, GONE
from consensus.core.messages import decode_entry_untrusted, encode
from consensus.core.numbers import Clock, Index, ViewNumber
from transport.core.errors import LaneFull, UnknownPeer
from transport.core.peers import Peers

WAITING_MAX = 65_536
"""Messages waiting for room in one peer's lane: every group's window of every member, and more."""
GONE_TOLD_MAX = 1024
"""Peers and groups remembered as told that this node is in no such group."""


class Outbox:
    """Entries for the peers' lanes, in order."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._waiting: dict[bytes, deque[tuple[int, bytes]]] = {}
        self._told: set[tuple[bytes, int, bytes]] = set()

    def send(self, peer: bytes, number: int, entry: bytes, now: float) -> bool:
        """Append to the lane, now or when it has room. False: there is no such lane."""
        waiting = self._waiting.get(peer)
        if waiting is None:
            try:
                self._peers.send(peer, number, entry, now)
                return True
            except UnknownPeer:
                return False
            except LaneFull:
                waiting = self._waiting[peer] = deque()
        waiting.append((number, entry))
        if len(waiting) > WAITING_MAX:
            del self._waiting[peer]
            self._peers.forget(peer)
        return True

    def relieve(self, peer: bytes, now: float) -> None:
        """The lane has room again."""
        waiting = self._waiting.get(peer)
        if waiting is None:
            return
        try:
            while waiting:
                self._peers.send(peer, *waiting[0], now)
                waiting.popleft()
        except (LaneFull, UnknownPeer):
            return
        del self._waiting[peer]

    def drop(self, peer: bytes) -> None:
        """The lane begins anew: what waited for it is void."""
        self._waiting.pop(peer, None)

    def tell_gone(self, peer: bytes, number: int, lead: bytes, entry: bytes, now: float) -> None:
        """Answer an entry for a member of a group that this node is not, once for a pair of them.

        Without it a member whose process lives but has lost the group would be waited for for
        ever: its presence answers, so nobody takes it for silent.
        """
        if (peer, number, lead) in self._told:
            return
        try:
            message = decode_entry_untrusted(entry)[0]
        except MessageError:
            return
        if message.kind in (GONE, EXPELLED):
            return
        if len(self._told) >= GONE_TOLD_MAX:
            self._told.clear()
        self._told.add((peer, number, lead))
        self.say_gone(peer, number, lead, message.view, now)

    def say_gone(
        self, peer: bytes, number: int, lead: bytes, view: ViewNumber, now: float
    ) -> None:
        """Tell a peer that a member of a group, whose view was this one, is no more; `lead` says
        which (`lives`)."""
        for piece in encode(GoneMessage(GONE, view, Clock(0), Index(0))):
            self.send(peer, number, lead + piece, now)

    def entered(self, number: int) -> None:
        """This node is in that group from now on."""
        self._told = {told for told in self._told if told[1] != number}
