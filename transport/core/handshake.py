"""The seam of the handshake: everything its users need.

Protocol, layouts and the reasons: `docs/protocol/handshake.md`.
"""

from __future__ import annotations

from transport.core.admitted import Admitted
from transport.core.agreement import EpochKeys, Established, HandshakeConfig
from transport.core.constants import (
    FIRST_DATA_SIZE_MAX,
    MAGIC,
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
)
from transport.core.initiator import Initiator
from transport.core.rekey import Rekeyed, Rekeying, answer_rekeying_untrusted
from transport.core.responder import Reply, Responder
from transport.core.transient import KnownTransient
from transport.core.wire import REPLY_SIZE_MAX, echo_of_untrusted, is_handshake

__all__ = [
    "FIRST_DATA_SIZE_MAX",
    "MAGIC",
    "REPLY_SIZE_MAX",
    "SUITE_AEGIS256",
    "SUITE_XCHACHA20",
    "Admitted",
    "EpochKeys",
    "Established",
    "HandshakeConfig",
    "Initiator",
    "KnownTransient",
    "Rekeyed",
    "Rekeying",
    "Reply",
    "Responder",
    "answer_rekeying_untrusted",
    "echo_of_untrusted",
    "is_handshake",
]
