"""Machines in a simulated world, for tests of what stands between the transport and the engine."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from consensus.core.config import GroupConfig
from consensus.core.lives import generation, life
from consensus.core.outputs import Decided, Ended, Installed, Output, VoteWanted
from consensus.core.types import Content, Decision, Member, Outcome, Proposal, Vote
from consensus.core.view import View
from consensus.machine.hosted_group import GroupEvent, PairEvent, TimedOut
from consensus.machine.lease_clock import ReadReady
from consensus.machine.machine import Machine, MachineConfig
from scenarios.world.member import clocks_of
from scenarios.world.network import Link
from scenarios.world.world import Host, World
from transport.core.crypto.keys import Identity
from transport.core.types import Address, Transmit

NUMBER = 7
LIMIT_S = 60.0
ATTEMPT_S = 10.0
ATTEMPTS = 4
Judge = Callable[[Proposal], Vote]
Result = TypeVar("Result")


def accept(_: Proposal) -> Vote:
    return Vote(True, b"yes")


class Player:
    """A machine whose application votes at once; the four verbs."""

    def __init__(
        self, host: Host, now: float, identity: Identity, judge: Judge, config: MachineConfig
    ) -> None:
        self.machine = Machine(
            identity, config, host.random_bytes, now, host.incarnation, clocks_of(host)
        )
        self.key = identity.key
        self.judge = judge
        self._now = now

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> None:
        self._now = now
        self.machine.receive_datagrams(batch, now)

    def handle_timeout(self, now: float) -> None:
        self._now = now
        self.machine.handle_timeout(now)

    def poll_transmits(self) -> list[Transmit]:
        return self.machine.poll_transmits()

    def poll_events(self) -> list[object]:
        events = self.machine.poll_events()
        for event in events:
            match event:
                case GroupEvent(number, VoteWanted(proposal)):
                    vote = self.judge(proposal)
                    self.machine.answer(number, proposal.id, vote, self._now)
                case PairEvent(peer, VoteWanted(proposal)):
                    vote = self.judge(proposal)
                    self.machine.answer_peer(peer, proposal.id, vote, self._now)
        return events + (self.poll_events() if events else [])

    def next_timeout(self) -> float | None:
        return self.machine.next_timeout()


class Cast:
    """A world of players who know each other's addresses."""

    def __init__(
        self,
        names: str,
        seed: int = 1,
        link: Link | None = None,
        judge: Judge = accept,
        config: MachineConfig | None = None,
    ) -> None:
        self.world = World(seed, link or Link(delay_s=0.01))
        self._own: dict[tuple[str, int], Member] = {}
        """Who each was to be when it last began to join a group."""
        identities: dict[str, Identity] = {}

        def factory(host: Host, now: float) -> Player:
            identity = identities.setdefault(host.name, Identity.generate(host.random_bytes))
            return Player(host, now, identity, judge, config or MachineConfig())

        self.hosts = {name: self.world.add(name, factory) for name in names}
        for name in names:
            self.introduce(name)

    def introduce(self, name: str) -> None:
        """Tell one where the others are."""
        for other in self.hosts.values():
            if other.name != name and other.up:
                self.machine(name).contacts.know(other.node.key, [other.address])

    def machine(self, name: str) -> Machine:
        machine: Machine = self.hosts[name].node.machine
        return machine

    def key(self, name: str) -> bytes:
        key: bytes = self.hosts[name].node.key
        return key

    def member(self, name: str) -> Member:
        return self.machine(name).me

    def member_in(self, name: str, number: int = NUMBER) -> Member:
        """Who a player is in a group, in its present life."""
        me = self.member(name)
        own = self._own.get((name, number), me)
        return own if life(own) == me.incarnation else me

    def do(self, name: str, action: Callable[[Machine, float], Result]) -> Result:
        """Something with a player's machine, and what follows from it at once."""
        return self.hosts[name].call(lambda player, now: action(player.machine, now))

    def until(self, condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Let time pass. Fails when it does not come true."""
        assert self.world.run(condition, limit_s=limit_s), f"not within {limit_s} s"

    def outputs(self, name: str, number: int = NUMBER) -> list[Output | TimedOut | ReadReady]:
        """What a group of a player has had to say, in all its lives."""
        return [
            event.output
            for _, event in self.hosts[name].events
            if isinstance(event, GroupEvent) and event.number == number
        ]

    def decisions(self, name: str, number: int = NUMBER) -> list[Decision]:
        return [o.decision for o in self.outputs(name, number) if isinstance(o, Decided)]

    def view(self, name: str, number: int = NUMBER) -> View | None:
        """The last one installed."""
        views = [o.view for o in self.outputs(name, number) if isinstance(o, Installed)]
        return views[-1] if views else None

    def in_view(self, names: str, number: int = NUMBER) -> bool:
        """Exactly these are in the view of each of them, in their present lives."""
        members = {self.member_in(name, number) for name in names}
        views = [self.view(name, number) for name in names]
        return all(view is not None and set(view.members) == members for view in views)

    def connect(self, one: str, other: str) -> None:
        """Have a presence, known to both. As a user would, it is tried again when it fails."""

        def known() -> bool:
            pairs = ((one, other), (other, one))
            return all(
                self.machine(x).contacts.lives.get(self.key(y)) == self.member(y).incarnation
                for x, y in pairs
            )

        for _ in range(ATTEMPTS):
            self.do(one, lambda m, now: m.connect(self.key(other), now, ATTEMPT_S))
            if self.world.run(known, limit_s=ATTEMPT_S + 1.0):
                return
        raise AssertionError(f"no presence of {one} and {other} in {ATTEMPTS} attempts")

    def admit(self, sponsor: str, joiner: str, number: int = NUMBER) -> int:
        """Begin an admission; returns the sponsor's handle."""
        self.begin_to_join(sponsor, joiner, number)
        where, own = [self.hosts[joiner].address], generation(self.member_in(joiner, number))
        handle: int = self.do(
            sponsor, lambda m, now: m.sponsor(number, self.key(joiner), where, now, None, own)
        )
        return handle

    def begin_to_join(self, sponsor: str, joiner: str, number: int = NUMBER) -> None:
        """The joiner's part of an admission."""
        self.connect(joiner, sponsor)
        own = self._own[joiner, number] = self.do(joiner, lambda m, _: m.own(number))
        theirs = generation(self.member_in(sponsor, number))
        key, config = self.key(sponsor), GroupConfig()
        self.do(joiner, lambda m, now: m.join(number, key, config, now, None, own, theirs))

    def gather(self, names: str, number: int = NUMBER) -> None:
        """The first founds a group, the others are admitted one by one."""
        first = names[0]
        self.do(first, lambda m, now: m.found(number, GroupConfig(), now))
        for count in range(2, len(names) + 1):
            here = names[:count]
            for attempt in range(ATTEMPTS):
                handle = self.admit(first, here[-1], number)
                self.until(
                    lambda here=here, handle=handle: (  # type: ignore[misc]
                        self.in_view(here, number) or self.refused(first, handle, number)
                    )
                )
                if self.in_view(here, number):
                    break
                # Until the joiner has heard of it, what it hears would end its next attempt.
                self.until(
                    lambda joiner=here[-1], told=attempt: (  # type: ignore[misc]
                        sum(isinstance(o, Ended) for o in self.outputs(joiner, number)) > told
                    )
                )
            else:
                raise AssertionError(f"{here[-1]} was refused {ATTEMPTS} times")

    def refused(self, sponsor: str, handle: int, number: int = NUMBER) -> bool:
        """A member could not reach the joiner in time: over a bad link that is an answer."""
        decision = self.outcome(sponsor, handle, number)
        return decision is not None and decision.outcome is not Outcome.COMMITTED

    def propose(self, name: str, body: bytes, number: int = NUMBER) -> int:
        """Returns the handle."""
        content = Content("work", body)
        handle: int = self.do(name, lambda m, now: m.propose(number, content, now))
        return handle

    def outcome(self, name: str, handle: int, number: int = NUMBER) -> Decision | None:
        """What became of an own proposal, if that is known."""
        for output in self.outputs(name, number):
            if isinstance(output, Decided) and output.handle == handle:
                return output.decision
        return None
