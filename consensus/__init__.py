"""The node: its groups, its blobs, its network and its file.

Programs import the names below from `quorate`, which says how they are used.
"""

from consensus.blobs.errors import BlobDamaged, BlobDiskFull, BlobError, BlobLimit, BlobUnavailable
from consensus.blobs.fetch import DroppedSource
from consensus.blobs.store import FetchReport
from consensus.codec import ValueRefused
from consensus.config import internet, lan, patient
from consensus.core.blob.tree import BlobRef, BlobRefError, parse_ref_untrusted
from consensus.core.config import GroupConfig
from consensus.core.errors import (
    ConsensusError,
    GroupBusy,
    GroupClosed,
    GroupError,
    GroupSuspended,
)
from consensus.core.evidence.founding import CertificateError
from consensus.core.evidence.invitation_text import TokenError
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
from consensus.groups.certificates import verify_certificate_untrusted
from consensus.groups.handle import Group
from consensus.groups.history import EventsMissed
from consensus.groups.replica import CommandFailed, Replica, RestoreFailed
from consensus.network.letters import Letter, Sent
from consensus.node import Node, NodeConfig
from consensus.status import GroupStatus, MemberStatus, NodeStatus, ProposalStatus
from consensus.storage.node_store import StoreError
from transport.channel import Channel, ChannelBroken
from transport.core.crypto.pseudonym import MasterKey, Scope
from transport.core.errors import LocalError, TransportError
from transport.core.types import Outcome as LetterOutcome
from transport.identity import IdentityError

__version__ = "0.1.0"

__all__ = [
    "Accept",
    "BlobDamaged",
    "BlobDiskFull",
    "BlobError",
    "BlobLimit",
    "BlobRef",
    "BlobRefError",
    "BlobUnavailable",
    "CertificateError",
    "Channel",
    "ChannelBroken",
    "CommandFailed",
    "ConsensusError",
    "Decision",
    "DroppedSource",
    "EventsMissed",
    "FetchReport",
    "Group",
    "GroupBusy",
    "GroupClosed",
    "GroupConfig",
    "GroupEnded",
    "GroupError",
    "GroupStatus",
    "GroupSuspended",
    "IdentityError",
    "Letter",
    "LetterOutcome",
    "LocalError",
    "MasterKey",
    "MemberStatus",
    "Node",
    "NodeConfig",
    "NodeStatus",
    "Outcome",
    "OutcomeUnknown",
    "Proposal",
    "ProposalStatus",
    "Reject",
    "Rejected",
    "Replica",
    "RestoreFailed",
    "Scope",
    "Sent",
    "StoreError",
    "SuspensionChanged",
    "TokenError",
    "TransportError",
    "Unreachable",
    "ValueRefused",
    "ViewChanged",
    "ViewInfo",
    "accept",
    "internet",
    "lan",
    "parse_ref_untrusted",
    "patient",
    "reject",
    "verify_certificate_untrusted",
]
