"""The responder: silent, stateless and cheap until a P3 has earned its Diffie-Hellman.

The order of checks of a P3 (HC1 to HC10) is the argument: length, transient, age, cookie, puzzle,
sequence, and only then three Diffie-Hellman operations.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from transport.core.constants import (
    COOKIE_SIZE,
    ECHO_SIZE,
    HASH_SIZE,
    SEQUENCE_TRIES_EFFORT,
    SEQUENCE_TRIES_MAX,
    TRANSIENT_PERIOD_S,
)
from transport.core.crypto.keys import Identity, equal
from transport.core.errors import WireError
from transport.core.handshake.circle import TRAILER_SIZE, Circles
from transport.core.handshake.key_exchange import NO_HASH, context_hash
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.puzzle import is_solution, rest_hash
from transport.core.handshake.states import On
from transport.core.handshake.ticket import Invitation, Invitations
from transport.core.handshake.transient import Burnt, Transients
from transport.core.handshake.variants import (
    ANONYMOUS,
    BY_PREFIX,
    CIRCLE,
    FIRST_CONTACT,
    KNOWN,
    TICKET,
    Variant,
)
from transport.core.handshake.wire import (
    HEADER_SIZE,
    HELLO_PREFIX,
    INITIATE_ANONYMOUS_SIZE_MIN,
    INITIATE_SIZE_MIN,
    INVITED_HEADER_SIZE,
    INVITED_KX_AT,
    KNOWN_KX_AT,
    KX_AT,
    PREFIX_SIZE,
    decode_initiate_untrusted,
    decode_invited_untrusted,
    decode_known_untrusted,
    decode_ticket_untrusted,
)
from transport.core.responder.admission_control import AdmissionControl
from transport.core.responder.authentication import Authenticator, Waiting
from transport.core.responder.burnt_names import BurntNames
from transport.core.responder.challenge import Challenger
from transport.core.responder.incoming import Admitted
from transport.core.types import Address, RandomBytes

_SIZE_MIN = {
    FIRST_CONTACT: INITIATE_SIZE_MIN,
    CIRCLE: INITIATE_SIZE_MIN + TRAILER_SIZE,
    ANONYMOUS: INITIATE_ANONYMOUS_SIZE_MIN,
}


class Reply(NamedTuple):
    """A datagram to send back to where the one it answers came from."""

    data: bytes


def _reply(data: bytes | None) -> Reply | None:
    return None if data is None else Reply(data)


class Responder:
    """One per local identity."""

    def __init__(
        self, identity: Identity, config: HandshakeConfig, random: RandomBytes, now: float
    ) -> None:
        self._identity = identity
        self._config = config
        self._circles = Circles(config.circles, config.unix_offset_s) if config.circles else None
        self._invitations = Invitations()
        self._transients = Transients(identity, config, random, now)
        self._rotate_at = now + TRANSIENT_PERIOD_S
        self._admission = AdmissionControl(config, now)
        self._names = BurntNames(self._admission, in_circle=bool(config.circles))
        self._challenger = Challenger(config, self._transients, self._circles, self._admission)
        self._authenticator = Authenticator(identity, config, random, self._challenger.refusal_hash)

    # --- verbs ------------------------------------------------------------------------------

    def receive_untrusted(
        self, data: bytes, address: Address, now: float, *, crowded: bool = False
    ) -> Reply | Admitted | None:
        """Take a P1 or P3. Raises nothing; None is silence.

        A P3 beyond the allowance waits, and comes out of `poll`. `crowded`: the caller has no room
        for what a 0-RTT P3 would make, so it is deferred.
        """
        prefix = data[:PREFIX_SIZE]
        if now >= self._rotate_at:
            self.handle_timeout(now)
        try:
            if prefix == HELLO_PREFIX:
                return _reply(self._challenger.hello_untrusted(data, address, now))
            variant = BY_PREFIX.get(prefix)
            if variant is None:
                return None
            if variant.challenged:
                return self._initiate(variant, data, address, now)
            if variant is KNOWN:
                return self._initiate_known(data, address, crowded, now)
            if variant is TICKET:
                return self._initiate_ticket(data, address, now)
            return self._initiate_invited(variant, data, address, now)
        except WireError:
            pass
        return None

    def poll(self, now: float) -> Admitted | None:
        """The next admitted of those that had to wait. Call until None, after every change."""
        while (waiting := self._admission.next(now)) is not None:
            admitted = self._authenticator.authenticate(waiting)
            if admitted is not None:
                return admitted
        return None

    def handle_timeout(self, now: float) -> None:
        """Replace the transient and let the effort follow the load, when it is time."""
        if now >= self._rotate_at:
            self._transients.rotate(now)
            self._rotate_at = now + TRANSIENT_PERIOD_S
        self._admission.follow_load(now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` and `poll` have something to do."""
        due = self._admission.next_timeout()
        return self._rotate_at if due is None else min(due, self._rotate_at)

    def strained(self) -> None:
        """The caller has little room left for what P3s make: ask for more effort."""
        self._admission.controller.strained()

    def tell_unix_time(self, unix_offset_s: float) -> None:
        """What makes Unix time of `now` from here on, where circles need it."""
        if self._circles is not None:
            self._circles.tell_unix_time(unix_offset_s)

    # --- who is expected ----------------------------------------------------------------------

    def published(self, now: float) -> bytes:
        """The signed record of the transient and its clear time: what lets others do 0-RTT."""
        return self._transients.published(now)

    def invite(self, invitation: Invitation, now: float) -> None:
        """Expect who holds this ticket, voucher or meeting's token. Raises `LocalError`."""
        self._invitations.add(invitation, now)

    # --- what others show of it ---------------------------------------------------------------

    @property
    def effort(self) -> int:
        """The puzzle effort asked for now."""
        return self._admission.controller.effort

    def effort_for(self, address: Address) -> int:
        """The same for an address: doubled for each level of its range's load."""
        return self._admission.effort_for(address)

    @property
    def waiting(self) -> int:
        """P3s that wait for `poll`."""
        return len(self._admission.waiting)

    # --- P3, cheap part -----------------------------------------------------------------------

    def _initiate(
        self, variant: Variant, data: bytes, address: Address, now: float
    ) -> Reply | Admitted | None:
        """A P3 that answers a P2."""
        if (variant is CIRCLE) is not (self._circles is not None):
            return None
        if variant is ANONYMOUS and not self._config.anonymous:
            return None
        header = decode_initiate_untrusted(data, _SIZE_MIN[variant])
        circle = self._circles.of_initiate_untrusted(data, now) if self._circles else None
        end = len(data) - (TRAILER_SIZE if circle else 0)
        hello_hash, choice, size = header.hello_hash, header.choice, len(data)
        transient = self._transients.find_untrusted(header.tid, now)
        if transient is None:
            return _reply(self._challenger.again(hello_hash, choice, address, size, now))
        age_s = transient.age_s(header.time, now)
        if age_s is None:
            return None
        offer = self._challenger.rebuild(transient, address, header, circle)
        if not equal(offer[-COOKIE_SIZE:], header.cookie):
            return None
        self._admission.follow_load(now)
        fresh = header.sequence not in transient.burnt
        if fresh and header.effort * 2 < self._admission.effort_for(address):
            return _reply(self._challenger.again(hello_hash, choice, address, size, now, circle))
        solution = data[HEADER_SIZE:KX_AT]
        rest = rest_hash(data[:end], HEADER_SIZE) if header.effort else b""
        if not is_solution(header.cookie, rest, header.effort, solution):
            return None
        tries_max = 1 if header.effort >= SEQUENCE_TRIES_EFFORT else SEQUENCE_TRIES_MAX
        entry = self._names.burn(variant, transient, header.sequence, data, address, tries_max, now)
        if not isinstance(entry, Burnt):
            return _reply(entry)
        waiting = Waiting(
            data, address, transient, header.sequence, entry, variant, choice, hello_hash,
            hello_hash[:ECHO_SIZE], offer, HEADER_SIZE, KX_AT, end,
            circle.psk if circle else None, None, now, age_s,
        )  # fmt: skip
        return self._admit(waiting, header.effort, now)

    def _initiate_known(
        self, data: bytes, address: Address, crowded: bool, now: float
    ) -> Reply | Admitted | None:
        """A 0-RTT P3: no cookie and no solution, so it is done only when there is time to spare.

        Otherwise it is deferred: the answer is a P2, made as if H(this P3) were H(P1).
        """
        if self._circles is not None:
            return None
        choice, tid, time = decode_known_untrusted(data)
        transient = self._transients.find_untrusted(tid, now)
        hello_hash = blake2b(data, digest_size=HASH_SIZE).digest()
        if transient is None or transient.age_s(time, now) is None:
            return _reply(self._challenger.again(hello_hash, choice, address, len(data), now))
        # Its ephemeral takes the sequence's place: one P3 for each, before the Diffie-Hellman.
        name = data[KNOWN_KX_AT : KNOWN_KX_AT + HASH_SIZE]
        if name not in transient.burnt and (crowded or not self._admission.has_time(now)):
            return _reply(self._challenger.again(hello_hash, choice, address, len(data), now))
        entry = self._names.burn(KNOWN, transient, name, data, address, SEQUENCE_TRIES_MAX, now)
        if not isinstance(entry, Burnt):
            return _reply(entry)
        waiting = Waiting(
            data, address, transient, name, entry, KNOWN, choice, NO_HASH,
            hello_hash[:ECHO_SIZE], transient.record + transient.signature, KNOWN_KX_AT,
            KNOWN_KX_AT, len(data), None, None, now, None,
        )  # fmt: skip
        return self._admit(waiting, 0, now)

    def _initiate_invited(
        self, variant: Variant, data: bytes, address: Address, now: float
    ) -> Reply | Admitted | None:
        """A P3 with a third party's ticket or to a meeting; the invitation's MAC is its cookie."""
        choice, tid, time, name = decode_invited_untrusted(data)
        hello_hash = blake2b(data, digest_size=HASH_SIZE).digest()
        transient = self._transients.find_untrusted(tid, now)
        if transient is not None and name in transient.burnt:
            return _reply(self._names.repeated(transient.burnt[name], data, address))
        invitation = self._invitations.find(name, now)
        if invitation is not None:
            if invitation.variant is not variant:
                return None
            mac = data[INVITED_HEADER_SIZE:INVITED_KX_AT]
            rest = data[:INVITED_HEADER_SIZE] + data[INVITED_KX_AT:]
            invitation.check_untrusted(rest, mac)
        stale = transient is None or transient.age_s(time, now) is None
        if invitation is None or transient is None or stale or not self._admission.has_time(now):
            return _reply(self._challenger.again(hello_hash, choice, address, len(data), now))
        entry = self._names.burn(variant, transient, name, data, address, 0, now)
        if not isinstance(entry, Burnt):
            return _reply(entry)
        self._invitations.use(name)
        waiting = Waiting(
            data, address, transient, name, entry, variant, choice,
            context_hash(invitation.context), hello_hash[:ECHO_SIZE],
            transient.record + transient.signature, INVITED_HEADER_SIZE, INVITED_KX_AT,
            len(data), invitation.psk if variant.has_psk else None, invitation.holder, now, None,
        )  # fmt: skip
        return self._admit(waiting, 0, now)

    def _initiate_ticket(
        self, data: bytes, address: Address, now: float
    ) -> Reply | Admitted | None:
        """A P3 with our own ticket: opened without a Diffie-Hellman, then the ticket is spent."""
        choice, name = decode_ticket_untrusted(data)
        for accepted in self._transients.accepted(now):
            if name in accepted.burnt:
                return _reply(self._names.repeated(accepted.burnt[name], data, address))
        ticket = self._invitations.find(name, now)
        opened = None
        if ticket is not None:
            if ticket.variant is not TICKET:
                return None
            # Before the allowance: whoever only saw the id must not use that up.
            opened = self._authenticator.open_ticket_untrusted(data, ticket, choice)
        hello_hash = blake2b(data, digest_size=HASH_SIZE).digest()
        if ticket is None or opened is None or not self._admission.has_time(now):
            return _reply(self._challenger.again(hello_hash, choice, address, len(data), now))
        transient = self._transients.current
        entry = self._names.burn(TICKET, transient, name, data, address, 0, now)
        if not isinstance(entry, Burnt):
            return _reply(entry)
        self._invitations.use(name)
        entry.take(On.AUTHENTIC)
        return self._authenticator.admit_ticket(
            ticket.holder,
            opened,
            transient,
            name,
            hello_hash[:ECHO_SIZE],
            address,
            len(data),
            now,
        )

    def _admit(self, waiting: Waiting, effort: int, now: float) -> Admitted | None:
        if not self._admission.enter(waiting, effort, now):
            return None
        return self._authenticator.authenticate(waiting)

    def __repr__(self) -> str:
        return f"Responder({self._identity!r}, effort={self.effort}, waiting={self.waiting})"
