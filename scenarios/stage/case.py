"""What an exploration or a schedule is about, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

from consensus.core.config import GroupConfig
from consensus.core.types import Vote

__all__ = [
    "ACCEPT", "BY_ONE", "REJECT", "Act", "Case", "Faults", "abandon", "kick", "leave", "propose",
    "read", "sponsor",
]  # fmt: skip

ACCEPT = Vote(True)
REJECT = Vote(False, reason="no")
BY_ONE = GroupConfig(kicks_need_two=False)
"""One member that wants a kick is enough."""


class Act(NamedTuple):
    """Something a member's user does."""

    what: str
    """"propose", "kick", "sponsor", "leave", "abandon" or "read"."""
    whom: str = ""
    """The body of a proposal, or the member concerned."""


def propose(body: str) -> Act:
    """Propose something with this body."""
    return Act("propose", body)


def kick(member: str) -> Act:
    """Propose to remove a member."""
    return Act("kick", member)


def sponsor(joiner: str) -> Act:
    """Propose to admit a joiner."""
    return Act("sponsor", joiner)


def leave() -> Act:
    """Propose to go."""
    return Act("leave")


def abandon() -> Act:
    """Give the group up, or the attempt to join it. Who comes again, as another member of the same
    key, is called by the same letter and an apostrophe."""
    return Act("abandon")


def read() -> Act:
    """Begin a local read."""
    return Act("read")


@dataclass(frozen=True)
class Faults:
    """What may go wrong in one run of the explorer; every choice of these is a run of its own."""

    crashed: tuple[str, ...] = ()
    """These crash, at any moment."""
    cuts: tuple[tuple[str, str], ...] = ()
    """`(listener, speaker)`: at any moment the listener stops to hear the speaker."""
    heals: bool = False
    """At any later moment the listener hears the speaker again, and nothing was lost."""

    def __str__(self) -> str:
        parts = [f"{name} crashes" for name in self.crashed]
        parts += [f"{a} stops to hear {b}" for a, b in self.cuts]
        if self.cuts and self.heals:
            parts.append("for a while")
        return ", ".join(parts) or "no faults"


@dataclass(frozen=True)
class Case:
    """A small world with stated bounds."""

    name: str
    about: str
    members: tuple[str, ...]
    """The founding view, by seniority."""
    plans: Mapping[str, tuple[Act, ...]] = field(default_factory=dict)
    """What each member's user does, in order, each at any moment."""
    joiners: Mapping[str, str] = field(default_factory=dict)
    """Who stands ready to join, and by whose invitation."""
    votes: Mapping[tuple[str, str], tuple[Vote, ...]] = field(default_factory=dict)
    """The votes a member may give on a body; more than one are all explored, and with none its
    program never answers, so that the `answer` timer is what ends it. Default: accept."""
    prompt: bool = True
    """Programs answer at once; otherwise at any moment."""
    gathers: bool = False
    """Members are polled at any moment after an input, so that more may come before; otherwise
    after each."""
    unreachable: frozenset[tuple[str, str]] = frozenset()
    """`(member, joiner)` pairs that cannot build a presence."""
    crashes: int = 0
    """Up to so many members crash."""
    may_crash: tuple[str, ...] | None = None
    """Who may; all, if None."""
    cuts: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Alternative sets of cuts, each `(listener, speaker)` pairs; one run for each."""
    heals: bool = False
    fires: Mapping[str, int] = field(default_factory=dict)
    """How often each timer, by name, may fire at each member during exploration. When nothing
    else is possible, all fire in turn until everybody has come to rest."""
    config: GroupConfig = field(default_factory=GroupConfig)
    tells: tuple[tuple[str, str], ...] = ()
    """`(teller, reader)`: outside of the group, on a way that no message of the group shares, the
    teller says what it saw committed, and the reader begins a read whenever it hears so."""
    founded: bool = False
    """The view was made by joins, with what they leave behind; otherwise it is new."""
    states_max: int = 1_000_000
    """Exploration of one choice of faults is capped here."""
    liveness: bool = True
    """Whether everything must come to an end after each explored history."""

    @property
    def everyone(self) -> tuple[str, ...]:
        """Members and joiners."""
        return (*self.members, *self.joiners)

    def faults(self) -> Iterator[Faults]:
        """Every choice of faults within the bounds, the fewest first."""
        who = self.everyone if self.may_crash is None else self.may_crash
        for cuts in self.cuts or ((),):
            for count in range(self.crashes + 1):
                for crashed in combinations(who, count):
                    yield Faults(crashed, cuts, self.heals)

    def bounds(self) -> str:
        """What is explored of this case, in words."""
        parts = [f"{name}: {', then '.join(map(_told, plan))}" for name, plan in self.plans.items()]
        if any(len(votes) > 1 for votes in self.votes.values()):
            parts.append("any votes")
        if not self.prompt:
            parts.append("programs that answer at any moment")
        if self.gathers:
            parts.append("any number of inputs between two polls")
        parts += [f"{who} never answers {body}" for (who, body), v in self.votes.items() if not v]
        if self.crashes:
            who = "anybody" if self.may_crash is None else " or ".join(self.may_crash)
            parts.append(f"up to {self.crashes} of {who} crashes at any moment")
        for cuts in self.cuts:
            parts.append("; ".join(f"{a} stops to hear {b}" for a, b in cuts))
        if self.cuts and self.heals:
            parts.append("and hears it again, both at any moment")
        parts += [f"{teller} tells {reader} what is committed" for teller, reader in self.tells]
        fired = [f"{name} {count}x" if count > 1 else name for name, count in self.fires.items()]
        parts.append(f"timers that fire at any moment: {', '.join(fired) or 'none'}")
        parts.append(f"at most {self.states_max:,} states for each choice of faults")
        return "; ".join(parts)

    def votes_of(self, member: str, body: Any) -> tuple[Vote, ...]:
        """The votes a member may give on a body."""
        text = body.decode() if isinstance(body, bytes) else str(body)
        return self.votes.get((member, text), (ACCEPT,))


def _told(act: Act) -> str:
    return f"{act.what} {act.whom}".rstrip()
