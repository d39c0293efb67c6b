"""The seam of the handshake: everything its users need.

Protocol, layouts and the reasons: `docs/protocol/handshake.md`.
"""

from __future__ import annotations

from transport.core.admitted import Admitted
from transport.core.agreement import EpochKeys, Established, HandshakeConfig
from transport.core.closed import GroupSecret
from transport.core.constants import (
    FIRST_DATA_SIZE_MAX,
    MAGIC,
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
)
from transport.core.initiator import Initiator
from transport.core.invitation import (
    Invitation,
    Invitations,
    decode_invitation_untrusted,
    issue,
    meeting,
)
from transport.core.rekey import Rekeyed, Rekeying, answer_rekeying_untrusted
from transport.core.responder import Reply, Responder
from transport.core.transient import KnownTransient, decode_record_untrusted
from transport.core.variants import MET, TICKET, VOUCHED
from transport.core.wire import REPLY_SIZE_MAX, echo_of_untrusted, is_handshake

__all__ = [
    "FIRST_DATA_SIZE_MAX",
    "MAGIC",
    "MET",
    "REPLY_SIZE_MAX",
    "SUITE_AEGIS256",
    "SUITE_XCHACHA20",
    "TICKET",
    "VOUCHED",
    "Admitted",
    "EpochKeys",
    "Established",
    "GroupSecret",
    "HandshakeConfig",
    "Initiator",
    "Invitation",
    "Invitations",
    "KnownTransient",
    "Rekeyed",
    "Rekeying",
    "Reply",
    "Responder",
    "answer_rekeying_untrusted",
    "decode_invitation_untrusted",
    "decode_record_untrusted",
    "echo_of_untrusted",
    "is_handshake",
    "issue",
    "meeting",
]
