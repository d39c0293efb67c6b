"""The initiator: one attempt to reach one peer."""

from __future__ import annotations

from typing import NamedTuple

from transport.core.constants import (
    DATAGRAM_SIZE_MAX,
    EFFORT_MAX,
    FIRST_DATA_SIZE_MAX,
    OFFER_MAX,
    PUZZLE_WORK_MAX,
    REFUSALS_MAX,
    VERSION,
)
from transport.core.crypto.keys import Identity, static_of_key_untrusted
from transport.core.crypto.noise import HandshakeState
from transport.core.errors import LocalError, WireError
from transport.core.handshake.circle import period_of
from transport.core.handshake.key_exchange import anonymous_handle, prologue
from transport.core.handshake.negotiation import (
    Established,
    HandshakeConfig,
    best_common,
)
from transport.core.handshake.puzzle import NO_SOLUTION, Solver, rest_hash
from transport.core.handshake.states import On, State, initiators_course
from transport.core.handshake.ticket import Invitation
from transport.core.handshake.transient import (
    KnownTransient,
    ticks,
)
from transport.core.handshake.variants import (
    ANONYMOUS,
    CIRCLE,
    FIRST_CONTACT,
    KNOWN,
    TICKET,
    Variant,
)
from transport.core.handshake.wire import (
    ACCEPT_PREFIX,
    ACCEPT_SIZE_MIN,
    HEADER_SIZE,
    KX_AT,
    NN_AT_ACCEPT,
    Challenge,
    decode_challenge_untrusted,
    decode_refusal_untrusted,
    echo_of_untrusted,
    encode_header,
)
from transport.core.initiator.acceptance import Sent, finish_untrusted
from transport.core.initiator.candidates import Candidates
from transport.core.initiator.hello import Hello
from transport.core.initiator.initiation import InitiationWriter
from transport.core.responder.challenge import refusal_hash
from transport.core.responder.incoming import check_cids
from transport.core.types import RandomBytes


class _Unsolved(NamedTuple):
    """A P3 that lacks its solution."""

    datagram: bytes
    solver: Solver
    sent: Sent
    at: float


