"""Groups above ideal lanes in virtual time: seeded schedules, and coming to rest.

Lanes are first in, first out, and lose nothing between two live members; while a link is cut they
hold what is sent, and the members are told after a while. A crash loses the tail of every lane out
of the crashed member. Delays are drawn from a seeded generator, so every schedule can be replayed.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.types import Timer
from scenarios.check.bounds import check_group
from scenarios.check.history import Decided, Expelled, Lost, Proposed, Wedged
from scenarios.check.invariants import Checkers
from scenarios.check.liveness import Standing, check_liveness, left_open
from scenarios.stage.case import Act
from scenarios.stage.recorder import Recorder
from scenarios.stage.scene import Scene, accepted_next
from scenarios.stage.shell import Shell

__all__ = ["Stage", "Trace", "standing", "standings"]

SILENCE_S = 1.0
"""How long a dead or cut member goes unnoticed, like the transport's suspicion time."""

Trace = Callable[[float, int, str, Any, Sequence[tuple[int, Hashable]]], None]


class Stage:
    """Some members, stepped in place."""

    def __init__(
        self,
        scene: Scene,
        shells: Sequence[Shell],
        seed: str = "",
        *,
        delay_s: tuple[float, float] = (0.01, 0.01),
        checkers: Checkers | None = None,
    ):
        self.scene = scene
        self.shells = list(shells)
        self.now = 0.0
        self.steps = 0
        self.random = random.Random(seed)
        self.trace: Trace | None = None
        """Called as `trace(now, member, what, detail, sends)` after every step."""
        self.answer_s = 0.0
        """The longest a program takes for its vote."""
        self._delay_s = delay_s
        self._checkers = checkers
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self._arrivals: dict[tuple[int, int], float] = {}
        self._lanes: dict[tuple[int, int], deque[Any]] = {}
        self._cut: set[tuple[int, int]] = set()
        self._held: dict[tuple[int, int], int] = {}
        """How many messages came due on a lane while it was cut."""
        self._timers: dict[tuple[int, Timer], int] = {}
        for shell in self.shells:
            shell.armed_anew = list(shell.armed)
            self._after(shell, [])

    # What happens

    def act(self, member: int, act: Act) -> None:
        """A member's user does something now."""
        shell = self.shells[member]
        if shell.alive:
            shell.act(act)
            self._step(member, "act", act, shell.settle())

    def at(self, time_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Runs `action(*arguments)` at a time of this stage."""
        self._serial += 1
        heapq.heappush(self._heap, (time_s, self._serial, action, arguments))

    def crash(self, member: int) -> None:
        """The member is gone; a random tail of what it sent to each other is lost."""
        shell = self.shells[member]
        if not shell.alive:
            return
        shell.alive = False
        self._step(member, "crash", None, [])
        for other in range(len(self.shells)):
            if other == member:
                continue
            lane = self._lanes.get((member, other))
            if lane:
                for _ in range(self.random.randint(0, len(lane))):
                    lane.pop()
            self.at(self.now + SILENCE_S, self._notice, other, member, False)

    def cut(self, listener: int, speaker: int) -> None:
        """The listener hears the speaker no more, and is told after SILENCE_S."""
        if (speaker, listener) not in self._cut:
            self._cut.add((speaker, listener))
            self.at(self.now + SILENCE_S, self._notice, listener, speaker, False)

    def heal(self) -> None:
        """All links carry again, what was held included."""
        cut, self._cut = self._cut, set()
        for (sender, to), count in sorted(self._held.items()):
            for _ in range(count):
                self.at(self.now, self._arrive, sender, to)
        self._held.clear()
        for speaker, listener in sorted(cut):
            if self.shells[speaker].alive:
                self._notice(listener, speaker, True)

    def run(self, until_s: float, steps_max: int = 100_000) -> bool:
        """Lets time pass; False if there were more steps than allowed."""
        end = self.steps + steps_max
        while self._heap and self._heap[0][0] <= until_s:
            time_s, _, action, arguments = heapq.heappop(self._heap)
            self.now = max(self.now, time_s)
            action(*arguments)
            if self.steps > end:
                return False
        self.now = max(self.now, until_s)
        return True

    def check_rest(self) -> None:
        """Raises the violation of liveness if somebody has not come to rest."""
        check_liveness(standings(self.scene, self.shells), self.scene.case.config.casting_vote)

    # How it happens

    def _step(
        self, member: int, what: str, detail: Any, sends: Sequence[tuple[int, Hashable]]
    ) -> None:
        self.steps += 1
        if self.trace is not None:
            self.trace(self.now, member, what, detail, sends)
        shell = self.shells[member]
        if self._checkers is not None:
            name = self.scene.names[member]
            for event in shell.events:
                self._checkers.observe(name, event)
            self._checkers.settle()
            check_group(name, shell.group)
        shell.events.clear()
        self._after(shell, sends)

    def _after(self, shell: Shell, sends: Sequence[tuple[int, Hashable]]) -> None:
        for to, message in sends:
            if to < len(self.shells):  # What users tell each other is of no use here.
                self._carry(shell.me, to, message)
        if shell.armed_anew:
            for timer in dict.fromkeys(shell.armed_anew):
                if timer in shell.armed:
                    self._serial += 1
                    self._timers[(shell.me, timer)] = self._serial
                    due = self.now + shell.armed[timer]
                    self.at(due, self._fire, shell.me, timer, self._serial)
            shell.armed_anew.clear()
        if shell.pending:
            for proposal, votes in shell.pending:
                vote = self.random.choice(votes) if len(votes) > 1 else votes[0]
                wait = self.random.random() * self.answer_s
                self.at(self.now + wait, self._answer, shell.me, proposal, vote)
            shell.pending = ()

    def _carry(self, sender: int, to: int, message: Any) -> None:
        lane = (sender, to)
        low, high = self._delay_s
        arrives = self.now + (low if low == high else self.random.uniform(low, high))
        arrives = self._arrivals[lane] = max(arrives, self._arrivals.get(lane, 0.0))
        self._lanes.setdefault(lane, deque()).append(message)
        self.at(arrives, self._arrive, sender, to)

    def _arrive(self, sender: int, to: int) -> None:
        """The head of a lane is due: whichever message that is, so that none overtakes."""
        lane = (sender, to)
        if lane in self._cut:
            self._held[lane] = self._held.get(lane, 0) + 1
        elif self._lanes[lane]:
            message = self._lanes[lane].popleft()
            shell = self.shells[to]
            if shell.alive and sender not in shell.closed:
                self._step(to, "deliver", (sender, message), shell.receive(sender, message))

    def _fire(self, member: int, timer: Timer, serial: int) -> None:
        shell = self.shells[member]
        if shell.alive and timer in shell.armed and self._timers.get((member, timer)) == serial:
            del self._timers[(member, timer)]
            self._step(member, "fire", timer, shell.happen(("fire", timer)))

    def _answer(self, member: int, proposal: Any, vote: Any) -> None:
        shell = self.shells[member]
        if shell.alive:
            shell.group.answer(proposal, vote)
            self._step(member, "answer", (proposal, vote), shell.settle())

    def _notice(self, listener: int, speaker: int, up: bool) -> None:
        shell = self.shells[listener]
        still = up or (speaker, listener) in self._cut or not self.shells[speaker].alive
        if shell.alive and still:
            self._step(listener, "hear" if up else "silence", speaker, shell.hear(speaker, up))


def standings(scene: Scene, shells: Sequence[Shell]) -> list[Standing]:
    """Where everybody stands."""
    return [
        standing(scene.names[shell.me], shell.recorder, shell.group, alive=shell.alive)
        for shell in shells
    ]


def standing(name: Any, recorder: Recorder, group: Group, *, alive: bool) -> Standing:
    """Where one member stands, from what it reported and what its group holds."""
    reports = recorder.reports
    ended: Literal["", "crashed", "left", "expelled", "lost"] = ""
    if any(isinstance(event, Lost) for event in reports):
        ended = "lost"
    elif any(isinstance(event, Expelled) for event in reports):
        decided = [event for event in reports if isinstance(event, Decided)]
        own = any(e.subject == name and e.kind == "leave" for e in decided)
        ended = "left" if own else "expelled"
    elif not alive:
        ended = "crashed"
    elif group.phase == Phase.ENDED:
        ended = "left"  # Its user gave it up.
    view = max(recorder.views, default=0)
    settled = {event.id for event in reports if isinstance(event, Decided)}
    proposed = [event.id for event in recorder.said if isinstance(event, Proposed)]
    return Standing(
        name,
        view,
        recorder.views.get(view, ()),
        tuple(sorted(id for id in proposed if id not in settled)),
        wedged=Wedged(view) in recorder.said,
        accepted=accepted_next(group),
        ended=ended,
        joining=not recorder.views,
        left=left_open(group),
        lingering=alive and group.phase == Phase.OUT,
    )
