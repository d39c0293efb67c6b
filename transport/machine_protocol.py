"""What an endpoint asks of the machine that it drives."""

from collections.abc import Sequence
from typing import Protocol

from transport.core.types import Address, Transmit


class Machine(Protocol):
    """The four verbs of a pure machine, and what it is told of channels."""

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> bool:
        """Datagrams that came in, in order. Whether any was a peer's."""

    def handle_timeout(self, now: float) -> None:
        """The time that `next_timeout` named has come."""

    def poll_transmits(self) -> list[Transmit]:
        """Datagrams that may go now."""

    def poll_events(self) -> Sequence[object]:
        """What happened since the last call."""

    def prepare(self) -> None:
        """Do ahead what can be done, now that there is nothing to send."""

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called, in seconds of the caller's clock."""

    def keep(self, peer: bytes, wanted: bool) -> None:
        """The presence with the peer is in use (or no longer): it must not idle out."""

    def bulk_passed(self, peer: bytes, size: int, now: float) -> None:
        """Channels with the peer have moved so many bytes since the last call."""

    def bulk_heard(self, peer: bytes, address: Address, size: int, now: float) -> None:
        """The newest bulk datagram of the peer, of so many bytes, came from another address than
        it is reached at."""

    def probe(self, peer: bytes, now: float) -> None:
        """Channels with the peer have come to a halt: see whether it is still there."""
