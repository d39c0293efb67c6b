"""The initiator: one attempt to reach one peer."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from transport.core.constants import (
    CHALLENGE_CHECKS_MAX,
    CHALLENGES_MAX,
    DATAGRAM_SIZE_MAX,
    ECHO_SIZE,
    EFFORT_MAX,
    FIRST_DATA_SIZE_MAX,
    HASH_SIZE,
    OFFER_MAX,
    PUZZLE_WORK_MAX,
    REFUSALS_MAX,
    VERSION,
)
from transport.core.crypto.keys import Identity, equal, static_of_key_untrusted
from transport.core.crypto.noise import HandshakeState
from transport.core.errors import LocalError, WireError
from transport.core.handshake.circle import period_of
from transport.core.handshake.key_exchange import anonymous_handle, prologue
from transport.core.handshake.negotiation import (
    Established,
    HandshakeConfig,
    agree_untrusted,
    best_common,
    epoch_keys,
)
from transport.core.handshake.puzzle import NO_SOLUTION, Solver, rest_hash
from transport.core.handshake.states import On, State, initiators_course
from transport.core.handshake.ticket import Invitation
from transport.core.handshake.transient import (
    KnownTransient,
    hint_of,
    seconds,
    ticks,
    verify_transient_untrusted,
)
from transport.core.handshake.variants import (
    ANONYMOUS,
    CLOSED,
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
    TRANSIENT_PART,
    Challenge,
    TransientPart,
    decode_challenge_untrusted,
    decode_refusal_untrusted,
    decode_sealed_untrusted,
    echo_of_untrusted,
    encode_header,
    without_hint,
)
from transport.core.initiator.initiation import Drafter
from transport.core.responder.challenge import refusal_hash
from transport.core.responder.incoming import check_cids
from transport.core.types import RandomBytes


class _Candidate(NamedTuple):
    """A challenge that bears the peer's signature."""

    challenge: Challenge
    part: TransientPart
    datagram: bytes
    received_at: float


def _by_effort(candidate: _Candidate) -> int:
    return candidate.challenge.effort


class _Sent(NamedTuple):
    """A P3 under way: what it takes to open its P4."""

    state: HandshakeState
    handshake: int
    challenge: Challenge | None
    """None: it was sent at once."""
    known: KnownTransient | None
    """None: there is no 0-RTT to be had from it."""
    at: float


