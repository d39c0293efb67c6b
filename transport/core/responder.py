"""The responder: silent, stateless and cheap until a P3 has earned its Diffie-Hellman.

The order of checks of a P3 is the argument: length, transient, age, cookie, puzzle, sequence, and
only then three Diffie-Hellman operations.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from transport.core.admitted import Admitted
from transport.core.agreement import HandshakeConfig, agree_untrusted, best_common
from transport.core.burden import Burden
from transport.core.constants import (
    ECHO_SIZE,
    EFFORT_MAX,
    HASH_SIZE,
    KNOWN_BURST_S,
    REFUSAL_HASH_SIZE,
    REPEAT_CHALLENGES_BURST,
    REPEAT_CHALLENGES_PER_S,
    SEQUENCE_TRIES_MAX,
    TRANSIENT_PERIOD_S,
    VERSION,
)
from transport.core.cookie import make_cookie
from transport.core.effort import EffortController, TokenBucket, WaitingRoom
from transport.core.errors import WireError
from transport.core.exchange import (
    MODE_CHALLENGED,
    MODE_KNOWN,
    NO_HASH,
    USE_ACCEPT,
    answer_nn,
    begin_kx,
    prologue,
)
from transport.core.keys import Identity, equal, key_of_static_untrusted
from transport.core.puzzle import is_solution, rest_hash
from transport.core.transient import Burnt, Transient, Transients, seconds
from transport.core.types import Address, RandomBytes
from transport.core.wire import (
    CHALLENGE_PREFIX,
    HEADER_SIZE,
    HELLO_PREFIX,
    INITIATE_KNOWN_PREFIX,
    INITIATE_PREFIX,
    KNOWN_KX_AT,
    KX_AT,
    NN_SIZE,
    PREFIX_SIZE,
    Challenge,
    decode_hello_untrusted,
    decode_initiate_untrusted,
    decode_known_untrusted,
    decode_sealed_untrusted,
    encode_challenge,
    encode_refusal,
)

_DIGEST_SIZE = 16
_REFUSAL_AT = PREFIX_SIZE + ECHO_SIZE


class Reply(NamedTuple):
    """A datagram to send back to where the one it answers came from."""

    data: bytes


class _Waiting(NamedTuple):
    """A P3 that has passed every check but the expensive one."""

    data: bytes
    address: Address
    transient: Transient
    name: int | bytes
    entry: Burnt
    mode: int
    choice: int
    hello_hash: bytes
    offer: bytes
    """P2 rebuilt, or the record: what the prologue covers."""
    received_at: float
    age_s: float


class Responder:
    """One per local identity."""

    def __init__(
        self, identity: Identity, config: HandshakeConfig, random: RandomBytes, now: float
    ) -> None:
        self._identity = identity
        self._static = identity.static_pair()
        self._config = config
        self._random = random
        self._transients = Transients(identity, config, random, now)
        self._rotate_at = now + TRANSIENT_PERIOD_S
        self._allowance = TokenBucket(config.handshakes_per_s_max, config.handshakes_burst, now)
        self._known_allowance = TokenBucket(
            config.known_per_s_max, max(1, int(config.known_per_s_max * KNOWN_BURST_S)), now
        )
        self._repeats = TokenBucket(REPEAT_CHALLENGES_PER_S, REPEAT_CHALLENGES_BURST, now)
        self._waiting: WaitingRoom[_Waiting] = WaitingRoom(config.waiting_max)
        self._controller = EffortController(config.effort_min, now)
        self._burden = Burden()
        refusal = encode_refusal(bytes(ECHO_SIZE), config.refusal_lists)
        self._refusal_body = refusal[_REFUSAL_AT:]
        self._refusal_hash = refusal_hash(refusal)

    # --- verbs ------------------------------------------------------------------------------

    def receive_untrusted(
        self, data: bytes, address: Address, now: float
    ) -> Reply | Admitted | None:
        """Take a P1 or P3. Raises nothing; None is silence.

        A P3 beyond the allowance waits, and comes out of `poll`.
        """
        prefix = data[:PREFIX_SIZE]
        if now >= self._rotate_at:
            self.handle_timeout(now)
        try:
            if prefix == HELLO_PREFIX:
                return self._hello(data, address, now)
            if prefix == INITIATE_PREFIX:
                return self._initiate(data, address, now)
            if prefix == INITIATE_KNOWN_PREFIX:
                return self._initiate_known(data, address, now)
        except WireError:
            pass
        return None

    def poll(self, now: float) -> Admitted | None:
        """The next admitted of those that had to wait. Call until None, after every change."""
        while self._waiting and self._allowance.take(now):
            admitted = self._authenticate(self._waiting.pop())
            if admitted is not None:
                return admitted
        return None

    def handle_timeout(self, now: float) -> None:
        """Replace the transient and let the effort follow the load, when it is time."""
        if now >= self._rotate_at:
            self._transients.rotate(now)
            self._rotate_at = now + TRANSIENT_PERIOD_S
        self._follow_load(now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` and `poll` have something to do."""
        due = self._rotate_at
        if self._waiting:
            due = min(due, self._allowance.next_at)
        if not self._controller.is_idle:
            due = min(due, self._controller.interval_end)
        return due

    # --- what others show of it ---------------------------------------------------------------

    @property
    def effort(self) -> int:
        """The puzzle effort asked for now."""
        return self._controller.effort

    def effort_for(self, address: Address) -> int:
        """The same for an address: doubled for each level its range burdens the responder."""
        effort = self._controller.effort
        return min(EFFORT_MAX, effort << self._burden.level(address)) if effort else 0

    @property
    def waiting(self) -> int:
        """P3s that wait for `poll`."""
        return len(self._waiting)

    # --- P1 -> P2 -----------------------------------------------------------------------------

    def _hello(self, data: bytes, address: Address, now: float) -> Reply | None:
        hello = decode_hello_untrusted(data)
        if any(hello.clue):
            # A hello of a closed group: to whom does not know its secret, we are not there.
            return None
        hello_hash = blake2b(data, digest_size=HASH_SIZE).digest()
        choice = None
        if hello.version == VERSION:
            choice = best_common(self._config.handshakes, hello.offer)
        if choice is None:
            return Reply(CHALLENGE_PREFIX + hello_hash[:ECHO_SIZE] + self._refusal_body)
        return self._challenge(hello_hash, choice, address, now)

    def _challenge(self, hello_hash: bytes, choice: int, address: Address, now: float) -> Reply:
        self._follow_load(now)
        transient = self._transients.current
        return Reply(
            self._challenge_of(
                transient,
                address,
                hello_hash,
                choice,
                transient.clock(now),
                self.effort_for(address),
                transient.next_sequence(),
            )
        )

    def _challenge_of(
        self,
        transient: Transient,
        address: Address,
        hello_hash: bytes,
        choice: int,
        time: int,
        effort: int,
        sequence: int,
    ) -> bytes:
        """P2, the first time or rebuilt from what P3 brought back."""
        cookie = make_cookie(
            transient.cookie_secret,
            address,
            sequence=sequence,
            hello_hash=hello_hash,
            tid=transient.tid,
            effort=effort,
            time=time,
            choice=choice,
        )
        echo = hello_hash[:ECHO_SIZE]
        return encode_challenge(
            Challenge(echo, choice, time, transient.part, effort, sequence, cookie)
        )

    def _challenge_again(
        self, hello_hash: bytes, choice: int, address: Address, now: float
    ) -> Reply | None:
        """A P2 in answer to a P3, within limits."""
        if choice not in self._config.handshakes or not self._repeats.take(now):
            return None
        return self._challenge(hello_hash, choice, address, now)

    # --- P3, cheap part -----------------------------------------------------------------------

    def _initiate(self, data: bytes, address: Address, now: float) -> Reply | Admitted | None:
        header = decode_initiate_untrusted(data)
        transient = self._transients.find_untrusted(header.tid, now)
        if transient is None:
            return self._challenge_again(header.hello_hash, header.choice, address, now)
        age_s = transient.age_s(header.time, now)
        if age_s is None:
            return None
        offer = self._challenge_of(
            transient,
            address,
            header.hello_hash,
            header.choice,
            header.time,
            header.effort,
            header.sequence,
        )
        if not equal(offer[-len(header.cookie) :], header.cookie):
            return None
        self._follow_load(now)
        fresh = header.sequence not in transient.burnt
        if fresh and header.effort * 2 < self.effort_for(address):
            return self._challenge_again(header.hello_hash, header.choice, address, now)
        solution = data[HEADER_SIZE:KX_AT]
        rest = rest_hash(data, HEADER_SIZE) if header.effort else b""
        if not is_solution(header.cookie, rest, header.effort, solution):
            return None
        tries_max = 1 if header.effort else SEQUENCE_TRIES_MAX
        entry = self._burn(transient, header.sequence, data, tries_max, now)
        if not isinstance(entry, Burnt):
            return entry
        waiting = _Waiting(
            data,
            address,
            transient,
            header.sequence,
            entry,
            MODE_CHALLENGED,
            header.choice,
            header.hello_hash,
            offer,
            now,
            age_s,
        )
        return self._admit(waiting, header.effort, now)

    def _initiate_known(self, data: bytes, address: Address, now: float) -> Reply | Admitted | None:
        """A 0-RTT P3: no cookie and no solution, so it is done only when there is time to spare.

        Otherwise it is deferred: the answer is a P2, made as if H(this P3) were H(P1).
        """
        choice, tid, time = decode_known_untrusted(data)
        transient = self._transients.find_untrusted(tid, now)
        hello_hash = blake2b(data, digest_size=HASH_SIZE).digest()
        if transient is None or transient.age_s(time, now) is None:
            return self._challenge_again(hello_hash, choice, address, now)
        # Its ephemeral takes the sequence's place: one P3 for each, before the Diffie-Hellman.
        name = data[KNOWN_KX_AT : KNOWN_KX_AT + HASH_SIZE]
        known = transient.burnt.get(name)
        if known is None and (self._waiting or not self._known_allowance.take(now)):
            return self._challenge_again(hello_hash, choice, address, now)
        entry = self._burn(transient, name, data, SEQUENCE_TRIES_MAX, now)
        if not isinstance(entry, Burnt):
            return entry
        waiting = _Waiting(
            data,
            address,
            transient,
            name,
            entry,
            MODE_KNOWN,
            choice,
            hello_hash,
            transient.record + transient.signature,
            now,
            0.0,
        )
        return self._admit(waiting, 0, now)

    def _burn(
        self, transient: Transient, name: int | bytes, data: bytes, tries_max: int, now: float
    ) -> Burnt | Reply | None:
        """The entry to go on with; or what to answer to a P3 that came before."""
        digest = blake2b(data, digest_size=_DIGEST_SIZE).digest()
        entry = transient.burnt.get(name)
        if entry is None:
            entry = transient.burn(name, digest, len(data), now)
            if entry is None:
                self._controller.strained()
            return entry
        if entry.digest == digest:
            answer = entry.resend(len(data))
            return None if answer is None else Reply(answer)
        if not entry.failures or entry.failures >= tries_max:
            return None
        # What failed under this sequence was not authentic, so it may have been a damaged copy of
        # this one. At effort 0 it cost nobody work to send, hence the few tries.
        entry.digest = digest
        entry.bytes_received += len(data)
        return entry

    def _admit(self, waiting: _Waiting, effort: int, now: float) -> Admitted | None:
        self._controller.saw(effort)
        if waiting.mode == MODE_CHALLENGED:
            # Not 0-RTT: no cookie shows that it comes from there.
            self._burden.count(waiting.address)
        if not self._waiting and self._allowance.take(now):
            return self._authenticate(waiting)
        trimmed = self._waiting.push(effort, waiting, self._burden.level(waiting.address))
        if trimmed:
            self._controller.strained()
            for dropped in trimmed:
                dropped.transient.unburn(dropped.name)
        return None

    def _follow_load(self, now: float) -> None:
        if self._controller.update(now, self._waiting.peak, self._waiting.size_max):
            self._waiting.peak = len(self._waiting)
            self._burden.halve()

    # --- P3, expensive part -------------------------------------------------------------------

    def _authenticate(self, waiting: _Waiting) -> Admitted | None:
        self._controller.handled()
        try:
            return self._authenticate_untrusted(waiting)
        except WireError:
            waiting.entry.failures += 1
            return None

    def _authenticate_untrusted(self, waiting: _Waiting) -> Admitted | None:
        data, transient = waiting.data, waiting.transient
        known = waiting.mode == MODE_KNOWN
        kx_at = KNOWN_KX_AT if known else KX_AT
        header = data[: KNOWN_KX_AT if known else HEADER_SIZE]
        bound = prologue(
            waiting.mode,
            waiting.choice,
            NO_HASH if known else waiting.hello_hash,
            waiting.offer,
            header,
        )
        kx = begin_kx(self._static, transient.pair, bound)
        sealed_data = kx.read_message_untrusted(data[kx_at:-NN_SIZE])
        static, ephemeral = kx.remote_static, kx.remote_ephemeral
        assert static is not None
        assert ephemeral is not None
        nn = answer_nn(USE_ACCEPT, kx.hash, kx.split()[0])
        if nn.read_message_untrusted(data[-NN_SIZE:]):
            raise WireError("payload where there is none")
        # Authentic from here on. Nothing that fails now may be tried again under this name.
        waiting.entry.failures = 0
        if static == self._identity.static or not transient.remember_ephemeral(ephemeral):
            return None
        try:
            peer = key_of_static_untrusted(static)
            sealed = decode_sealed_untrusted(sealed_data, initiator=True)
            suite, _ = agree_untrusted(self._config.lists, sealed.lists, waiting.choice)
        except WireError:
            return None
        if sealed.refusal_hash and sealed.refusal_hash != self._refusal_hash:
            # Somebody refused in our name, and said that we can do something else.
            return None
        rtt_s = None if known else max(0.0, waiting.age_s - seconds(sealed.held_ticks))
        return Admitted(
            peer,
            sealed,
            nn,
            address=waiting.address,
            suite=suite,
            echo=waiting.hello_hash[:ECHO_SIZE],
            transient=transient,
            name=waiting.name,
            config=self._config,
            random=self._random,
            now=waiting.received_at,
            rtt_s=rtt_s,
            size=len(data),
        )

    def __repr__(self) -> str:
        return f"Responder({self._identity!r}, effort={self.effort}, waiting={self.waiting})"


def refusal_hash(refusal: bytes) -> bytes:
    """H of a refusing P2 behind its echo: what P3 seals, so that the responder can compare."""
    return blake2b(refusal[_REFUSAL_AT:], digest_size=REFUSAL_HASH_SIZE).digest()
