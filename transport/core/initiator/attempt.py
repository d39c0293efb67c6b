"""One attempt to reach one peer: which datagram goes to which address when."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transport.core.config import TransportConfig
from transport.core.errors import LocalError
from transport.core.handshake.negotiation import Established
from transport.core.handshake.wire import ACCEPT_PREFIX, PREFIX_SIZE
from transport.core.initiator.initiator import Initiator
from transport.core.types import Address, RandomBytes, Transmit

__all__ = ["AtOnce", "Attempt"]

AtOnce = Callable[[Initiator, bytes, float], bytes]
"""Makes a P3 that needs no P2, of first data and the time; raises `LocalError` where it cannot."""

_WORK_HASHES = 16_384  # of a puzzle at a time: some 16 ms, so that other peers are served between
_SPARE_AFTER = 2  # P3s without an answer before a spare challenge is tried
_JITTER_SHARE = 0.25


class Attempt:
    """Retransmits P1 to every candidate address, then P3 to the one whose P2 was taken.

    Timers double from `handshake_retry_s` to `handshake_retry_max_s`, each with up to a quarter of
    jitter, so that peers which start together do not stay together.
    """

    __slots__ = (
        "_at_once",
        "_begin_anew",
        "_config",
        "_initiate",
        "_random",
        "_spares",
        "_tries",
        "addresses",
        "asked",
        "bulk_cid",
        "deadline",
        "echo",
        "first_data",
        "initiator",
        "message_cid",
        "next_at",
        "probe",
        "solving",
        "started_at",
        "targets",
    )

    def __init__(
        self,
        begin: Callable[[], Initiator],
        addresses: Sequence[Address],
        config: TransportConfig,
        random: RandomBytes,
        *,
        message_cid: bytes,
        bulk_cid: bytes,
        now: float,
        deadline: float,
        at_once: AtOnce | None = None,
    ) -> None:
        """`begin` makes an initiator with these connection ids; a P3 sent `at_once` that gets no
        answer needs a second one.
        """
        self._begin_anew = begin
        self.initiator = begin()
        self._config = config
        self._random = random
        self.message_cid = message_cid
        self.bulk_cid = bulk_cid
        self.started_at = now
        self.deadline = deadline
        self.echo = b""
        """By which its answers are found in the table; "" before the first datagram."""
        self.asked = True
        """Somebody wants to hear of its failure."""
        self.probe = b""
        """What the other side of a meeting sends; b"" in any other attempt."""
        self.next_at = now
        self.first_data: bytes | None = None
        """What P3 carries; the same in every P3 of this attempt."""
        self.targets: tuple[Address, ...] = ()
        """Where P3 goes: the address whose P2 was taken."""
        self._spares: list[Address] = []
        self._initiate, self._at_once = b"", at_once
        self.solving, self._tries = False, 0
        self.addresses: list[Address] = []
        self.add(addresses)

    def add(self, addresses: Sequence[Address]) -> None:
        """More addresses to try, up to `candidates_max`; the rest are ignored."""
        for address in addresses:
            if len(self.addresses) < self._config.candidates_max and address not in self.addresses:
                self.addresses.append(address)

    def receive_untrusted(
        self, data: bytes, address: Address, first_data: Callable[[], bytes], now: float
    ) -> Established | None:
        """Take a P2 or P4. The handshake's result if this finishes it; raises nothing."""
        if data[:PREFIX_SIZE] == ACCEPT_PREFIX:
            return self.initiator.receive_accept_untrusted(data, now)
        wanted = self.initiator.receive_challenge_untrusted(data, now)
        if self.initiator.refused:
            self._tries = 0
            self.next_at = now
        elif wanted and not self.solving:
            self._spares.clear()
            self._spares.append(address)
            self._begin(first_data, now)
        elif self.initiator.ready and address not in self._spares:
            self._spares.append(address)
        return None

    def handle_timeout(
        self, first_data: Callable[[], bytes], now: float, out: list[Transmit]
    ) -> None:
        """Send what is due."""
        if self.next_at > now:
            return
        if self.solving:
            self._work(now, out)
            return
        if self._initiate and self._tries >= _SPARE_AFTER and self.initiator.ready:
            self._begin(first_data, now)
            return
        if self._at_once is not None:
            if not self._initiate:
                self._begin_at_once(self._at_once, first_data, now)
            elif self._tries >= _SPARE_AFTER:
                # Neither P4 nor a P2 that defers it: begin as with a stranger.
                self._at_once = None
                self.initiator = self._begin_anew()
                self._initiate = b""
                self._tries = 0
        self._again(now)
        if self._initiate:
            out.extend(Transmit(self._initiate, address) for address in self.targets)
            return
        hello = self.initiator.hello(now)
        out.extend(Transmit(hello, address) for address in self.addresses)

    def _begin_at_once(
        self, at_once: AtOnce, first_data: Callable[[], bytes], now: float
    ) -> None:
        """P3 without P1 and P2, to every candidate: only the peer can open it, and only once."""
        self.first_data = first_data()
        try:
            self._initiate = at_once(self.initiator, self.first_data, now)
        except LocalError:
            self._at_once = None
            self.initiator = self._begin_anew()  # too old meanwhile, or of another handshake
            return
        self.targets = tuple(self.addresses)

    def _begin(self, first_data: Callable[[], bytes], now: float) -> None:
        if self.first_data is None:
            self.first_data = first_data()
        self._at_once = None
        self.initiator.start(self.first_data, now)
        # Of several spares the initiator takes the cheapest and does not say whose it was; the
        # cookie is good at one of these addresses and costs the others one hash.
        self.targets = tuple(self._spares)
        self._spares.clear()
        self.solving = True
        self.next_at = now

    def _work(self, now: float, out: list[Transmit]) -> None:
        try:
            initiate = self.initiator.work(_WORK_HASHES)
        except LocalError:
            # More work than this node allows itself: wait for a cheaper challenge.
            self.solving = False
            self._again(now)
            return
        if initiate is None:
            return
        self.solving = False
        self._initiate = initiate
        self._tries = 0
        self._again(now)
        out.extend(Transmit(initiate, address) for address in self.targets)

    def _again(self, now: float) -> None:
        config = self._config
        pause = min(
            config.handshake_retry_s * (1 << min(self._tries, 16)), config.handshake_retry_max_s
        )
        jitter = int.from_bytes(self._random(2), "big") / 65_536 * _JITTER_SHARE
        self._tries += 1
        self.next_at = now + pause * (1 + jitter)
