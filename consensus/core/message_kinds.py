"""The kinds of group messages, as numbers. `docs/protocol/groups.md` lists their fields.

Every message starts with (kind, view, clock, mark). Clock is the sender's Lamport clock and mark
the index up to which it has delivered.
"""

from __future__ import annotations

PROPOSE = 1  # content
VOTE = 2  # keys accepted without an answer
ANSWER = 3  # key, answer
REJECT = 4  # key, reason
NOTED = 5  # key, rank of one who rejected, its reason
MARK = 6
SUSPECT = 7  # mask of silent ranks, mask of ranks to remove
PREPARE = 8  # ballot
PROMISE = 9  # ballot, stable index, accepted ballot, accepted value or None, held
ACCEPT = 10  # ballot, value
ACCEPTED = 11  # ballot
INSTALL = 12  # value
ASK = 13
EXPELLED = 14  # reason
HERE = 15
SNAPSHOT = 16  # members, index, key of the last decision, data
DECISION = 17  # index, entry
READY = 18  # members reached
GONE = 19
LEASE_ASK = 24  # question, milliseconds
LEASE = 25  # question, milliseconds
LEASES = 26  # mask of holders

# Evidence for certificates: between the members' notaries, not for their groups (see `notary`).
VOUCH = 30  # ballot, signature
LINK = 31  # a view change with its signatures
CHAIN = 32  # founding, links, index, head of the chain there

# Between the lines of durable groups (see `durable`); they are not counted.
RESUME = 40  # messages received, 1 for an answer
SEEN = 41  # messages received and on disk

NAMES = {
    PROPOSE: "PROPOSE",
    VOTE: "VOTE",
    ANSWER: "ANSWER",
    REJECT: "REJECT",
    NOTED: "NOTED",
    MARK: "MARK",
    SUSPECT: "SUSPECT",
    PREPARE: "PREPARE",
    PROMISE: "PROMISE",
    ACCEPT: "ACCEPT",
    ACCEPTED: "ACCEPTED",
    INSTALL: "INSTALL",
    ASK: "ASK",
    EXPELLED: "EXPELLED",
    HERE: "HERE",
    SNAPSHOT: "SNAPSHOT",
    DECISION: "DECISION",
    READY: "READY",
    GONE: "GONE",
    LEASE_ASK: "LEASE_ASK",
    LEASE: "LEASE",
    LEASES: "LEASES",
    VOUCH: "VOUCH",
    LINK: "LINK",
    CHAIN: "CHAIN",
    RESUME: "RESUME",
    SEEN: "SEEN",
}