class _Unsolved(NamedTuple):
    """A P3 that lacks its solution."""

    datagram: bytes
    solver: Solver
    sent: _Sent
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
        """`anonymous`: without a name, where the responder allows it.

        Raises `LocalError` if `peer` is no name or this node's own, or for unusable ids.
        """
        if peer == identity.key:
            raise LocalError("a node does not connect to itself")
        try:
            peer_static = static_of_key_untrusted(peer)
        except WireError as error:
            raise LocalError(str(error)) from None
        check_cids(message_cid, bulk_cid)
        self.peer = peer
        self._group = config.groups[0] if config.groups else None
        if anonymous and self._group is not None:
            raise LocalError("a closed group serves nobody without a name")
        self._variant = CLOSED if self._group else ANONYMOUS if anonymous else FIRST_CONTACT
        self._course = initiators_course(self._variant.name)
        self._config = config
        self._random = random
        self._drafter = Drafter(
            identity,
            peer,
            peer_static,
            config,
            random,
            cids=(message_cid, bulk_cid),
            incarnation=incarnation,
            anonymous=anonymous,
        )
        # A refusal would have to be answered to strangers too, so a closed group offers all.
        self.prepare = self._drafter.prepare  # ahead of `start`: what P2 has no part in
        self._offer = config.handshakes[-OFFER_MAX:] if self._group else config.handshakes[-1:]
        self._refusals = 0
        self._hello = b""
        self._hello_hash = b""
        self._hello_at: float | None = None
        self._hellos = 0
        self._hello_rtt_s: float | None = None
        self._candidates: list[_Candidate] = []
        self._considered: set[bytes] = set()
        self._checks = 0
        self._sent: list[_Sent] = []
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
        if not self._hello:
            self._hello = self._drafter.hello(self._offer, self._group, now)
            self._hello_hash = blake2b(self._hello, digest_size=HASH_SIZE).digest()
            self._hello_at = now
            self._hellos = 0
        self._hellos += 1
        return self._hello

    @property
    def state(self) -> State:
        """Where this attempt stands (`states.INITIATOR`)."""
        return self._course.state

    @property
    def echo(self) -> bytes:
        """What P2s and P4s for this attempt bear: 8 bytes of H(P1), b"" before the first datagram.

        It changes when a refusal makes another P1 needed.
        """
        return self._hello_hash[:ECHO_SIZE]

    @property
    def ready(self) -> bool:
        """There is a challenge that no P3 has answered: `initiate` can be called."""
        return bool(self._candidates)

    @property
    def refused(self) -> bool:
        """A refusal was followed and the new P1 has not been asked for: call `hello` now."""
        return self._refusals > 0 and not self._hello

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
        if not self._hello_hash or echo_of_untrusted(data) != self.echo:
            return False
        lists = decode_refusal_untrusted(data)
        if lists is not None:
            self._follow_refusal(data, lists)
            return False
        challenge = decode_challenge_untrusted(data)
        if challenge.choice not in self._offer or data in self._considered:
            return False
        if not self._course.allows(On.CHALLENGE):
            return False
        if len(self._considered) >= CHALLENGES_MAX or self._checks >= CHALLENGE_CHECKS_MAX:
            return False
        if challenge.effort > min(EFFORT_MAX, self._work_left):
            return False
        part = TransientPart(*TRANSIENT_PART.unpack(challenge.transient_part))
        if self._group is not None:
            if not equal(self._group.counter_clue(self._hello_hash, without_hint(data)), part.hint):
                return False
            part = part._replace(hint=hint_of(self.peer, part.transient))
        self._checks += 1
        verify_transient_untrusted(self.peer, part, challenge.time)
        self._considered.add(data)
        answers = self._is_answer(challenge)
        self._course.take(On.CHALLENGE)
        self._candidates.append(_Candidate(challenge, part, data, now))
        self._candidates.sort(key=_by_effort)
        if self._hellos == 1 and self._hello_at is not None and self._hello_rtt_s is None:
            self._hello_rtt_s = max(0.0, now - self._hello_at)
        return answers

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
        if self._considered or self._sent or len(lists) < 2:
            return
        common = best_common(self._config.handshakes, lists[1])
        if VERSION not in lists[0] or common is None or common in self._offer:
            return
        self._course.take(On.REFUSAL)
        self._refusals += 1
        self._drafter.refusal_hash = refusal_hash(data)
        self._offer = (common,)
        self._hello = self._hello_hash = b""

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
        challenge, part, offer, received_at = self._candidates.pop(0)
        self._work_left -= challenge.effort
        variant = self._variant
        header = encode_header(
            variant.prefix,
            challenge.choice,
            part.tid,
            self._hello_hash,
            challenge.time,
            challenge.effort,
            challenge.sequence,
            challenge.cookie,
        )
        bound = prologue(variant.mode, challenge.choice, self._hello_hash, offer, header)
        held = ticks(max(0.0, now - received_at))
        psk = self._group.psk if self._group else None
        body, state = self._drafter.seal(variant, part.transient, bound, psk, first_data, held, now)
        datagram = header + NO_SOLUTION + body
        solver = Solver(challenge.cookie, rest_hash(datagram, HEADER_SIZE), challenge.effort)
        known = None
        if self._group is None:
            known = KnownTransient(self.peer, challenge.choice, part, challenge.time, received_at)
        sent = _Sent(state, challenge.choice, challenge, known, now)
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
        if self._group is not None:
            period = period_of(unsolved.at + self._config.unix_offset_s)
            solved += self._group.trailer(solved, period)
        return solved

    def initiate_known(self, known: KnownTransient, first_data: bytes, now: float) -> bytes:
        """P3 at once, to a transient an earlier handshake has `learned` (0-RTT).

        The responder may defer it with a P2: then go on with `initiate`. Raises `LocalError` if
        this attempt has begun otherwise, the transient is not this peer's or too old, or the
        first data is too long.
        """
        self._check_begins(KNOWN)
        datagram, state = self._drafter.known(known, first_data, now)
        return self._send_at_once(KNOWN, datagram, state, known, now)

    def initiate_invited(
        self, invitation: Invitation, known: KnownTransient, first_data: bytes, now: float
    ) -> bytes:
        """P3 at once, with a third party's ticket or to a meeting; else as `initiate_known`.

        `known` is the transient of the peer's signed record (`decode_record_untrusted`).
        """
        self._check_begins(invitation.variant)
        datagram, state = self._drafter.invited(invitation, known, first_data, now)
        return self._send_at_once(invitation.variant, datagram, state, known, now)

    def initiate_ticket(self, ticket: Invitation, first_data: bytes, now: float) -> bytes:
        """P3 at once, with a ticket the peer itself gave us; else as `initiate_known`."""
        self._check_begins(TICKET)
        datagram, state = self._drafter.ticket(ticket, first_data, now)
        return self._send_at_once(TICKET, datagram, state, None, now)

    def _check_begins(self, variant: Variant) -> None:
        if self._course.state is not State.IDLE or self._refusals:
            raise LocalError("the attempt has begun")
        if self._variant is ANONYMOUS or (self._variant is CLOSED and variant is KNOWN):
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
        # A P2 that defers it takes its hash for H(P1), and so does the P3 that follows.
        self._hello_hash = blake2b(datagram, digest_size=HASH_SIZE).digest()
        self._sent.append(_Sent(state, max(self._config.handshakes), None, known, now))
        return datagram

    # --- P4 -----------------------------------------------------------------------------------

    def receive_accept_untrusted(self, data: bytes, now: float) -> Established | None:
        """Take a P4: the finished handshake, once. Raises nothing; None is anything else."""
        echo = self._hello_hash[:ECHO_SIZE]
        if not ACCEPT_SIZE_MIN <= len(data) <= DATAGRAM_SIZE_MAX:
            return None
        if not self._course.allows(On.ACCEPT) or not echo:
            return None
        if data[:NN_AT_ACCEPT] != ACCEPT_PREFIX + echo:
            return None
        for sent in self._sent:
            # On a copy: a forged P4 must not spoil the state the true one needs.
            state = sent.state.fork()
            try:
                payload = state.read_message_untrusted(data[NN_AT_ACCEPT:])
            except WireError:
                continue
            try:
                return self._finish_untrusted(sent, state, payload, now)
            except WireError:
                return None
        return None

    def _finish_untrusted(
        self, sent: _Sent, state: HandshakeState, payload: bytes, now: float
    ) -> Established:
        sealed = decode_sealed_untrusted(payload, initiator=False)
        suite, _ = agree_untrusted(self._config.lists, sealed.lists, sent.handshake)
        held_s = seconds(sealed.held_ticks)
        # Either may include the wait for a retransmission, so the lesser is nearer.
        accept_rtt_s = max(0.0, now - sent.at - held_s)
        rtt_s = accept_rtt_s
        if self._hello_rtt_s is not None:
            rtt_s = min(rtt_s, self._hello_rtt_s)
        answered_at = sealed.time_us / 1e6
        offset_s = ((answered_at - held_s - sent.at) + (answered_at - now)) / 2
        self._course.take(On.ACCEPT)
        self.learned = sent.known
        if self._variant is ANONYMOUS:
            self.handle = anonymous_handle(sent.state.hash)
        self._sent.clear()
        self._candidates.clear()
        return Established(
            datagram=b"",
            reply=sealed.data,
            peer=self.peer,
            incarnation=sealed.incarnation,
            handshake_hash=state.hash,
            suite=suite,
            message_cid=sealed.message_cid,
            bulk_cid=sealed.bulk_cid,
            keys=epoch_keys(*state.split(), suite, initiator=True),
            rtt_s=rtt_s,
            clock_offset_s=offset_s,
        )

    def __repr__(self) -> str:
        return f"Initiator(to {self.peer.hex()[:16]}, sent={len(self._sent)})"
