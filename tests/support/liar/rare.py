"""What a liar does beside the ordinary path: suspicions, joins, views, ballots and leases."""

from __future__ import annotations

from consensus.core import message_kinds as kinds
from consensus.core.numbers import RANK_BITS, Key
from consensus.core.types import Content, Value
from tests.support.liar.attack import Attacks
from tests.support.liar.liar import SIZE, Liar

NOBODY = 9
"""A rank that no view of four has."""
FULL = (1 << SIZE) - 1
NOTHING: Value = (FULL, None, (), (), 0, 0)  # type: ignore[assignment]
"""A value that nobody has to go by, and that ends where no group does."""
MANY = 2000
"""More than anybody has reason to say."""

ATTACKS = Attacks()
out, stays = ATTACKS.out, ATTACKS.stays


# -- suspicions, marks, what joiners say and hear ----------------------------------------------

out(
    "SUSPECT",
    "itself",
    "suspects nobody there",
    lambda liar: liar.say(kinds.SUSPECT, 1 << liar.rank, 0, 0, 0),
)
out(
    "SUSPECT",
    "nobody who is there",
    "suspects nobody there",
    lambda liar: liar.say(kinds.SUSPECT, 1 << NOBODY, 0, 0, 0),
)
out(
    "SUSPECT",
    "agreed to nobody who is there",
    "suspects nobody there",
    lambda liar: liar.say(kinds.SUSPECT, 0, 1 << NOBODY, 0, 0),
)


def waver(liar: Liar) -> None:
    for _ in range(MANY // 10):
        liar.say(kinds.SUSPECT, 0, 1 << liar.rank_of(liar.honest[0]), 0, 0)
        liar.say(kinds.SUSPECT, 0, 0, 0, 0)


stays("SUSPECT", "to and fro, without end", "one agreement alone removes nobody", waver)
out(
    "STALL", "for what it never proposed", "asks for what nobody proposed",
    lambda liar: liar.say(kinds.STALL, Key((liar.clock + 9) << RANK_BITS | liar.rank), 1),
)  # fmt: skip
stays(
    "STALLED", "that nobody asked for", "late",
    lambda liar: liar.say(kinds.STALLED, Key(liar.clock << RANK_BITS | liar.rank), 1, 0, 0),
)  # fmt: skip


def marks(liar: Liar) -> None:
    for _ in range(MANY):
        liar.say(kinds.MARK)


stays("MARK", "without end", "it says nothing new", marks)
out(
    "SNAPSHOT", "to a member", "not for a member",
    lambda liar: liar.say(kinds.SNAPSHOT, (liar.member(liar.host),), 9, 99, b"lie", ()),
)  # fmt: skip
out(
    "DECISION", "to a member", "not for a member",
    lambda liar: liar.say(kinds.DECISION, liar.index + 1, (99, 1, Content("work", b"lie"), (), ())),
)  # fmt: skip
out(
    "READY", "from a member", "not for a member",
    lambda liar: liar.say(kinds.READY, (liar.member(liar.host),)),
)  # fmt: skip
stays("HERE", "to members", "late, of a view that has begun", lambda liar: liar.say(kinds.HERE))
stays(
    "ASK",
    "out of the present view",
    "there is nothing to give yet",
    lambda liar: liar.say(kinds.ASK),
)


def ask_flood(liar: Liar) -> None:
    for _ in range(MANY // 10):
        liar.say(kinds.ASK, view=liar.view - 1)


stays("ASK", "out of a view that is over, without end", "each is answered", ask_flood)
out(
    "GONE",
    "while it is there",
    "taken at its word",
    lambda liar: liar.say(kinds.GONE, clock=0, mark=0),
)

# -- the synod, and leases ---------------------------------------------------------------------


def ballot(liar: Liar, rank: int, turn: int = 1) -> int:
    return turn << RANK_BITS | rank


out(
    "PREPARE", "a ballot of somebody else's", "somebody else's ballot",
    lambda liar: liar.say(kinds.PREPARE, ballot(liar, liar.rank_of(liar.honest[0]))),
)  # fmt: skip
out(
    "PREPARE", "a round that nobody can have come to", "somebody else's ballot",
    lambda liar: liar.say(kinds.PREPARE, ballot(liar, liar.rank, 1 << 17)),
)  # fmt: skip
out(
    "ACCEPT", "a ballot of somebody else's", "somebody else's ballot",
    lambda liar: liar.say(kinds.ACCEPT, ballot(liar, liar.rank_of(liar.honest[0])), NOTHING),
)  # fmt: skip
out(
    "ACCEPT", "a value that cannot follow", "impossible value",
    lambda liar: liar.say(kinds.ACCEPT, ballot(liar, liar.rank), NOTHING),
)  # fmt: skip
stays(
    "PROMISE", "that nobody asked for", "late",
    lambda liar: liar.say(kinds.PROMISE, 1 << RANK_BITS, 0, 0, None, ()),
)  # fmt: skip
stays(
    "ACCEPTED", "of what nobody proposed", "ACCEPT may be under way; one alone chooses nothing",
    lambda liar: liar.say(kinds.ACCEPTED, ballot(liar, liar.rank_of(liar.honest[0]))),
)  # fmt: skip
out(
    "LEASE",
    "for what was not asked",
    "answers what was not asked",
    lambda liar: liar.say(kinds.LEASE, 1 << 40, 250),
)
out("LEASE", "for longer than any", "bad number", lambda liar: liar.say(kinds.LEASE, 0, 1001))
stays("LEASE", "for a question of before", "late", lambda liar: liar.say(kinds.LEASE, 0, 250))


def question_flood(liar: Liar) -> None:
    for number in range(MANY):
        liar.say(kinds.LEASE_ASK, number, 1000)


stays("LEASE_ASK", "without end", "a member may read as often as it likes", question_flood)
out(
    "LEASE_ASK",
    "for longer than any",
    "bad number",
    lambda liar: liar.say(kinds.LEASE_ASK, 1, 1001),
)
stays(
    "LEASES", "of grants that nobody gave, while nothing changes", "asked for by no change",
    lambda liar: liar.say(kinds.LEASES, FULL),
)  # fmt: skip

# -- between the lines of groups that are durable -----------------------------------------------

out(
    "RESUME",
    "in a group that is not durable",
    "of a durable group",
    lambda liar: liar.say(kinds.RESUME, 5, 0),
)
out(
    "SEEN",
    "in a group that is not durable",
    "of a durable group",
    lambda liar: liar.say(kinds.SEEN, 5),
)
