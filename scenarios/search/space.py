"""Exhaustive exploration of members joined by lanes, with interned and memoised states.

A world is a tuple of small integers: one for each member's interned state, one for each lane's
interned contents. What a member does with an input depends on its own state alone, so that
`(state, input) -> (state', sends)` is computed once and looked up ever after. Going from world to
world is then arithmetic, which `scenarios.native` does; it knows visited worlds by 126 bits of
hash, and asks here for steps that it does not know and for opinions on logs that it has not seen.

**Everything is local.** An input belongs to one member: the delivery of a lane's head to it, or
one of its own (a timer fires, its user proposes or answers, its transport falls silent about
somebody, it crashes). There are no shared budgets: who may crash and which links may be cut is
fixed when exploration begins (one run for each choice), so that inputs of different members never
compete. A member may *close* a lane towards it (what is in it and what will be sent is lost) or
*block* it (nothing is delivered for now).

**Commuting deliveries are explored once** (strong stubborn sets, Valmari). Two inputs of different
members commute: each changes its own member, takes from lanes into that member and appends to
lanes out of it; taking from and appending to a lane that is not empty commute, and so do
appending to a lane and closing it. An input of member j that is not possible now can become so by
j's own inputs or by an append to an empty lane k -> j, and by nothing else. So the inputs of a set
C of members are a strong stubborn set if for every j in C, every k whose lane to j is open, not
blocked and empty is dead or in C too; exploring only C's inputs then reaches every state in which
nothing is possible any more. Members' logs only grow, so a contradiction between logs that any
state shows is shown by an end state as well. A *missing reason* (`Checker.settle`) is not
monotone; it is looked for at every state visited, which is every state when `reduce` is off. Tests
compare both.

All that members do by themselves is bounded, so that a way round in a circle is made of deliveries
alone: messages without end, which is a violation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from scenarios.check.facts import Violation
from scenarios.native import load
from scenarios.search.actor import Actor, Counterexample, Result, Step

__all__ = ["Actor", "Counterexample", "Result", "Space", "Step", "World"]

Check = Callable[[Sequence[Hashable]], None]
AtEnd = Callable[[Sequence[Any]], None]
CheckActor = Callable[[Any], None]

_DELIVERY = 0x80000000


class World:
    """Members and what is under way between them, as a value. Slow, and simple: paths are replayed
    with it, and tests hold the explorer against it."""

    def __init__(self, actors: Sequence[Actor], lanes: dict[tuple[int, int], tuple[Hashable, ...]]):
        self.actors = tuple(actors)
        self.lanes = lanes
        """By sender and receiver; empty lanes are left out."""

    def possible(self) -> list[Step]:
        """All steps, in the explorer's order."""
        steps: list[Step] = []
        for member, actor in enumerate(self.actors):
            if not actor.alive:
                continue
            steps += [(member, "input", given) for given in actor.inputs()]
            still = actor.closed | actor.blocked
            steps += [
                (member, "deliver", sender)
                for sender in range(len(self.actors))
                if (sender, member) in self.lanes and sender not in still
            ]
        return steps

    def after(self, step: Step) -> World:
        """The world after one of its steps."""
        member, what, which = step
        lanes = dict(self.lanes)
        if what == "deliver":
            message, *rest = lanes.pop((which, member))
            if rest:
                lanes[(which, member)] = tuple(rest)
            actor, sends = self.actors[member].deliver(which, message)
        else:
            actor, sends = self.actors[member].take(which)
        for to, message in sends:
            there = self.actors[to]
            if there.alive and member not in there.closed:
                lanes[(member, to)] = (*lanes.get((member, to), ()), message)
        gone = actor.closed if actor.alive else range(len(self.actors))
        for sender in gone:
            lanes.pop((sender, member), None)
        actors = list(self.actors)
        actors[member] = actor
        return World(actors, lanes)

    def key(self) -> Hashable:
        """Equal keys have equal futures."""
        lanes = tuple(sorted(self.lanes.items(), key=lambda lane: lane[0]))
        return tuple(actor.key() for actor in self.actors), lanes


