"""Simultaneous open as an attempt: probes first, then P3 to where the other side's probe came from.

Of the two sides one answers a probe with P3 and takes P4; the other's part ends when the responder
admits that P3. A P3 that is deferred goes on as any deferred one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from transport.core.config import TransportConfig
from transport.core.handshake.negotiation import Established
from transport.core.handshake.states import State
from transport.core.initiator.attempt import Attempt
from transport.core.initiator.initiator import Initiator
from transport.core.initiator.simultaneous_open import SimultaneousOpen
from transport.core.types import Address, RandomBytes, Transmit

__all__ = ["SimultaneousAttempt"]


class SimultaneousAttempt(Attempt):
    """An attempt in which both sides were told of each other."""

    __slots__ = ("_simultaneous_open",)

    def __init__(
        self,
        begin: Callable[[], Initiator],
        simultaneous_open: SimultaneousOpen,
        addresses: Sequence[Address],
        config: TransportConfig,
        random: RandomBytes,
        *,
        message_cid: bytes,
        bulk_cid: bytes,
        now: float,
        deadline: float,
    ) -> None:
        """`simultaneous_open` probes; it has an initiator where this side has that part."""
        super().__init__(
            lambda: simultaneous_open.initiator or begin(),
            addresses,
            config,
            random,
            message_cid=message_cid,
            bulk_cid=bulk_cid,
            now=now,
            deadline=deadline,
        )
        self._simultaneous_open = simultaneous_open
        self.probe = simultaneous_open.expected
        self._due()

    @property
    def responding(self) -> bool:
        """This side waits for P3."""
        return self._simultaneous_open.initiator is None

    def probed(
        self, data: bytes, address: Address, first_data: Callable[[], bytes], now: float,
        out: list[Transmit],
    ) -> None:  # fmt: skip
        """Answer the other side's probe: with P3, or with one of this side's."""
        simultaneous_open = self._simultaneous_open
        if simultaneous_open.usable and self.first_data is None:
            self.first_data = simultaneous_open.first_data = first_data()
        simultaneous_open.receive_untrusted(data, address, now)
        self._carry(out)

    def admitted(self) -> None:
        """The other side's P3 has come and was authentic."""
        self._simultaneous_open.admitted()

    def receive_untrusted(
        self, data: bytes, address: Address, first_data: Callable[[], bytes], now: float
    ) -> Established | None:
        """Take a P4, or a P2 that defers P3. Raises nothing."""
        established = super().receive_untrusted(data, address, first_data, now)
        if not self._challenged:
            self._due()
        return established

    def handle_timeout(
        self, first_data: Callable[[], bytes], now: float, out: list[Transmit]
    ) -> None:
        """Probe, send P3 again, or go on as with a stranger once there was a P2."""
        if self._challenged:
            super().handle_timeout(first_data, now, out)
            return
        self._simultaneous_open.handle_timeout(now)
        self._carry(out)
        if self._simultaneous_open.state is State.GIVEN_UP:
            self.deadline = now

    @property
    def _challenged(self) -> bool:
        return self.solving or bool(self._initiate)

    def _carry(self, out: list[Transmit]) -> None:
        out.extend(self._simultaneous_open.poll_transmits())
        if not self._challenged:
            self.targets = self._simultaneous_open.answered
            self._due()

    def _due(self) -> None:
        due = self._simultaneous_open.next_timeout()
        self.next_at = inf if due is None else due
