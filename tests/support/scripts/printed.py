"""How scripts name members, and how they print what groups say and report."""

from __future__ import annotations

from typing import Any

from consensus.core.message_kinds import NAMES, Message
from consensus.core.numbers import RANK_BITS
from consensus.core.outputs import (
    Abandoned,
    Accused,
    Decided,
    Ended,
    Expelled,
    Installed,
    LeaseAsked,
    LeaseGranted,
    Lost,
    Output,
    Readable,
    SnapshotReceived,
    Suspended,
)
from consensus.core.types import Member
from consensus.core.view import ranks


def member(name: str) -> Member:
    """The member a letter stands for; a small letter is the second life of the large one."""
    return Member(name.upper().encode() * 32, ord(name))


def letter(who: Member) -> str:
    return chr(who.incarnation)


def show_key(key: int) -> str:
    return f"{key >> RANK_BITS}.{key & (1 << RANK_BITS) - 1}"


def show_ballot(number: int) -> str:
    return f"b{show_key(number)}" if number else "-"


def show_mask(mask: int) -> str:
    return "{" + ",".join(str(r) for r in ranks(mask)) + "}"


def show_content(content: tuple) -> str:  # type: ignore[type-arg]
    kind, body, _, _, subject, _ = content
    words = [kind] + ([letter(subject)] if subject else []) + ([body.decode()] if body else [])
    return " ".join(words)


OUTCOMES = {1: "committed", 2: "rejected", 3: "abandoned", 4: "unknown"}
DID = ("lacks", "waits", "late", "wedged", "voted")
OWN = {0: "nothing", 1: "accepted", 2: "noted"}


def show_value(value: tuple | None) -> str:  # type: ignore[type-arg]
    if value is None:
        return "-"
    kept, joiner, reasons, trim, end, struck = value
    entries = " ".join(f"{show_key(e[0])}:{OUTCOMES[e[1]]}" for e in trim)
    out = "; ".join(f"{rank} {why}" for rank, why in reasons)
    return (
        f"kept {show_mask(kept)}"
        + (f" +{letter(joiner)}" if joiner else "")
        + (f" out [{out}]" if out else "")
        + f" trim [{entries}] end {end}"
        + (f" struck {show_mask(struck)}" if struck else "")
    )


def show_message(message: Message) -> str:
    kind, view, clock, mark = message[:4]
    rest: list[Any] = [*message[4:]]
    name = NAMES[kind]
    if name == "PROPOSE":
        text = show_content(rest[0])
    elif name == "VOTE":
        text = " ".join(show_key(k) for k in rest[0])
    elif name == "ANSWER":
        text = f"{show_key(rest[0])} {rest[1].decode()}"
    elif name == "REJECT":
        text = f"{show_key(rest[0])} {rest[1]}"
    elif name == "NOTED":
        text = f"{show_key(rest[0])} {rest[1]} {rest[2]}"
    elif name == "SUSPECT":
        text = f"down {show_mask(rest[0])} remove {show_mask(rest[1])}"
        text += f" stalled {show_mask(rest[2])}" if rest[2] else ""
        text += f" disputed {show_mask(rest[3])}" if rest[3] else ""
    elif name == "STALL":
        text = f"{show_key(rest[0])} turn {rest[1]}"
    elif name == "STALLED":
        text = f"{show_key(rest[0])} turn {rest[1]} {DID[rest[2]]} pending {rest[3]}"
    elif name in ("PREPARE", "ACCEPTED"):
        text = show_ballot(rest[0])
    elif name == "PROMISE":
        ballot, stable, accepted, value, held = rest
        entries = " ".join(f"{show_key(h[0])}:{OWN[h[2]]}" for h in held)
        text = f"{show_ballot(ballot)} stable {stable} accepted {show_ballot(accepted)}"
        text += f" {show_value(value)}" if value else ""
        text += f" [{entries}]"
    elif name == "ACCEPT":
        text = f"{show_ballot(rest[0])} {show_value(rest[1])}"
    elif name == "INSTALL":
        text = show_value(rest[0])
    elif name == "EXPELLED":
        text = rest[0]
    elif name == "SNAPSHOT":
        text = f"{''.join(letter(m) for m in rest[0])} index {rest[1]}"
    elif name == "DECISION":
        text = f"{rest[0]} {show_key(rest[1][0])}:{OUTCOMES[rest[1][1]]}"
    elif name in ("LEASE_ASK", "LEASE"):
        text = f"{rest[0]} for {rest[1]} ms"
    elif name == "LEASES":
        text = f"of {show_mask(rest[0])}"
    elif name == "READY":
        text = f"reaches {''.join(letter(m) for m in rest[0])}"
    else:
        text = ""
    return f"{name} v{view} c{clock} m{mark} {text}".rstrip()


def show_output(output: Output) -> str:
    if isinstance(output, Decided):
        d = output.decision
        said = [f"{letter(m)}={answer.decode()}" for m, answer in d.answers]
        said += [f"{letter(m)}: {reason}" for m, reason in d.reasons]
        return (
            f"decided {d.index} {show_content(d.content)} by {letter(d.proposer)} "
            f"{OUTCOMES[d.outcome]}"
            + (f" ({', '.join(said)})" if said else "")
            + (f" ticket {output.handle}" if output.handle is not None else "")
        )
    if isinstance(output, Abandoned):
        again = output.resubmitted_as
        return f"abandoned ticket {output.handle}" + (
            f" resubmitted as {again.view}/{again.clock}" if again else ""
        )
    if isinstance(output, Installed):
        view = output.view
        return f"installed view {view.number} {''.join(letter(m) for m in view.members)}"
    if isinstance(output, Suspended):
        return "suspended" if output.flag else "resumed"
    if isinstance(output, SnapshotReceived):
        return f"snapshot of {output.index}: {output.data.decode()}"
    if isinstance(output, LeaseAsked):
        return f"asks for lease {output.number}"
    if isinstance(output, LeaseGranted):
        return f"lease {output.number} granted"
    if isinstance(output, Readable):
        by = f" by lease {output.lease}" if output.lease else ""
        return f"readable ticket {output.handle}{by}"
    if isinstance(output, Expelled):
        return f"expelled ({output.reason})"
    if isinstance(output, Lost):
        return f"lost ({output.reason})"
    if isinstance(output, Accused):
        return f"accused {letter(output.member)} of {output.what}"
    assert isinstance(output, Ended)
    return "ended"
