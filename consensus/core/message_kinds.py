"""The kinds of group messages: number, name and class of each.

`message_fields` says what each of them says, and `docs/protocol/groups.md` lists them.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from consensus.core.message_fields import (
    AcceptedMessage,
    AcceptMessage,
    AnswerMessage,
    AskMessage,
    ChainMessage,
    DecisionMessage,
    ExpelledMessage,
    GoneMessage,
    HereMessage,
    InstallMessage,
    LeaseAskMessage,
    LeaseMessage,
    LeasesMessage,
    LinkMessage,
    MarkMessage,
    NotedMessage,
    PrepareMessage,
    PromiseMessage,
    ProposeMessage,
    ReadyMessage,
    RejectMessage,
    ResumeMessage,
    SeenMessage,
    SnapshotMessage,
    StalledMessage,
    StallMessage,
    SuspectMessage,
    VoteMessage,
    VouchMessage,
)

FORMAT: Final = 2
"""Of the messages of groups, and what they mean. Nobody comes into a group of another one. 1 had no
STALL, nor strikes; its members were lives of nodes, and one of them was enough for a kick."""

PROPOSE: Final = 1
VOTE: Final = 2
ANSWER: Final = 3
REJECT: Final = 4
NOTED: Final = 5
MARK: Final = 6
SUSPECT: Final = 7
PREPARE: Final = 8
PROMISE: Final = 9
ACCEPT: Final = 10
ACCEPTED: Final = 11
INSTALL: Final = 12
ASK: Final = 13
EXPELLED: Final = 14
HERE: Final = 15
SNAPSHOT: Final = 16
DECISION: Final = 17
READY: Final = 18
GONE: Final = 19
LEASE_ASK: Final = 24
LEASE: Final = 25
LEASES: Final = 26
STALL: Final = 28
STALLED: Final = 29

# Evidence for certificates: between the members' notaries, not for their groups (see `notary`).
VOUCH: Final = 30
LINK: Final = 31
CHAIN: Final = 32

# Between the lines of durable groups (see `durable`); they are not counted.
RESUME: Final = 40
SEEN: Final = 41

Message: TypeAlias = (
    ProposeMessage
    | VoteMessage
    | AnswerMessage
    | RejectMessage
    | NotedMessage
    | MarkMessage
    | SuspectMessage
    | PrepareMessage
    | PromiseMessage
    | AcceptMessage
    | AcceptedMessage
    | InstallMessage
    | AskMessage
    | ExpelledMessage
    | HereMessage
    | SnapshotMessage
    | DecisionMessage
    | ReadyMessage
    | GoneMessage
    | LeaseAskMessage
    | LeaseMessage
    | LeasesMessage
    | StallMessage
    | StalledMessage
    | VouchMessage
    | LinkMessage
    | ChainMessage
    | ResumeMessage
    | SeenMessage
)
"""Any message: a tuple of its kind's class."""

_KINDS: tuple[tuple[int, str, type[Message]], ...] = (
    (PROPOSE, "PROPOSE", ProposeMessage),
    (VOTE, "VOTE", VoteMessage),
    (ANSWER, "ANSWER", AnswerMessage),
    (REJECT, "REJECT", RejectMessage),
    (NOTED, "NOTED", NotedMessage),
    (MARK, "MARK", MarkMessage),
    (SUSPECT, "SUSPECT", SuspectMessage),
    (PREPARE, "PREPARE", PrepareMessage),
    (PROMISE, "PROMISE", PromiseMessage),
    (ACCEPT, "ACCEPT", AcceptMessage),
    (ACCEPTED, "ACCEPTED", AcceptedMessage),
    (INSTALL, "INSTALL", InstallMessage),
    (ASK, "ASK", AskMessage),
    (EXPELLED, "EXPELLED", ExpelledMessage),
    (HERE, "HERE", HereMessage),
    (SNAPSHOT, "SNAPSHOT", SnapshotMessage),
    (DECISION, "DECISION", DecisionMessage),
    (READY, "READY", ReadyMessage),
    (GONE, "GONE", GoneMessage),
    (LEASE_ASK, "LEASE_ASK", LeaseAskMessage),
    (LEASE, "LEASE", LeaseMessage),
    (LEASES, "LEASES", LeasesMessage),
    (STALL, "STALL", StallMessage),
    (STALLED, "STALLED", StalledMessage),
    (VOUCH, "VOUCH", VouchMessage),
    (LINK, "LINK", LinkMessage),
    (CHAIN, "CHAIN", ChainMessage),
    (RESUME, "RESUME", ResumeMessage),
    (SEEN, "SEEN", SeenMessage),
)
NAMES: dict[int, str] = {kind: name for kind, name, _ in _KINDS}
CLASSES: dict[int, type[Message]] = {kind: made for kind, _, made in _KINDS}
KIND_OF: dict[type, int] = {made: kind for kind, _, made in _KINDS}


def message_of(fields: tuple[Any, ...]) -> Message:
    """The message that a plain tuple of this member's own file was. Raises KeyError for a kind
    that there is not, TypeError for a wrong number of fields."""
    return CLASSES[fields[0]](*fields)
