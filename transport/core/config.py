"""Tuning of the transport above the handshake. Specification constants are in their modules."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from transport.core.errors import LocalError
from transport.core.handshake.negotiation import HandshakeConfig

__all__ = ["TransportConfig"]


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """What a node may tune; checked once, when it is made. Raises `LocalError`."""

    # Lane: cost is memory per peer and how much a burst may put into the network.
    lane_window_initial: int = 10
    """Datagrams in flight at the start."""
    lane_window_max: int = 64
    """Datagrams in flight at most; also what the acknowledgement's bitmap can name."""
    lane_backlog_bytes_max: int = 1 << 20
    """Entries not acknowledged, in bytes, beyond which `send` raises `LaneFull`."""
    lane_backlog_entries_max: int = 16_384
    """The same in entries, so that tiny entries cannot cost more than their bytes say."""
    ack_delay_s: float = 0.025
    """How long an acknowledgement may wait for something to ride on."""
    rto_initial_s: float = 1.0
    """Retransmission timer before the first round trip is measured (RFC 6298)."""
    rto_min_s: float = 0.1
    """Floor of the timer: above `ack_delay_s`, or every delayed acknowledgement is a loss."""
    rto_max_s: float = 8.0
    """Cap of the doubling; a peer that is heard again is sent to at once, whatever the timer."""

    # Liveness.
    slow_probe_s: float = 2.0
    """A kept peer that was silent this long is probed."""
    quick_probe_s: float = 0.05
    """The same while something is awaited from it; never below its round trip."""
    suspicion_s: float = 0.3
    """Probed and unheard this long: `Silent`. Shorter, and a process that a busy machine does not
    run for a fifth of a second is taken for dead; longer, and a group waits longer for one that
    is."""
    silence_max_s: float = 30.0
    """`Silent` this long: the presence is given up."""
    idle_timeout_s: float = 60.0
    """A presence nobody keeps closes after so long without traffic."""

    # Relays: cost is the traffic of others that a node carries.
    relay_bytes_per_s: float = 262_144.0
    """Passed on for one peer, in bytes of sealed datagrams."""
    relay_burst_bytes: float = 131_072.0
    """The same at once, after a pause."""
    punch_s: float = 0.5
    """How often a cut link is tried directly."""

    # Presences.
    accept_delay_s: float = 0.025
    """How long P4 may wait for a reply to carry."""
    unconfirmed_s: float = 10.0
    """How long a presence may exist before a datagram opens under its keys."""
    unconfirmed_max: int = 1_024
    """Unconfirmed presences at once; those that come of a rekeying do not count."""
    unproven_max: int = 128
    """Of these, such whose P3 had no cookie; beyond it 0-RTT is answered with a challenge."""
    tombstones_max: int = 4_096
    """Unconfirmed peers whose received packets are remembered, so that a retry is no duplicate: so
    many for each kind of evidence that speaks for them."""
    drain_s: float = 10.0
    """How long a replaced presence still opens datagrams after the last one it opened."""
    rekey_s: float = 120.0
    """Age at which a presence in use gets new keys; at three times this age it closes."""
    rekey_datagrams: int = 1 << 29
    """Datagrams sent at which it does: below 2^40 bytes at 1,120 a datagram."""
    full_s: float = 86_400.0
    """Age of the last handshake with static keys at which a presence in use has another one; at
    three times this age it closes."""
    roams: bool = False
    """This node may change its network: it asks its peers, by a byte with each probe, to know it
    under other connection ids then (`Peers.move`). Costs each peer some 300 bytes."""
    path_hold_s: float = 10.0
    """After the old path has won, how long the other address is not tried again."""
    peers_max: int = 131_072
    """Peers known at once, warm ones."""

    # Attempts.
    attempts_max: int = 4_096
    """Attempts to connect at once."""
    candidates_max: int = 8
    """Addresses tried per attempt."""
    known_max: int = 4_096
    """Peers whose transient is remembered for 0-RTT; the oldest are dropped."""
    handshake_retry_s: float = 0.5
    """First retransmission of P1 and P3; doubles, with a quarter of jitter."""
    handshake_retry_max_s: float = 4.0
    """Cap of that doubling."""
    handshake: HandshakeConfig = field(default_factory=HandshakeConfig)
    """The handshake's own."""

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.name not in ("handshake", "roams") and not getattr(self, each.name) > 0:
                raise LocalError(f"{each.name} must be positive")
        if not self.lane_window_initial <= self.lane_window_max <= 64:
            raise LocalError("the lane's window is at most the 64 datagrams its bitmap can name")
        if self.lane_backlog_bytes_max < 2 * 65_536:
            raise LocalError("the backlog must hold two entries of the greatest size")
        if not self.ack_delay_s < self.rto_min_s <= self.rto_initial_s <= self.rto_max_s:
            raise LocalError("ack_delay_s < rto_min_s <= rto_initial_s <= rto_max_s must hold")
        if not self.quick_probe_s < self.suspicion_s:
            raise LocalError(
                "quick_probe_s < suspicion_s must hold, or nobody is probed before it is suspected"
            )
        if not self.suspicion_s < self.silence_max_s:
            raise LocalError(
                "suspicion_s < silence_max_s must hold: who raises the former raises both"
            )
        if not self.suspicion_s < 2 * self.rekey_s:
            raise LocalError(
                "suspicion_s < 2 * rekey_s must hold, or keys that nobody renews end it before"
            )
        if self.quick_probe_s > self.slow_probe_s:
            raise LocalError("quick probes are not slower than slow ones")
        if self.ack_delay_s > 0.25:
            raise LocalError("an acknowledgement's delay travels as one byte of milliseconds")
