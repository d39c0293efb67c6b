"""What a user may switch on a node, and what the machine beneath makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from consensus.machine.machine import MachineConfig
from transport.busy_poll import LIMIT_S, check_limit
from transport.core.handshake.circle import CircleSecret
from transport.endpoint import config_here
from transport.surroundings import current

__all__ = ["NodeConfig", "internet", "lan", "machine_config", "patient"]


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Tuning of a node; every part has its own defaults."""

    machine: MachineConfig = field(
        default_factory=lambda: MachineConfig(transport=config_here())
    )
    """Whoever gives one of their own says what is sealed with: XChaCha20-Poly1305 unless it is
    built on `transport.endpoint.config_here`, which knows whether there is AES hardware."""
    blob_limit_bytes: int = 16 << 30
    """Disk that blobs may take in all."""
    circles: tuple[bytes, ...] = field(default=(), repr=False)
    """Secrets of 32 bytes, each shared by the members of a circle. With any, the node
    answers nobody who does not show one of them, as if nothing listened there; it shows the first.
    The members' clocks must agree within a minute."""
    serves_nameless: bool = False
    """Whether peers that keep their name to themselves may have a presence, and ask."""
    roams: bool = False
    """The node may change its network, and `Node.moved` is called when it does. Costs each peer
    some 300 bytes."""
    attention_s: float = LIMIT_S
    """How long, in seconds, the node may stay awake for the next datagram while its peers answer
    at once (`transport.busy_poll`): shorter answers, for processor time that nobody else wants. 0
    for a node that is to sleep whenever it can. Does nothing under trio."""

    def __post_init__(self) -> None:
        check_limit(self.attention_s)


def _patience(
    suspicion_s: float, quick_probe_s: float, slow_probe_s: float, silence_max_s: float
) -> NodeConfig:
    transport = replace(
        config_here(),
        suspicion_s=suspicion_s,
        quick_probe_s=quick_probe_s,
        slow_probe_s=slow_probe_s,
        silence_max_s=silence_max_s,
    )
    return NodeConfig(machine=MachineConfig(transport=transport))


lan = NodeConfig()
"""For machines that are near and not overloaded: the defaults. Who is dead costs 0.36 s, and who is
held up for 0.3 s may be removed."""
internet = _patience(2.0, 0.2, 5.0, 60.0)
"""For paths that lose and delay, and machines that are busy: a member may be held up for 2 s."""
patient = _patience(15.0, 1.0, 10.0, 120.0)
"""For programs that block their event loop, and machines that swap: a member may be held up for
15 s, and so long nothing is decided when one has died."""


def machine_config(config: NodeConfig, now: float) -> MachineConfig:
    """The machine's share; `now` is the machine's clock. Raises LocalError for what cannot be."""
    transport = config.machine.transport
    handshake = transport.handshake
    if config.circles:
        circles = (*map(CircleSecret, config.circles), *handshake.circles)
        handshake = replace(handshake, circles=circles)
    if handshake.circles:
        handshake = replace(handshake, unix_offset_s=current().unix_time() - now)
    if config.serves_nameless:
        handshake = replace(handshake, anonymous=True)
    roams = config.roams or transport.roams
    transport = replace(transport, handshake=handshake, roams=roams)
    return replace(config.machine, transport=transport)