class Initiator:
    """One attempt to reach one peer: P1, up to three P3s, and the P4 to one of them."""

    def __init__(
        self,
        identity: Identity,
        peer: bytes,
        config: HandshakeConfig,
        random: RandomBytes,
        *,
        message_cid: bytes,
        bulk_cid: bytes,
        incarnation: int,
        anonymous: bool = False,
    ) -> None:
        """`anonymous`: without a name, where the responder allows it. Raises `LocalError` if `peer`
        is no name or this node's own, or for unusable ids."""
        peer_static = _static_of(peer, identity)
        check_cids(message_cid, bulk_cid)
        self.peer = peer
        self._config = config
        self._circle = config.circles[0] if config.circles else None
        if anonymous and self._circle is not None:
            raise LocalError("a circle serves nobody without a name")
        self._variant = CIRCLE if self._circle else ANONYMOUS if anonymous else FIRST_CONTACT
        self._course = initiators_course(self._variant.name)
        self._writer = InitiationWriter(
            identity, peer, peer_static, config, random,
            cids=(message_cid, bulk_cid), incarnation=incarnation, anonymous=anonymous,
        )  # fmt: skip
        self.prepare = self._writer.prepare  # ahead of `start`: what P2 has no part in
        # A refusal would have to be answered to strangers too, so in a circle it offers all.
        self._offer = config.handshakes[-OFFER_MAX:] if self._circle else config.handshakes[-1:]
        self._refusals = 0
        self._hello = Hello()
        self._candidates = Candidates(peer)
        self._sent: list[Sent] = []
        self._unsolved: _Unsolved | None = None
        self._work_left = config.puzzle_work_max
        self.learned: KnownTransient | None = None
        """Once P4 has come: what makes 0-RTT possible for the next four minutes."""
        self.handle = b""
        """By then too: what the responder calls an initiator that gave it no name."""

    # --- P1 -----------------------------------------------------------------------------------

    def hello(self, now: float) -> bytes:
        """P1: the same bytes when called again, until a refusal asks for another offer.

        Raises `LocalError` if this attempt has begun otherwise, or is over.
        """
        self._course.take(On.HELLO)
        if not self._hello.data:
            self._hello.made(self._writer.hello(self._offer, self._circle, now), now)
        return self._hello.sent()

    @property
    def state(self) -> State:
        """Where this attempt stands (`states.INITIATOR`)."""
        return self._course.state

    @property
    def echo(self) -> bytes:
        """What P2s and P4s for this attempt bear: 8 bytes of H(P1), b"" before the first datagram.

        It changes when a refusal makes another P1 needed.
        """
        return self._hello.echo

    @property
    def ready(self) -> bool:
        """There is a challenge that no P3 has answered: `initiate` can be called."""
        return bool(self._candidates)

    @property
    def refused(self) -> bool:
        """A refusal was followed and the new P1 has not been asked for: call `hello` now."""
        return self._refusals > 0 and not self._hello.data

    # --- P2 -----------------------------------------------------------------------------------

    def receive_challenge_untrusted(self, data: bytes, now: float) -> bool:
        """Take a P2. True: call `initiate` now. Raises nothing.

        False also for a spare: a challenge that comes while a P3 is under way and does not look
        like an answer to it. `ready` tells; use it when P4 does not come.
        """
        try:
            return self._challenge_untrusted(data, now)
        except WireError:
            return False

    def _challenge_untrusted(self, data: bytes, now: float) -> bool:
        if not self._hello.hash or echo_of_untrusted(data) != self._hello.echo:
            return False
        lists = decode_refusal_untrusted(data)
        if lists is not None:
            self._follow_refusal(data, lists)
            return False
        challenge = decode_challenge_untrusted(data)
        if challenge.choice not in self._offer or not self._course.allows(On.CHALLENGE):
            return False
        if not self._candidates.may_consider(data):
            return False
        if challenge.effort > min(EFFORT_MAX, self._work_left):
            return False
        circle, hello_hash = self._circle, self._hello.hash
        self._candidates.consider_untrusted(data, challenge, circle, hello_hash, now)
        self._course.take(On.CHALLENGE)
        self._hello.answered(now)
        return self._is_answer(challenge)

    def _is_answer(self, challenge: Challenge) -> bool:
        """Whether this answers what was sent last, rather than an earlier copy of P1."""
        if not self._sent:
            return True
        last = self._sent[-1].challenge
        if last is None:
            return True
        return challenge.transient_part != last.transient_part or challenge.effort > 2 * last.effort

    def _follow_refusal(self, data: bytes, lists: tuple[tuple[int, ...], ...]) -> None:
        if self._refusals >= REFUSALS_MAX or not self._course.allows(On.REFUSAL):
            return
        if self._candidates.any_considered or self._sent or len(lists) < 2:
            return
        common = best_common(self._config.handshakes, lists[1])
        if VERSION not in lists[0] or common is None or common in self._offer:
            return
        self._course.take(On.REFUSAL)
        self._refusals += 1
        self._writer.refusal_hash = refusal_hash(data)
        self._offer = (common,)
        self._hello.refused()

    # --- P3 -----------------------------------------------------------------------------------

    def initiate(self, first_data: bytes, now: float) -> bytes:
        """P3 to the challenge of least effort (HR33), under fresh ephemerals; sent again unchanged.

        Solves the puzzle in one go, which takes about 1 µs per hash; `start` and `work` do it in
        slices. Raises `LocalError` if not `ready` or the first data is too long.
        """
        self.start(first_data, now)
        while True:
            datagram = self.work(PUZZLE_WORK_MAX)
            if datagram is not None:
                return datagram

    def start(self, first_data: bytes, now: float) -> None:
        """A P3 up to its solution. Raises as `initiate` does."""
        if not self._candidates:
            raise LocalError("there is no challenge to answer")
        if len(first_data) > FIRST_DATA_SIZE_MAX:
            raise LocalError("first data too long")
        self._course.take(On.START)
        challenge, part, offer, received_at = self._candidates.take()
        self._work_left -= challenge.effort
        variant, hello_hash = self._variant, self._hello.hash
        header = encode_header(
            variant.prefix,
            challenge.choice,
            part.tid,
            hello_hash,
            challenge.time,
            challenge.effort,
            challenge.sequence,
            challenge.cookie,
        )
        bound = prologue(variant.mode, challenge.choice, hello_hash, offer, header)
        held = ticks(max(0.0, now - received_at))
        psk = self._circle.psk if self._circle else None
        body, state = self._writer.seal(variant, part.transient, bound, psk, first_data, held, now)
        datagram = header + NO_SOLUTION + body
        solver = Solver(challenge.cookie, rest_hash(datagram, HEADER_SIZE), challenge.effort)
        known = None
        if self._circle is None:
            known = KnownTransient(self.peer, challenge.choice, part, challenge.time, received_at)
        sent = Sent(state, challenge.choice, challenge, known, now)
        self._unsolved = _Unsolved(datagram, solver, sent, now)

    def work(self, hashes_max: int) -> bytes | None:
        """Spend at most that many hashes on the puzzle; P3 when it is solved, else None.

        Raises `LocalError` if nothing was started, or the puzzle took four times the work its
        effort announced, which has a probability below 1e-6: ask for another challenge.
        """
        unsolved = self._unsolved
        if unsolved is None:
            raise LocalError("no puzzle was started")
        solver = unsolved.solver
        if not solver.work(min(hashes_max, solver.hashes_max - solver.hashes)):
            if solver.hashes >= solver.hashes_max or solver.exhausted:
                self._unsolved = None
                self._course.take(On.OVERWORKED_SPARE if self._candidates else On.OVERWORKED)
                raise LocalError("the puzzle takes more work than it should")
            return None
        self._unsolved = None
        self._sent.append(unsolved.sent)
        self._course.take(On.SOLVED)
        head, tail = unsolved.datagram[:HEADER_SIZE], unsolved.datagram[KX_AT:]
        solved = head + solver.solution + tail
        if self._circle is not None:
            period = period_of(unsolved.at + self._config.unix_offset_s)
            solved += self._circle.trailer(solved, period)
        return solved

    def initiate_known(self, known: KnownTransient, first_data: bytes, now: float) -> bytes:
        """P3 at once, to a transient an earlier handshake has `learned` (0-RTT).

        The responder may defer it with a P2: then go on with `initiate`. Raises `LocalError` if
        this attempt has begun otherwise, the transient is not this peer's or too old, or the
        first data is too long.
        """
        self._check_begins(KNOWN)
        datagram, state = self._writer.known(known, first_data, now)
        return self._send_at_once(KNOWN, datagram, state, known, now)

    def initiate_invited(
        self, invitation: Invitation, known: KnownTransient, first_data: bytes, now: float
    ) -> bytes:
        """P3 at once, with a third party's ticket or to a meeting; else as `initiate_known`.

        `known` is the transient of the peer's signed record (`decode_record_untrusted`).
        """
        self._check_begins(invitation.variant)
        datagram, state = self._writer.invited(invitation, known, first_data, now)
        return self._send_at_once(invitation.variant, datagram, state, known, now)

    def initiate_ticket(self, ticket: Invitation, first_data: bytes, now: float) -> bytes:
        """P3 at once, with a ticket the peer itself gave us; else as `initiate_known`."""
        self._check_begins(TICKET)
        datagram, state = self._writer.ticket(ticket, first_data, now)
        return self._send_at_once(TICKET, datagram, state, None, now)

    def _check_begins(self, variant: Variant) -> None:
        if self._course.state is not State.IDLE or self._refusals:
            raise LocalError("the attempt has begun")
        if self._variant is ANONYMOUS or (self._variant is CIRCLE and variant is KNOWN):
            raise LocalError("this variant begins with a hello")

    def _send_at_once(
        self,
        variant: Variant,
        datagram: bytes,
        state: HandshakeState,
        known: KnownTransient | None,
        now: float,
    ) -> bytes:
        self._course = initiators_course(variant.name)
        self._course.take(On.INITIATE)
        self._hello.skipped(datagram)
        self._sent.append(Sent(state, max(self._config.handshakes), None, known, now))
        return datagram

    # --- P4 -----------------------------------------------------------------------------------

    def receive_accept_untrusted(self, data: bytes, now: float) -> Established | None:
        """Take a P4: the finished handshake, once. Raises nothing; None is anything else."""
        echo = self._hello.echo
        if not ACCEPT_SIZE_MIN <= len(data) <= DATAGRAM_SIZE_MAX:
            return None
        if not self._course.allows(On.ACCEPT) or not echo:
            return None
        if data[:NN_AT_ACCEPT] != ACCEPT_PREFIX + echo:
            return None
        for sent in self._sent:
            try:
                opened = sent.open_untrusted(data[NN_AT_ACCEPT:])
            except WireError:
                continue
            try:
                established = finish_untrusted(
                    sent, opened, self.peer, self._config, self._hello.rtt_s, now
                )
            except WireError:
                return None
            self._finished(sent)
            return established
        return None

    def _finished(self, sent: Sent) -> None:
        self._course.take(On.ACCEPT)
        self.learned = sent.known
        if self._variant is ANONYMOUS:
            self.handle = anonymous_handle(sent.state.hash)
        self._sent.clear()
        self._candidates.clear()

    def __repr__(self) -> str:
        return f"Initiator(to {self.peer.hex()[:16]}, sent={len(self._sent)})"


def _static_of(peer: bytes, identity: Identity) -> bytes:
    """The peer's static key. Raises `LocalError` if `peer` is no name or this node's own."""
    if peer == identity.key:
        raise LocalError("a node does not connect to itself")
    try:
        return static_of_key_untrusted(peer)
    except WireError as error:
        raise LocalError(str(error)) from None
