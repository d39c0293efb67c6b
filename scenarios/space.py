"""Exhaustive exploration of members joined by lanes, with interned and memoised states.

A world is a tuple of small integers: one for each member's interned state, one for each lane's
interned contents. What a member does with an input depends on its own state alone, so that
`(state, input) -> (state', sends)` is computed once and looked up ever after.

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
state shows is shown by an end state as well. Where a cycle closes, the state is explored in full.
A *missing reason* (`Checker.settle`) is not monotone; it is looked for at every state visited,
which is every state when `reduce` is off. Tests compare both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from scenarios.actor import Actor, Counterexample, Result, Step
from scenarios.checkers import Violation

__all__ = ["Actor", "Counterexample", "Result", "Space", "Step"]


class _Known:
    """An interned member state."""

    __slots__ = (
        "actor",
        "alive",
        "closed",
        "delivered",
        "kind",
        "log",
        "mark",
        "open_mask",
        "steps",
        "steps_with",
        "taken",
    )

    def __init__(self, actor: Actor, log: int, member: int, kinds: dict[Hashable, int]):
        self.actor = actor
        self.alive = actor.alive
        self.closed = actor.closed
        self.log = log
        self.mark = actor.mark
        inputs = actor.inputs() if actor.alive else ()
        self.steps: tuple[Step, ...] = tuple((member, "input", given) for given in inputs)
        still = sum(1 << other for other in actor.closed | actor.blocked)
        self.open_mask = ~still if self.alive else 0
        """The senders whose lanes to this member can deliver."""
        kind = (self.alive, still, len(self.steps))
        self.kind = kinds.setdefault(kind, len(kinds))
        """All that matters about a member for the choice of a stubborn set."""
        self.steps_with: dict[int, tuple[Step, ...]] = {}
        """All steps, by the mask of senders with something under way."""
        self.delivered: dict[int, _Effect] = {}
        """By the sender and the message, as one integer."""
        self.taken: dict[Hashable, _Effect] = {}


_Effect = tuple[int, tuple[tuple[int, tuple[int, ...]], ...], bool]
"""The next member state, what is sent to whom, and whether its mark changed."""
Check = Callable[[Sequence[Hashable]], None]
AtEnd = Callable[[Sequence[Any]], None]
State = tuple[int, ...]


class Space:
    """The reachable worlds of some actors.

    `check(logs)` raises Violation; `at_end(actors)` too, asked at states where nothing is
    possible any more.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        check: Check,
        at_end: AtEnd | None = None,
        *,
        reduce: bool = True,
    ):
        self.size = len(actors)
        self._check = check
        self._at_end = at_end
        self._reduce = reduce
        self._known: list[_Known] = []
        self._known_ids: dict[Hashable, int] = {}
        self._logs: list[Hashable] = []
        self._log_ids: dict[Hashable, int] = {}
        self._messages: list[Hashable] = []
        self._message_ids: dict[Hashable, int] = {}
        self._lanes: list[tuple[int, ...]] = [()]
        self._lane_ids: dict[tuple[int, ...], int] = {(): 0}
        self._pushed: dict[tuple[int, tuple[int, ...]], int] = {}
        self._popped: list[tuple[int, int]] = [(-1, 0)]
        self._checked: set[tuple[int, ...]] = set()
        self._steps = 0
        self._kinds: dict[Hashable, int] = {}
        self._choices: dict[tuple[tuple[int, int], ...], tuple[int, ...]] = {}
        """The members of the smallest stubborn set, by their kinds and what is under way."""
        self._inward: list[tuple[tuple[int, int], ...]] = [
            tuple(
                (self.size + sender * self.size + member, 1 << sender)
                for sender in range(self.size)
                if sender != member
            )
            for member in range(self.size)
        ]
        """For each member the places of the lanes to it, and the bits of their senders."""
        self.initial: State = (
            *(self._intern(actor, member) for member, actor in enumerate(actors)),
            *([0] * (self.size * self.size)),
        )

    def explore(self, states_max: int, violations_max: int = 1) -> Result:
        """Depth first from the beginning, until nothing new is left or a bound is reached."""
        began = time.process_time()
        result = Result()
        self._check_state(self.initial, result, [])
        on_stack = {self.initial}
        seen = {self.initial}
        stack: list[tuple[State, list[Step], tuple[int, ...]]] = []
        stack.append((self.initial, *self._choose(self.initial)))
        path: list[Step] = []
        capped = False
        successor = self._successor
        transitions = 0
        while stack:
            state, todo, left_out = stack[-1]
            if not todo:
                stack.pop()
                on_stack.discard(state)
                if path:
                    path.pop()
                continue
            step = todo.pop()
            after, reported = successor(state, step)
            transitions += 1
            if after in seen:
                if left_out and after in on_stack:  # A cycle: ignore nobody for ever.
                    todo += [s for member in left_out for s in self._possible(state, member)]
                    stack[-1] = (state, todo, ())
                continue
            if len(seen) >= states_max:
                capped = True
                break
            seen.add(after)
            on_stack.add(after)
            path.append(step)
            chosen, left_out = self._choose(after)
            if not chosen:
                result.ends += 1
            if (reported or not chosen) and not self._check_state(after, result, path, not chosen):
                if len(result.counterexamples) >= violations_max:
                    capped = True
                    break
                chosen, left_out = [], ()
            stack.append((after, chosen, left_out))
            if len(path) > result.depth:
                result.depth = len(path)
        result.transitions = transitions
        result.states = len(seen)
        result.closed = not capped
        result.member_states = len(self._known)
        result.member_steps = self._steps
        result.seconds = time.process_time() - began
        return result

    def replay(self, steps: Iterable[Step]) -> list[State]:
        """The states along some steps; steps that are not possible are passed over."""
        states = [self.initial]
        for step in steps:
            if step in self._possible(states[-1], step[0]):
                states.append(self._successor(states[-1], step)[0])
        return states

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

    def actors(self, state: State) -> list[Actor]:
        """The members of a state."""
        return [self._known[known].actor for known in state[: self.size]]

    def message_at(self, state: State, step: Step) -> Hashable:
        """The message that a delivery step takes from its lane in `state`."""
        lane = state[self.size + step[2] * self.size + step[0]]
        message: Hashable = self._messages[self._popped[lane][0]]
        return message

    def lane_length(self, state: State, sender: int, to: int) -> int:
        """How many messages are under way on a lane."""
        return len(self._lanes[state[self.size + sender * self.size + to]])

    def possible(self, state: State) -> list[Step]:
        """All steps of a state, without reduction."""
        return [step for j in range(self.size) for step in self._possible(state, j)]

    def check_now(self, state: State) -> None:
        """Checks the logs of a state. Raises Violation."""
        self._check([self._logs[self._known[known].log] for known in state[: self.size]])

    def _violation_of(self, steps: Sequence[Step]) -> Counterexample | None:
        taken: list[Step] = []
        state = self.initial
        for step in steps:
            if step not in self._possible(state, step[0]):
                continue
            state, reported = self._successor(state, step)
            taken.append(step)
            end = self._at_end is not None and not self.possible(state)
            if reported or end:
                try:
                    self.check_now(state)
                    if end and self._at_end is not None:
                        self._at_end(self.actors(state))
                except Violation as violation:
                    return Counterexample(violation, taken)
        return None

    def _check_state(
        self, state: State, result: Result, path: Sequence[Step], end: bool = False
    ) -> bool:
        key = tuple([self._known[known].log for known in state[: self.size]])
        try:
            if key not in self._checked:
                self._check([self._logs[log] for log in key])
                self._checked.add(key)
            if end and self._at_end is not None:
                self._at_end(self.actors(state))
        except Violation as violation:
            result.counterexamples.append(Counterexample(violation, list(path)))
            return False
        return True

    def _under_way(self, state: State, member: int) -> int:
        """The mask of senders with something for this member that it can take."""
        mask = 0
        for place, bit in self._inward[member]:
            if state[place]:
                mask |= bit
        return mask & self._known[state[member]].open_mask

    def _possible(self, state: State, member: int) -> tuple[Step, ...]:
        """All steps of one member."""
        known = self._known[state[member]]
        mask = self._under_way(state, member)
        steps = known.steps_with.get(mask)
        if steps is None:
            senders = [sender for sender in range(self.size) if mask >> sender & 1]
            steps = known.steps + tuple((member, "deliver", sender) for sender in senders)
            known.steps_with[mask] = steps
        return steps

    def _choose(self, state: State) -> tuple[list[Step], tuple[int, ...]]:
        """The steps of the smallest stubborn set, and the members that are not in it."""
        members = range(self.size)
        known = self._known
        key = tuple([(known[state[m]].kind, self._under_way(state, m)) for m in members])
        chosen = self._choices.get(key)
        if chosen is None:
            chosen = self._smallest(state) if self._reduce else tuple(members)
            self._choices[key] = chosen
        steps = [step for member in chosen for step in self._possible(state, member)]
        if len(chosen) == self.size:
            return steps, ()
        return steps, tuple(m for m in members if m not in chosen)

    def _smallest(self, state: State) -> tuple[int, ...]:
        """The members of a stubborn set with the fewest steps; all dead ones are left out."""
        size = self.size
        known = [self._known[state[member]] for member in range(size)]
        counts = [len(self._possible(state, member)) for member in range(size)]
        best: tuple[int, ...] = ()
        best_count = sum(counts) + 1
        for first in range(size):
            if not counts[first]:
                continue
            members, todo = [first], [first]
            while todo:
                j = todo.pop()
                waits = known[j].open_mask & ~self._under_way(state, j)
                for k in range(size):
                    if waits >> k & 1 and known[k].alive and k not in members:
                        members.append(k)
                        todo.append(k)
            count = sum(counts[m] for m in members)
            if count < best_count:
                best, best_count = tuple(members), count
        return best

    def _successor(self, state: State, step: Step) -> tuple[State, bool]:
        size = self.size
        member = step[0]
        known = self._known[state[member]]
        after = list(state)
        if step[1] == "deliver":
            sender = step[2]
            place = size + sender * size + member
            head, rest = self._popped[state[place]]
            after[place] = rest
            what = head * size + sender
            effect = known.delivered.get(what)
            if effect is None:
                actor, sends = known.actor.deliver(sender, self._messages[head])
                effect = known.delivered[what] = self._effect(known, actor, sends, member)
        else:
            effect = known.taken.get(step[2])
            if effect is None:
                actor, sends = known.actor.take(step[2])
                effect = known.taken[step[2]] = self._effect(known, actor, sends, member)
        new, sent, reported = effect
        after[member] = new
        for to, messages in sent:
            there = self._known[after[to]]
            if there.alive and member not in there.closed:
                place = size + member * size + to
                after[place] = self._push(after[place], messages)
        now = self._known[new]
        if now.closed is not known.closed:
            for sender in now.closed:
                after[size + sender * size + member] = 0
        if not now.alive:
            for sender in range(size):
                after[size + sender * size + member] = 0
        return tuple(after), reported

    def _effect(
        self,
        before: _Known,
        actor: Actor,
        sends: Sequence[tuple[int, Hashable]],
        member: int,
    ) -> _Effect:
        self._steps += 1
        grouped: dict[int, list[int]] = {}
        for to, message in sends:
            grouped.setdefault(to, []).append(self._message(message))
        new = self._intern(actor, member)
        return (
            new,
            tuple((to, tuple(messages)) for to, messages in sorted(grouped.items())),
            self._known[new].mark != before.mark,
        )

    def _message(self, message: Hashable) -> int:
        known = self._message_ids.get(message)
        if known is None:
            known = self._message_ids[message] = len(self._messages)
            self._messages.append(message)
        return known

    def _push(self, lane: int, messages: tuple[int, ...]) -> int:
        pushed = self._pushed.get((lane, messages))
        if pushed is None:
            pushed = self._lane(self._lanes[lane] + messages)
            self._pushed[(lane, messages)] = pushed
        return pushed

    def _lane(self, contents: tuple[int, ...]) -> int:
        known = self._lane_ids.get(contents)
        if known is None:
            rest = self._lane(contents[1:])
            known = self._lane_ids[contents] = len(self._lanes)
            self._lanes.append(contents)
            self._popped.append((contents[0], rest))
        return known

    def _intern(self, actor: Actor, member: int) -> int:
        key = (member, actor.key())
        known = self._known_ids.get(key)
        if known is None:
            log = self._log_ids.setdefault(actor.log, len(self._logs))
            if log == len(self._logs):
                self._logs.append(actor.log)
            known = self._known_ids[key] = len(self._known)
            self._known.append(_Known(actor, log, member, self._kinds))
        return known
