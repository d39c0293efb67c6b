"""Which peers the node's groups need, and of whom they await something now."""

from collections.abc import Iterable

from consensus.core.types import Member
from transport.core.peers import Peers


class Demand:
    """Counts over all groups; tells the table of peers when a count leaves or reaches zero."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._needed: dict[bytes, int] = {}
        self._awaited: dict[bytes, int] = {}

    def needs(self, peer: bytes) -> bool:
        """Whether a group of this node has the peer as a member."""
        return peer in self._needed

    def need(self, keys: Iterable[bytes], step: int) -> None:
        """A group has these members now (+1), or no longer (-1)."""
        for key in keys:
            wanted = self._needed.get(key, 0) + step
            self._needed[key] = wanted
            if wanted == 0:
                del self._needed[key]
            self._peers.keep(key, wanted > 0)

    def await_instead(
        self, before: frozenset[Member], after: frozenset[Member], now: float
    ) -> None:
        """A group awaits something from other members than it did before."""
        # In an order that does not depend on hashes: simulated histories must repeat.
        for member in sorted(after - before):
            self.await_peer(member.key, now)
        for member in sorted(before - after):
            self.await_no_longer(member.key, now)

    def await_peer(self, peer: bytes, now: float) -> None:
        """One group more awaits something from the peer."""
        count = self._awaited[peer] = self._awaited.get(peer, 0) + 1
        if count == 1:
            self._peers.watch(peer, True, now)

    def await_no_longer(self, peer: bytes, now: float) -> None:
        """One group less does."""
        count = self._awaited[peer] = self._awaited[peer] - 1
        if count == 0:
            del self._awaited[peer]
            self._peers.watch(peer, False, now)
