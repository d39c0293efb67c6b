"""A member of four that lies: a whole node in the simulated world, whose engine goes on as an
honest one does, and beside it whatever is said in its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consensus.core.config import CLOCK_STEP_MAX
from consensus.core.engine.group import Group
from consensus.core.message_kinds import PROPOSE
from consensus.core.messages import encode
from consensus.core.numbers import RANK_BITS, Clock, Key
from consensus.core.outputs import Accused, Decided, Ended, Expelled, Lost
from consensus.core.types import Content, Decision, Member, Outcome
from scenarios.world.network import Link
from scenarios.world.world import Host
from tests.support.messages import message
from tests.support.nodes.gathered import NUMBER, act, committed, gathered, outputs_of, propose

SIZE = 4
LIMIT_S = 10.0
"""Within this, in the time of the world, the honest stand together and decide."""
LINK = Link(delay_s=0.005, jitter_s=0.002)


class Liar:
    """The last of four, or whoever is named by rank, and the three others."""

    def __init__(self, rank: int = SIZE - 1) -> None:
        self.world, hosts = gathered(SIZE, LINK)
        self.rank = rank
        self.host = hosts[rank]
        self.honest = [host for host in hosts if host is not self.host]
        # Its engine does not know what is said beside it, and must not answer to what others say.
        self.group.config = replace(self.group.config, kicks_liars=False)

    # -- what it knows -----------------------------------------------------------------------

    def group_of(self, host: Host) -> Group:
        """The engine of a node."""
        group: Group = host.node.machine._hosted[NUMBER].group
        return group

    @property
    def group(self) -> Group:
        """Its own, which keeps the rules."""
        return self.group_of(self.host)

    @property
    def view(self) -> int:
        return self.group.view.number

    @property
    def clock(self) -> Clock:
        """The lowest that its next message may show."""
        return Clock(self.group._clock)

    @property
    def index(self) -> int:
        return self.group.index

    def rank_of(self, host: Host) -> int:
        """A member's, in the view that all were in."""
        return self.group.view.members.index(host.node.machine.me)

    def member(self, host: Host) -> Member:
        """As it stands in views."""
        me: Member = host.node.machine.me
        return me

    # -- what it does ------------------------------------------------------------------------

    def raw(self, entry: bytes, to: Sequence[Host] | None = None) -> None:
        """An entry of its lanes, whatever is in it."""
        for host in self.honest if to is None else to:
            key = host.node.key
            act(self.host, lambda m, now, key=key: m.peers.send(key, NUMBER, entry, now))  # type: ignore[misc]

    def say(
        self,
        kind: int,
        *fields: Any,
        to: Sequence[Host] | None = None,
        view: int | None = None,
        clock: int | None = None,
        mark: int | None = None,
    ) -> None:
        """A message; its head is what an honest one's would be, unless said otherwise."""
        if clock is not None and 0 < clock - self.clock <= CLOCK_STEP_MAX:
            self.group._clock = Clock(clock)  # What its engine says next is not below.
        head = (
            self.view if view is None else view,
            self.clock if clock is None else clock,
            self.index if mark is None else mark,
        )
        for entry in encode(message(kind, *head, *fields)):
            self.raw(entry, to)

    def put(self, content: Content | None = None, clock: int | None = None) -> Key:
        """A proposal of its own, which its engine knows nothing of; its key."""
        clock = self.clock + 1 if clock is None else clock
        self.say(PROPOSE, content or Content("work", b"lie"), clock=clock)
        return Key(clock << RANK_BITS | self.rank)

    def put_by(self, host: Host, body: bytes = b"asked") -> Key:
        """Somebody honest proposes; the key."""
        propose(host, body)
        return Key(self.group_of(host)._clock << RANK_BITS | self.rank_of(host))

    def falls_silent(self) -> None:
        """From now on its engine says nothing: it is heard, and takes no part."""
        hosted = self.host.node.machine._hosted[NUMBER]
        poll = hosted.poll
        hosted.poll = lambda: poll()[:0]

    def wait(self, for_s: float = 0.1) -> None:
        """Let time pass."""
        self.world.run(for_s=for_s)

    # -- what becomes of it ------------------------------------------------------------------

    def go_on(self, *, out: bool) -> bool:
        """Each of the honest proposes, and all three report all three, in one order, in time, and
        stand together: without the liar, if it is to be out."""
        bodies = [f"of {host.name}".encode() for host in self.honest]
        for host, body in zip(self.honest, bodies, strict=True):
            propose(host, body)
        return self.world.run(
            lambda: (
                all(set(bodies) <= set(committed(host)) for host in self.honest)
                and self.stand_together()
                and (self.is_out() or not out)
            ),
            limit_s=LIMIT_S,
        )

    def stand_together(self) -> bool:
        """They are in one view."""
        views = [self.group_of(host).view for host in self.honest]
        me = {self.member(host) for host in self.honest}
        return all(view == views[0] for view in views) and me <= set(views[0].members)

    def is_out(self) -> bool:
        """Of the view of all that are honest."""
        me = self.member(self.host)
        return all(me not in self.group_of(host).view.members for host in self.honest)

    def accused(self) -> list[tuple[str, str]]:
        """Of whom an honest one says what an honest one does not do."""
        names = {self.member(host): host.name for host in (*self.honest, self.host)}
        return [
            (names[output.member], output.what)
            for host in self.honest
            for _, output in outputs_of(host)
            if isinstance(output, Accused)
        ]

    def wronged(self) -> list[str]:
        """The honest who were left out, or whose group ended."""
        ends = (Expelled, Lost, Ended)
        return [
            host.name
            for host in self.honest
            if any(isinstance(output, ends) for _, output in outputs_of(host))
        ]

    def story(self, host: Host) -> dict[int, tuple[Any, ...]]:
        """What one of them reported, by its place in the order."""
        decided = [o.decision for _, o in outputs_of(host) if isinstance(o, Decided)]
        return {d.index: (d.id, d.outcome, self._content(d)) for d in decided if d.index}

    @staticmethod
    def _content(decision: Decision) -> bytes:
        """What it was about, if it was committed: of a reject nothing else is told alike."""
        return decision.body if decision.outcome is Outcome.COMMITTED else b""

    def contradictions(self) -> list[int]:
        """Places of which two of the honest tell different stories."""
        stories = [self.story(host) for host in self.honest]
        places = sorted({place for story in stories for place in story})
        return [
            place
            for place in places
            if len({story[place] for story in stories if place in story}) > 1
        ]
