"""What a user may switch on a node, and what the machine beneath makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from consensus.machine.machine import MachineConfig
from transport.busy_poll import LIMIT_S, check_limit
from transport.core.handshake.circle import CircleSecret
from transport.endpoint import config_here
from transport.surroundings import current

__all__ = ["NodeConfig", "machine_config"]


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
