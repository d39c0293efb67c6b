"""The views of two of `ask`: one with each peer that is asked, or asks."""

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.types import Member
from consensus.machine.contacts import Contacts
from consensus.machine.hosted_group import HostedGroup
from transport.core.peers import Peers

PAIR_NUMBER = 0
"""Their number on the lanes."""


class Pairs(dict[bytes, HostedGroup]):
    """By peer."""

    def __init__(self, peers: Peers, contacts: Contacts, config: GroupConfig) -> None:
        super().__init__()
        self._peers = peers
        self._contacts = contacts
        self._config = config

    def with_peer(self, peer: bytes) -> HostedGroup:
        """The one that is in force."""
        hosted = self.get(peer)
        if hosted is None:
            return self.begin(peer, 1)
        if hosted.group.phase is Phase.ENDED:  # For silence, and its lane may be good again.
            return self.begin(peer, hosted.group.view.number + 1)
        return hosted

    def begin(self, peer: bytes, number: int) -> HostedGroup:
        """A new one. A lane serves one pair of lives, and the views of two on it have ever higher
        numbers (D43): they need no incarnations, and can exist before the peer's is known."""
        own, other = (Member(key, 0) for key in self._peers.names(peer))
        group = Group.pair(own, other, self._config, number)
        hosted = self[peer] = HostedGroup(group, PAIR_NUMBER, peer=peer, other=other)
        if peer in self._contacts.lives and not self._contacts.is_heard(peer):
            group.link(other, False)
        return hosted
