"""What lets a node in without a cookie: published records, tickets, vouchers, meetings.

How any of these reaches the other side is not the transport's business, but for a ticket, which
travels inside the presence it belongs to. All of it lives in memory, is bounded, and is used once.
"""

from __future__ import annotations

from collections.abc import Sequence

from transport.core import frames
from transport.core.dispatch.places import place_of
from transport.core.errors import LocalError, UnknownPeer, WireError
from transport.core.establish import connect
from transport.core.handshake.ticket import decode_invitation_untrusted, issue
from transport.core.handshake.transient import KnownTransient, decode_record_untrusted
from transport.core.handshake.variants import TICKET, VOUCHED
from transport.core.peer import teardown
from transport.core.peer.context import Context, Ticket
from transport.core.responder.responder import Responder
from transport.core.types import Address

__all__ = ["Introductions"]


class Introductions:
    """The part of `Peers` that prepares handshakes; obtained from it, never made."""

    __slots__ = ("_context", "_responder")

    def __init__(self, context: Context, responder: Responder) -> None:
        self._context = context
        self._responder = responder

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
        self._context.learn_transient(self._decoded(peer, record, now))

    def learned(self, now: float) -> list[tuple[bytes, bytes]]:
        """Peers, and their records as `learn_untrusted` takes them: what the next attempts would
        use. There is nothing secret in them; kept over a restart they save its round trip."""
        return [
            (peer, known.signed + known.clock(now).to_bytes(4, "big"))
            for peer, known in self._context.known.items()
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
        context = self._context
        found = context.by_key.get(peer)
        if found is None or found.current is None:
            raise UnknownPeer("there is no presence with this peer")
        if peer in context.masks or peer[-1] & 0x80:
            raise LocalError("a ticket is for a peer that knows this node's name, and has one")
        presence = found.current
        ticket = issue(TICKET, peer, presence.handshake_hash, context.random, now)
        self._responder.invite(ticket, now)
        presence.say(frames.ticket(ticket.encode(now)))
        context.mark(found)

    def vouch(self, holder: bytes, now: float) -> bytes:
        """As a third party: what to give `holder`, and the peer it is to reach, 53 bytes.

        It authorises and proves nothing of either. Raises `LocalError` for what is no key.
        """
        return issue(VOUCHED, holder, self._context.identity.key, self._context.random, now).encode(
            now
        )

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
        invitation = decode_invitation_untrusted(voucher, self._context.identity.key, issuer, now)
        if invitation.variant is not VOUCHED:
            raise WireError("not a voucher")
        self._context.hold_ticket(peer, Ticket(invitation, self._decoded(peer, record, now)))

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
        context = self._context
        found = place_of(context, peer, now)
        if found.current is not None and found.liveness.silent_at is None:
            return
        introduced = connect.Introduced(token, own_record, peer_record, addresses, rtt_s)
        try:
            connect.begin_meeting(context, self._responder, found, introduced, now, now + timeout_s)
        except (LocalError, WireError):
            teardown.drop_if_unused(context, found)
            raise
        context.mark(found)

    def _decoded(self, peer: bytes, record: bytes, now: float) -> KnownTransient:
        handshake = max(self._context.config.handshake.handshakes)
        return decode_record_untrusted(peer, record, handshake, now)

    def __repr__(self) -> str:
        return "Introductions()"