class Space:
    """The reachable worlds of some actors.

    `check(logs)` raises Violation; `at_end(actors)` too, asked at states where nothing is
    possible any more, and `check_actor(actor)`, asked once of each state of a member.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        check: Check,
        at_end: AtEnd | None = None,
        *,
        check_actor: CheckActor | None = None,
        reduce: bool = True,
    ):
        self.initial = World(actors, {})
        self._check_actor = check_actor
        self._check = check
        self._at_end = at_end
        self._reduce = reduce
        self._known: list[Actor] = []
        self._inputs: list[tuple[Hashable, ...]] = []
        """Of each known state, its own inputs."""
        self._bad: dict[int, Violation] = {}
        """Of known states, what is wrong with them by themselves."""
        self._known_ids: dict[Hashable, int] = {}
        self._log_ids: dict[Hashable, int] = {}
        self._messages: list[Hashable] = []
        self._message_ids: dict[Hashable, int] = {}
        self._steps = 0
        module = load()
        self._ffi: Any = module.ffi
        self._lib: Any = module.lib
        self._worlds: Any = None

    def explore(
        self, states_max: int, violations_max: int = 1, *, until_s: float | None = None
    ) -> Result:
        """Depth first from the beginning, until nothing new is left or a bound is reached: of
        states, of violations, or what the monotonic clock shows."""
        began = time.process_time()
        lib, actors = self._lib, self.initial.actors
        told = self._begin(states_max)
        result = Result()
        numbers = [self._intern(actor, member) for member, actor in enumerate(actors)]
        self._check_memory(lib.worlds_begin(self._worlds, numbers))
        self._look(numbers, result, news=True, end=False)
        capped = False
        while len(result.counterexamples) < violations_max:
            asked = lib.worlds_run(self._worlds)
            if asked == lib.WORLDS_STEP:
                self._step(told)
            elif asked == lib.WORLDS_LOOK:
                numbers = told.locals[0 : len(actors)]
                self._look(numbers, result, news=bool(told.news), end=bool(told.end))
            elif asked == lib.WORLDS_CYCLE:
                violation = Violation("8 liveness", range(len(actors)), "messages without end")
                result.counterexamples.append(Counterexample(violation, self._path()))
                break
            elif asked == lib.WORLDS_PAUSED:
                capped = until_s is not None and time.monotonic() >= until_s
                if capped:
                    break
            else:
                self._check_memory(asked == lib.WORLDS_NO_MEMORY)
                capped = asked == lib.WORLDS_CAPPED
                break
        self._finish(result, told)
        result.closed = not capped and not result.counterexamples
        result.seconds = time.process_time() - began
        return result

    def _begin(self, states_max: int) -> Any:
        """New worlds; what they tell."""
        lib, members = self._lib, len(self.initial.actors)
        made = lib.worlds_new(members, self._reduce, states_max)
        if made == self._ffi.NULL:
            raise ValueError(f"no worlds of {members} members")
        self._worlds = self._ffi.gc(made, lib.worlds_free)
        return lib.worlds_told(self._worlds)

    def _finish(self, result: Result, told: Any) -> None:
        result.states, result.transitions = told.states, told.transitions
        result.ends, result.depth = told.ends, told.depth
        result.member_states = len(self._known)
        result.member_steps = self._steps

    def replay(self, steps: Iterable[Step]) -> list[World]:
        """The worlds along some steps; steps that are not possible are passed over."""
        worlds = [self.initial]
        for step in steps:
            if step in worlds[-1].possible():
                worlds.append(worlds[-1].after(step))
        return worlds

    def shorten(self, found: Counterexample) -> Counterexample:
        """Leaves out steps that the violation does not need, one after the other."""
        best = found
        changed = True
        while changed:
            changed = False
            for at in range(len(best.steps) - 1, -1, -1):
                shorter = self._violation_of(best.steps[:at] + best.steps[at + 1 :])
                if shorter is not None and shorter.violation.invariant == (
                    found.violation.invariant
                ):
                    best, changed = shorter, True
                    break
        return best

    def check_now(self, world: World) -> None:
        """Checks the logs of a world. Raises Violation."""
        self._check([actor.log for actor in world.actors])

    def _violation_of(self, steps: Sequence[Step]) -> Counterexample | None:
        taken: list[Step] = []
        world = self.initial
        for step in steps:
            if step not in world.possible():
                continue
            before, world = world, world.after(step)
            taken.append(step)
            by_itself = self._violation_by(world.actors[step[0]])
            if by_itself is not None:
                return Counterexample(by_itself, taken)
            end = self._at_end is not None and not world.possible()
            if end or world.actors[step[0]].mark != before.actors[step[0]].mark:
                try:
                    self.check_now(world)
                    if end and self._at_end is not None:
                        self._at_end(world.actors)
                except Violation as violation:
                    return Counterexample(violation, taken)
        return None

    def _look(self, numbers: Sequence[int], result: Result, *, news: bool, end: bool) -> None:
        actors = [self._known[number] for number in numbers]
        try:
            for number in self._bad.keys() & numbers:
                raise self._bad[number]
            if news:
                self._check([actor.log for actor in actors])
            if end and self._at_end is not None:
                self._at_end(actors)
        except Violation as violation:
            result.counterexamples.append(Counterexample(violation, self._path()))

    def _path(self) -> list[Step]:
        """The steps to the world at hand."""
        count = self._lib.worlds_path(self._worlds, self._ffi.NULL, self._ffi.NULL, 0)
        members, inputs = self._ffi.new("uint32_t[]", count), self._ffi.new("uint32_t[]", count)
        self._lib.worlds_path(self._worlds, members, inputs, count)
        steps: list[Step] = []
        world = self.initial
        for member, given in zip(members, inputs, strict=True):
            if given & _DELIVERY:
                step: Step = (member, "deliver", given ^ _DELIVERY)
            else:
                step = (member, "input", tuple(world.actors[member].inputs())[given])
            steps.append(step)
            world = world.after(step)
        return steps

    # -- what members do ---------------------------------------------------------------------

    def _step(self, told: Any) -> None:
        """Answers what an input of a member comes to."""
        self._steps += 1
        before = self._known[told.local]
        if told.is_own:
            actor, sends = before.take(self._inputs[told.local][told.own])
        else:
            actor, sends = before.deliver(told.sender, self._messages[told.message])
        by_receiver: dict[int, list[int]] = {}
        for to, message in sends:
            by_receiver.setdefault(to, []).append(self._message(message))
        after = self._intern(actor, told.member)
        counts = [len(messages) for messages in by_receiver.values()]
        flat = [message for messages in by_receiver.values() for message in messages]
        # What is wrong with a state by itself is news, whatever its member says.
        reported = actor.mark != before.mark or after in self._bad
        to = list(by_receiver)
        failed = self._lib.worlds_effect(self._worlds, after, reported, len(to), to, counts, flat)
        self._check_memory(failed)

    def _message(self, message: Hashable) -> int:
        known = self._message_ids.setdefault(message, len(self._messages))
        if known == len(self._messages):
            self._messages.append(message)
        return known

    def _intern(self, actor: Actor, member: int) -> int:
        known = self._known_ids.setdefault((member, actor.key()), len(self._known))
        if known < len(self._known):
            return known
        inputs = tuple(actor.inputs()) if actor.alive else ()
        closed = sum(1 << other for other in actor.closed)
        still = sum(1 << other for other in actor.closed | actor.blocked)
        everybody = (1 << len(self.initial.actors)) - 1
        log = actor.log
        violation = self._violation_by(actor)
        if violation is not None:
            self._bad[known] = violation
            log = (log, known)  # It is looked at even if others with this log were.
        number: int = self._lib.worlds_local(
            self._worlds, actor.alive, everybody & ~still if actor.alive else 0, closed,
            len(inputs), self._log_ids.setdefault(log, len(self._log_ids)),
        )  # fmt: skip
        self._check_memory(number != len(self._known))
        self._known.append(actor)
        self._inputs.append(inputs)
        return number

    def _violation_by(self, actor: Actor) -> Violation | None:
        """What is wrong with a state of a member by itself."""
        if self._check_actor is not None:
            try:
                self._check_actor(actor)
            except Violation as violation:
                return violation
        return None

    @staticmethod
    def _check_memory(failed: Any) -> None:
        if failed:
            raise MemoryError("the explored space is too large for this machine's memory")
