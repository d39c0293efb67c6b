"""What lets a node in without a cookie: published records, tickets, vouchers, meetings.

How any of these reaches the other side is not the transport's business, but for a ticket, which
travels inside the presence it belongs to. All of it lives in memory, is bounded, and is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.errors import LocalError, UnknownPeer, WireError
from transport.core.establish import connect
from transport.core.handshake.ticket import decode_invitation_untrusted, issue
from transport.core.handshake.transient import KnownTransient, decode_record_untrusted
from transport.core.handshake.variants import TICKET, VOUCHED
from transport.core.peer.context import Table, Ticket
from transport.core.responder.responder import Responder
from transport.core.types import Address

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = ["Introductions"]


class Introductions:
    """The part of `Peers` that prepares handshakes; obtained from it, never made."""

    __slots__ = ("_find", "_responder", "_table")

    def __init__(
        self, table: Table, responder: Responder, find: Callable[[bytes, float], Relation]
    ) -> None:
        """`find` gives the relation with a peer and makes it if need be; it raises `LocalError`."""
        self._table = table
        self._responder = responder
        self._find = find

    # -- records

    def published(self, now: float) -> bytes:
        """This node's signed record, 176 bytes: who has it reaches this node in one round trip.

        It is good for two to four minutes.
        """
        return self._responder.published(now)

    def learn_untrusted(self, peer: bytes, record: bytes, now: float) -> None:
        """Take a peer's record from a directory: the next attempt uses it.

        Raises `WireError` if it is not the peer's, nobody signed it, or it covers another time.
        """
        self._table.learn_transient(self._decoded(peer, record, now))

    def learned(self, now: float) -> list[tuple[bytes, bytes]]:
        """Peers, and their records as `learn_untrusted` takes them: what the next attempts would
        use. There is nothing secret in them; kept over a restart they save its round trip."""
        return [
            (peer, known.signed + known.clock(now).to_bytes(4, "big"))
            for peer, known in self._table.known.items()
            if known.is_usable(now)
        ]

    # -- tickets

    def give_ticket(self, peer: bytes, now: float) -> None:
        """Send the peer a ticket: within ten minutes it comes back in one round trip, which costs
        this side a quarter of what another handshake does.

        It travels once; if it is lost, the peer comes as it would have without. Raises
        `UnknownPeer` without a presence, `LocalError` for a peer without a name, or if too many
        are out.
        """
        table = self._table
        relation = table.relations.get(peer)
        if relation is None or relation.current is None:
            raise UnknownPeer("there is no presence with this peer")
        if peer in table.masks or peer[-1] & 0x80:
            raise LocalError("a ticket is for a peer that knows this node's name, and has one")
        presence = relation.current
        ticket = issue(TICKET, peer, presence.handshake_hash, table.random, now)
        self._responder.invite(ticket, now)
        presence.say(frames.ticket(ticket.encode(now)))
        table.mark(relation)

    def vouch(self, holder: bytes, now: float) -> bytes:
        """As a third party: what to give `holder`, and the peer it is to reach, 53 bytes.

        It authorises and proves nothing of either. Raises `LocalError` for what is no key.
        """
        return issue(VOUCHED, holder, self._table.identity.key, self._table.random, now).encode(now)

    def expect_untrusted(self, holder: bytes, voucher: bytes, issuer: bytes, now: float) -> None:
        """`issuer` vouches for `holder`: let it in. Raises `WireError` for what is no voucher,
        `LocalError` if too many are out or this one is."""
        invitation = decode_invitation_untrusted(voucher, holder, issuer, now)
        if invitation.variant is not VOUCHED:
            raise WireError("not a voucher")
        self._responder.invite(invitation, now)

    def hold_untrusted(
        self, peer: bytes, voucher: bytes, issuer: bytes, record: bytes, now: float
    ) -> None:
        """`issuer` has vouched for this node towards `peer`, whose record this is: the next attempt
        uses it. Raises `WireError` for what is no voucher, or no record of the peer's."""
        invitation = decode_invitation_untrusted(voucher, self._table.identity.key, issuer, now)
        if invitation.variant is not VOUCHED:
            raise WireError("not a voucher")
        self._table.hold_ticket(peer, Ticket(invitation, self._decoded(peer, record, now)))

    # -- meetings

    def meet_untrusted(
        self,
        peer: bytes,
        token: bytes,
        own_record: bytes,
        peer_record: bytes,
        addresses: Sequence[Address],
        rtt_s: float,
        now: float,
        timeout_s: float = 5.0,
    ) -> None:
        """An introducer has told both sides of each other: open at the same time as the peer.

        `own_record` is what this node gave the introducer, `token` 16 bytes that both got, `rtt_s`
        its guess of the round trip in seconds. Takes the place of an attempt under way. Ends in
        `PresenceUp` or `ConnectFailed`; a peer that is up and heard needs nothing. Raises
        `LocalError` as `connect` does and for a token that is none, `WireError` for a record that
        is not the peer's.
        """
        if timeout_s <= 0:
            raise LocalError("a timeout is positive")
        table = self._table
        relation = self._find(peer, now)
        if relation.current is not None and relation.liveness.silent_at is None:
            return
        try:
            connect.begin_meeting(
                table,
                self._responder,
                relation,
                token,
                (own_record, peer_record),
                addresses,
                rtt_s,
                now,
                now + timeout_s,
            )
        except (LocalError, WireError):
            relation.drop_if_unused()
            raise
        table.mark(relation)

    def _decoded(self, peer: bytes, record: bytes, now: float) -> KnownTransient:
        handshake = max(self._table.config.handshake.handshakes)
        return decode_record_untrusted(peer, record, handshake, now)

    def __repr__(self) -> str:
        return "Introductions()"
