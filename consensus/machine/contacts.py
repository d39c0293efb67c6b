"""Where peers are said to be, in which life they are known, and having presences with them."""

from collections.abc import Iterable
from contextlib import suppress

from consensus.core.errors import GroupError
from consensus.core.lives import life, member_of
from consensus.core.types import Member
from consensus.machine.addresses import ADDRESSES_MAX, checked
from transport.core.errors import LocalError
from transport.core.peers import Peers
from transport.core.types import Address


class Contacts:
    """The peers of a node, above the transport's table."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._where: dict[bytes, tuple[Address, ...]] = {}
        self._reached: dict[bytes, Address] = {}
        """Where each peer of `lives` was reached last: all that is known of those that came to this
        node and were never called by it, and it may have to call them back."""
        self.lives: dict[bytes, int] = {}
        """The incarnation each peer was last up in; none once its presence is over for good."""

    def know(self, peer: bytes, addresses: Iterable[Address]) -> None:
        """Where a peer may be found, before what was known already. Raises GroupError for what
        is no address."""
        found = (*checked(addresses), *self._where.get(peer, ()))
        self._where[peer] = tuple(dict.fromkeys(found))[:ADDRESSES_MAX]

    def addresses(self, peer: bytes) -> tuple[Address, ...]:
        """Where a peer was last reached, or is said to be found; may be empty."""
        status = self._peers.status(peer)
        known = self._where.get(peer, ())
        address = status.address if status is not None else None
        if address is None:
            address = self._reached.get(peer)
        if address is None or address in known:
            return known
        return (address, *known)[:ADDRESSES_MAX]

    def met(self, peer: bytes, life: int, address: Address) -> None:
        """A presence with this life of the peer is up."""
        self.lives[peer] = life
        self._reached[peer] = address

    def parted(self, peer: bytes) -> None:
        """The presence is over, and nobody needs another."""
        del self.lives[peer]
        self._reached.pop(peer, None)

    def connect(self, peer: bytes, now: float, timeout_s: float) -> None:
        """Have a presence. Raises GroupError if no address is known, LocalError."""
        found = self.addresses(peer)
        if not found:
            raise GroupError(f"no address is known for {peer.hex()[:16]}")
        self._peers.connect(peer, found, now, timeout_s)

    def connect_nameless(self, peer: bytes, now: float, timeout_s: float) -> bytes:
        """Have a presence without telling who this is; the alias the peer goes by. Raises
        GroupError if no address is known, LocalError."""
        found = self.addresses(peer)
        if not found:
            raise GroupError(f"no address is known for {peer.hex()[:16]}")
        return self._peers.connect_anonymously(peer, found, now, timeout_s)

    def move(self, peer: bytes, now: float) -> bool:
        """Go on under other connection ids, if that can be. Raises LocalError if this node does not
        roam."""
        if not self._peers.roams:
            raise LocalError("open the node with NodeConfig(roams=True)")
        try:
            self._peers.move(peer, now)
        except LocalError:
            return False
        return True

    def member(self, peer: bytes, generation: int = 0) -> Member:
        """The peer in its present life. Raises GroupError without a presence."""
        found = self.lives.get(peer)
        if found is None:
            raise GroupError(f"no presence with {peer.hex()[:16]}")
        return member_of(peer, found, generation)

    def has_presence(self, peer: bytes) -> bool:
        """There is a presence with some life of the peer."""
        status = self._peers.status(peer)
        return peer in self.lives and status is not None and status.up

    def is_up(self, member: Member) -> bool:
        """There is a presence with this very life of a peer."""
        status = self._peers.status(member.key)
        alive = self.lives.get(member.key) == life(member)
        return alive and status is not None and status.up

    def is_heard(self, peer: bytes) -> bool:
        """There is a presence with the peer, and nobody takes it for silent."""
        status = self._peers.status(peer)
        return status is not None and status.up and not status.silent

    def reconnect(self, peer: bytes, now: float) -> None:
        """Try again to have a presence that was lost."""
        status = self._peers.status(peer)
        addresses = self.addresses(peer)
        if addresses and (status is None or not status.up):
            self._again(peer, addresses, now)

    def renew(self, peer: bytes, now: float) -> None:
        """Try for a presence beside one that is silent."""
        addresses = self.addresses(peer)
        if addresses:
            self._again(peer, addresses, now)

    def _again(self, peer: bytes, addresses: tuple[Address, ...], now: float) -> None:
        # A peer that gave no name, or to whom this node gave none, cannot be called back; and too
        # many attempts at once are no reason to end the node.
        with suppress(LocalError):
            self._peers.connect(peer, addresses, now)

    def attempt(self, member: Member, addresses: tuple[Address, ...], now: float) -> bool:
        """Begin to connect to what another member named: key and addresses may be anything.

        A presence with an earlier life of the peer may still look well: nobody may have said
        anything in it for a while.
        """
        if not addresses:
            return False
        anew = self.lives.get(member.key) not in (None, life(member))
        try:
            self._peers.connect(member.key, addresses, now, anew=anew)
        except LocalError:
            return False
        return True
