"""quorate: a few peers decide something together, without a server.

Open a `Node`, `found` or `join` a group, `propose`, and vote in handlers with `accept` and
`reject`. See docs/tutorial.md.
"""

from consensus.blobs import BlobError
from consensus.core.blobtree import BlobRef
from consensus.core.config import GroupConfig
from consensus.core.errors import (
    ConsensusError,
    GroupBusy,
    GroupClosed,
    GroupError,
    GroupSuspended,
)
from consensus.core.token import TokenError
from consensus.core.types import Outcome
from consensus.decision import (
    Accept,
    Decision,
    GroupEnded,
    OutcomeUnknown,
    Proposal,
    Reject,
    Rejected,
    SuspensionChanged,
    Unreachable,
    ViewChanged,
    ViewInfo,
    accept,
    reject,
)
from consensus.group import Group
from consensus.history import EventsMissed
from consensus.node import Node, NodeConfig
from consensus.replica import CommandFailed, Replica, RestoreFailed
from consensus.store import StoreError
from consensus.values import ValueRefused
from transport.channel import Channel, ChannelBroken
from transport.core.errors import LocalError, TransportError
from transport.identity import IdentityError

__all__ = [
    "Accept",
    "BlobError",
    "BlobRef",
    "Channel",
    "ChannelBroken",
    "CommandFailed",
    "ConsensusError",
    "Decision",
    "EventsMissed",
    "Group",
    "GroupBusy",
    "GroupClosed",
    "GroupConfig",
    "GroupEnded",
    "GroupError",
    "GroupSuspended",
    "IdentityError",
    "LocalError",
    "Node",
    "NodeConfig",
    "Outcome",
    "OutcomeUnknown",
    "Proposal",
    "Reject",
    "Rejected",
    "Replica",
    "RestoreFailed",
    "StoreError",
    "SuspensionChanged",
    "TokenError",
    "TransportError",
    "Unreachable",
    "ValueRefused",
    "ViewChanged",
    "ViewInfo",
    "accept",
    "reject",
]
