"""What a liar does to the ordinary path: messages with each of their fields wrong, early, late,
twice, or as often as there is room for."""

from __future__ import annotations

from consensus.core import message_kinds as kinds
from consensus.core.config import (
    ANSWER_SIZE_MAX,
    BODY_SIZE_MAX,
    CLOCK_MAX,
    CLOCK_STEP_MAX,
    DEPARTURES_MAX,
    HOLD_FACTOR,
    REASON_SIZE_MAX,
    STOPPED_MAX,
    VOTE_KEYS_MAX,
    WINDOW_TOTAL_MAX,
)
from consensus.core.messages import ENTRY_SIZE_MAX, SHARED_MAX, pack
from consensus.core.numbers import RANK_BITS, Key
from consensus.core.types import JOIN, KICK, LEAVE, Content, Member
from scenarios.world.world import Host
from tests.support.liar.attack import Attacks
from tests.support.liar.liar import SIZE, Liar
from tests.support.messages import message

STRANGER = Member(bytes([9]) * 32, 7)
NOBODY = 9
"""A rank that no view of four has."""
HELD_MAX = HOLD_FACTOR * (WINDOW_TOTAL_MAX // SIZE + DEPARTURES_MAX)
EARLY_MAX = 2 * (WINDOW_TOTAL_MAX + SIZE * DEPARTURES_MAX)
MARK = pack(message(kinds.MARK, 1, 0, 0))
MANY = 2000
"""More than there can be."""

ATTACKS = Attacks()
out, stays = ATTACKS.out, ATTACKS.stays


# -- any message -------------------------------------------------------------------------------

HEAD, BYTES = "any", "bytes"


def clock_back(liar: Liar) -> None:
    liar.say(kinds.MARK, clock=liar.clock + 5)
    liar.say(kinds.MARK, clock=liar.clock - 1)


def mark_back(liar: Liar) -> None:
    liar.say(kinds.MARK)
    liar.say(kinds.MARK, mark=liar.index - 1)


def older_again(liar: Liar) -> None:
    liar.say(kinds.MARK, view=liar.view + 1)
    liar.say(kinds.MARK)


def newer_flood(liar: Liar) -> None:
    for _ in range(STOPPED_MAX + 1):
        liar.say(kinds.MARK, view=liar.view + 1)


def in_parts(liar: Liar) -> None:
    liar.raw(b"\xc1\x01" + bytes(ENTRY_SIZE_MAX - 2))
    liar.say(kinds.MARK)


out(HEAD, "a clock below the one before", "clock went back", clock_back)
out(
    HEAD, "a clock ahead by more than anybody can be", "clock leapt",
    lambda liar: liar.say(kinds.MARK, clock=liar.clock + 2 * CLOCK_STEP_MAX),
)  # fmt: skip
out(
    HEAD,
    "a clock beyond the format's",
    "bad head",
    lambda liar: liar.say(kinds.MARK, clock=CLOCK_MAX),
)
out(HEAD, "a mark below the one before", "mark went back", mark_back)
out(
    HEAD, "a mark beyond what can have been decided", "mark leapt",
    lambda liar: liar.say(kinds.MARK, mark=liar.index + MANY),
)  # fmt: skip
out(HEAD, "a view to come, then the present one again", "went back to an older view", older_again)
out(HEAD, "more of a view to come than anybody keeps", "too much of a newer view", newer_flood)
stays(
    HEAD, "a view that is over", "late; it is told how that ended",
    lambda liar: liar.say(kinds.MARK, view=liar.view - 1),
)  # fmt: skip
out(BYTES, "no message", "not msgpack", lambda liar: liar.raw(b"\xc5lie"))
out(
    BYTES,
    "a kind that there is not",
    "bad kind",
    lambda liar: liar.raw(MARK.replace(bytes([kinds.MARK]), bytes([kinds.GONE + 1]), 1)),
)
out(
    BYTES, "more messages than share an entry", "too many messages in an entry",
    lambda liar: liar.raw(
        b"\xdc" + (SHARED_MAX + 1).to_bytes(2, "big") + (SHARED_MAX + 1) * MARK
    ),
)  # fmt: skip
out(BYTES, "a part, and then no other", "a message broke off", in_parts)
out(BYTES, "a part that is too small", "in pieces too small", lambda liar: liar.raw(b"\xc1\x01lie"))

# -- proposals ---------------------------------------------------------------------------------


def propose_twice(liar: Liar) -> None:
    key = liar.put()
    liar.put(clock=key >> RANK_BITS)


def fill_window(liar: Liar) -> None:
    for _ in range(HELD_MAX + 1):
        liar.put()


out("PROPOSE", "the same one twice", "clock went back", propose_twice)
out("PROPOSE", "more than four windows", "window exceeded", fill_window)
out(
    "PROPOSE", "a body that is too large", "bad content",
    lambda liar: liar.put(Content("work", bytes(BODY_SIZE_MAX + 1))),
)  # fmt: skip
out(
    "PROPOSE",
    "a kind that is reserved",
    "bad kind of content",
    lambda liar: liar.put(Content("@lie")),
)
out(
    "PROPOSE", "somebody else's leave", "impossible membership proposal",
    lambda liar: liar.put(Content(LEAVE, subject=liar.member(liar.honest[1]))),
)  # fmt: skip
out(
    "PROPOSE", "its own kick", "impossible membership proposal",
    lambda liar: liar.put(Content(KICK, subject=liar.member(liar.host))),
)  # fmt: skip
out(
    "PROPOSE", "the kick of a stranger", "impossible membership proposal",
    lambda liar: liar.put(Content(KICK, subject=STRANGER)),
)  # fmt: skip
stays(
    "PROPOSE", "the join of whom nobody can reach", "unreachable: it is rejected",
    lambda liar: liar.put(Content(JOIN, subject=STRANGER, deadline_ms=1000)),
)  # fmt: skip

# -- votes -------------------------------------------------------------------------------------


def voted(liar: Liar) -> int:
    """A proposal on which its engine has voted, and which is not decided yet."""
    first, second, _ = liar.honest
    liar.world.cut([first.name], [second.name], heal_after_s=0.2)
    return liar.put_by(first)


def vote(liar: Liar, *keys: int, clock: int | None = None) -> None:
    liar.say(kinds.VOTE, keys, clock=clock)


def vote_twice(liar: Liar) -> None:
    key = voted(liar)
    liar.wait(0.05)
    vote(liar, key)


def answer_twice(liar: Liar) -> None:
    key = voted(liar)
    liar.wait(0.05)
    liar.say(kinds.ANSWER, key, b"lie")


def reject_after_vote(liar: Liar) -> None:
    key = voted(liar)
    liar.wait(0.05)
    liar.say(kinds.REJECT, key, "lie")


def reject_twice(liar: Liar) -> None:
    liar.falls_silent()
    key = voted(liar)
    liar.wait(0.05)
    liar.say(kinds.REJECT, key, "lie")
    liar.say(kinds.REJECT, key, "lie")


def future_key(liar: Liar, host: Host) -> int:
    """A key that somebody honest has not come to."""
    return (liar.clock + 100) << RANK_BITS | liar.rank_of(host)


def early_flood(liar: Liar) -> None:
    proposer, *others = liar.honest
    first = future_key(liar, proposer) >> RANK_BITS
    for clock in range(first, first + EARLY_MAX + 1):
        key = clock << RANK_BITS | liar.rank_of(proposer)
        liar.say(kinds.VOTE, (key,), clock=clock, to=others)


def early_and_never(liar: Liar) -> None:
    """Each knows of its own that it is not to come: of one alone it would be a word against
    another (S3)."""
    keys = sorted(future_key(liar, host) for host in liar.honest)
    vote(liar, *keys, clock=keys[-1] >> RANK_BITS)


out("VOTE", "twice on one proposal", "second vote", vote_twice)
out("VOTE", "on its own proposal", "second vote", lambda liar: vote(liar, liar.put()))
out(
    "VOTE", "with a clock below the proposal's", "vote before its proposal",
    lambda liar: vote(liar, future_key(liar, liar.honest[0])),
)  # fmt: skip
out(
    "VOTE", "on what nobody proposed", "vote on no proposal",
    lambda liar: vote(liar, 1 << RANK_BITS | liar.rank_of(liar.honest[0])),
)  # fmt: skip
out(
    "VOTE", "on a proposal of nobody's rank", "vote on no proposal",
    lambda liar: vote(liar, liar.clock << RANK_BITS | NOBODY),
)  # fmt: skip
out("VOTE", "on what is still to be proposed", "vote on no proposal", early_and_never)
out("VOTE", "more on what is to come than there can be", "vote on no proposal", early_flood)
out("VOTE", "on nothing", "bad keys", lambda liar: vote(liar))
out(
    "VOTE", "on more than one message may name", "bad keys",
    lambda liar: vote(liar, *range(16, 16 * (VOTE_KEYS_MAX + 2), 16)),
)  # fmt: skip
out("ANSWER", "after its vote", "second vote", answer_twice)
out(
    "ANSWER", "to its own proposal", "second vote",
    lambda liar: liar.say(kinds.ANSWER, liar.put(), b"lie"),
)  # fmt: skip
out(
    "ANSWER", "that is too long", "bad answer",
    lambda liar: liar.say(kinds.ANSWER, liar.put_by(liar.honest[0]), bytes(ANSWER_SIZE_MAX + 1)),
)  # fmt: skip
out("REJECT", "after its vote", "second vote", reject_after_vote)
out("REJECT", "twice", "second vote", reject_twice)
out(
    "REJECT", "of its own proposal", "second vote",
    lambda liar: liar.say(kinds.REJECT, liar.put(), "lie"),
)  # fmt: skip
out(
    "REJECT", "with a reason that is too long", "bad text",
    lambda liar: liar.say(kinds.REJECT, 16, "x" * (REASON_SIZE_MAX + 1)),
)  # fmt: skip


def reject_own_kick(liar: Liar) -> None:
    liar.falls_silent()
    liar.say(kinds.MARK, clock=liar.clock + 2 * CLOCK_STEP_MAX, to=liar.honest[:2])
    liar.wait(0.1)
    kick = liar.group_of(liar.honest[2])._order.queue[0]
    liar.say(kinds.REJECT, kick, "lie", to=liar.honest[2:])


out("REJECT", "of its own kick", "rejected its own kick", reject_own_kick)

# -- notes -------------------------------------------------------------------------------------


def note(liar: Liar, rejecter: int, to: list[Host] | None = None) -> Key:
    key = Key(voted(liar))
    liar.wait(0.05)
    liar.say(kinds.NOTED, key, rejecter, "lie", to=to)
    return key


def note_by(liar: Liar, to: list[Host] | None = None) -> None:
    """One that its engine stands by, and so does not repeat."""
    key = note(liar, liar.rank_of(liar.honest[1]), to)
    liar.group._ballots[key].noted |= 1 << liar.rank


def note_twice(liar: Liar) -> None:
    liar.falls_silent()
    key = voted(liar)
    liar.wait(0.05)
    for _ in range(2):
        liar.say(kinds.NOTED, key, liar.rank_of(liar.honest[1]), "lie")


out("NOTED", "that names itself", "false note", lambda liar: note(liar, liar.rank))
out("NOTED", "that names nobody there", "false note", lambda liar: note(liar, NOBODY))
out("NOTED", "twice", "false note", note_twice)
stays(
    "NOTED", "that names somebody who accepted", "its sender may have been told so",
    note_by,
)  # fmt: skip
stays(
    "NOTED", "the same, to one alone", "its sender may have been told so",
    lambda liar: note_by(liar, liar.honest[2:]),
)  # fmt: skip
