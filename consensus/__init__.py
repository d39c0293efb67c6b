"""quorate: a few peers decide something together, without a server.

Open a `Node`, `found` or `join` a group, `propose`, and vote in handlers with `accept` and
`reject`. See docs/tutorial.md.
"""

from consensus.core.blobtree import BlobRef
from consensus.core.config import GroupConfig
from consensus.core.errors import (
    ConsensusError,
    GroupBusy,
    GroupClosed,
    GroupError,
    GroupSuspended,
)
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
    ViewChanged,
    ViewInfo,
    accept,
    reject,
)
from consensus.group import Group
from consensus.node import Node, NodeConfig
from consensus.replica import CommandFailed, Replica

__all__ = [
    "Accept",
    "BlobRef",
    "CommandFailed",
    "ConsensusError",
    "Decision",
    "Group",
    "GroupBusy",
    "GroupClosed",
    "GroupConfig",
    "GroupEnded",
    "GroupError",
    "GroupSuspended",
    "Node",
    "NodeConfig",
    "Outcome",
    "OutcomeUnknown",
    "Proposal",
    "Reject",
    "Rejected",
    "Replica",
    "SuspensionChanged",
    "ViewChanged",
    "ViewInfo",
    "accept",
    "reject",
]
