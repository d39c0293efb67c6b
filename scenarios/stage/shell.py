"""One member's group with its surroundings: its user, its timers, what its transport tells it.

The same object is stepped in place by seeded schedules (`scenarios.stage`) and, copied before
each step, by the explorer (`scenarios.search.space`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

from consensus.core import outputs as out
from consensus.core.engine.group import Group
from consensus.core.errors import GroupError
from consensus.core.numbers import Index
from consensus.core.types import Content, Outcome, Timer, Vote
from scenarios.check.history import Event
from scenarios.stage.case import Act
from scenarios.stage.recorder import Recorder
from scenarios.stage.scene import Scene, abandon

__all__ = ["Shell"]
OUTPUT_ROUNDS_MAX = 10_000
"""A group that answers itself more often than this within one step does not come to an end."""

NOTHING: frozenset[Any] = frozenset()


class Shell:
    """One member. See `space.Actor` for what the explorer asks of it."""

    __slots__ = (
        "_key",
        "_log",
        "alive",
        "armed",
        "armed_anew",
        "blocked",
        "closed",
        "due",
        "ended",
        "events",
        "fires",
        "group",
        "lease",
        "may_crash",
        "me",
        "pending",
        "plan",
        "reading",
        "recorder",
        "scene",
        "silences",
    )

    def __init__(self, scene: Scene, me: int, group: Group):
        name = scene.names[me]
        self.scene = scene
        self.me = me
        self.group = group
        self.recorder = Recorder(name)
        self.armed: dict[Timer, float] = {}
        """The armed timers and their delays in seconds."""
        self.armed_anew: list[Timer] = []
        """Timers armed since whoever schedules them looked last."""
        self.events: list[Event] = []
        """What happened since whoever checks looked last."""
        self.pending: tuple[tuple[Any, tuple[Vote, ...]], ...] = ()
        self.plan: tuple[Act, ...] = ()
        self.fires: tuple[tuple[str, int], ...] = ()
        self.silences: tuple[tuple[int, str], ...] = ()
        """Whom it may stop to hear: `(member, "for good" | "for a while" | "over")`."""
        self.reading: tuple[tuple[int, int], ...] = ()
        """The handles of reads that wait, with what was known to be committed when they began."""
        self.lease = 0
        """The question whose lease it holds; leases do not run out while a case is explored."""
        self.may_crash = False
        self.alive = True
        self.ended = False
        """Its group is over; its node lives, and the group tells so whoever still speaks to it."""
        self.due = False
        """It had inputs since it was polled last (of cases that gather them)."""
        self.closed: frozenset[int] = NOTHING
        self.blocked: frozenset[int] = NOTHING
        self._key: Hashable = None
        self._log: Hashable = None

    def set_bounds(self) -> None:
        """What the case and its faults allow this member, from now on."""
        scene, name = self.scene, self.scene.names[self.me]
        self.plan = tuple(scene.case.plans.get(name, ()))
        self.fires = tuple(sorted(scene.case.fires.items()))
        self.may_crash = name in scene.faults.crashed
        silences = [
            (scene.index[speaker], "for a while" if scene.faults.heals else "for good")
            for listener, speaker in scene.faults.cuts
            if listener == name
        ]
        silences += [
            (scene.index[other], "for good") for other in scene.faults.crashed if other != name
        ]
        self.silences = tuple(silences)

    # As the explorer sees it

    def copy(self) -> Shell:
        """An independent copy."""
        twin: Shell = Shell.__new__(Shell)
        twin.scene = self.scene
        twin.me = self.me
        twin.group = self.group.fork()
        twin.recorder = self.recorder.copy()
        twin.armed = dict(self.armed)
        twin.armed_anew = []
        twin.events = []
        twin.pending = self.pending
        twin.plan = self.plan
        twin.fires = self.fires
        twin.silences = self.silences
        twin.reading = self.reading
        twin.lease = self.lease
        twin.may_crash = self.may_crash
        twin.alive = self.alive
        twin.ended = self.ended
        twin.due = self.due
        twin.closed = self.closed
        twin.blocked = self.blocked
        twin._key = None
        twin._log = None
        return twin

    @property
    def log(self) -> Hashable:
        """Its history."""
        if self._log is None:
            self._log = self.recorder.log()
        return self._log

    def key(self) -> Hashable:
        """Equal keys behave equally and have equal logs."""
        if self._key is None:
            if not self.alive:
                self._key = ("dead", self.log)
            else:
                self._key = (
                    self.group.state(),
                    self.log,
                    frozenset(self.armed),
                    self.pending,
                    self.plan,
                    self.fires,
                    self.silences,
                    self.may_crash,
                    self.reading,
                    self.lease,
                    self.due,
                    self.closed,
                    self.blocked,
                )
        return self._key

    def inputs(self) -> list[Hashable]:
        """What may happen to it besides deliveries."""
        if not self.alive:
            return []
        found: list[Hashable] = [("poll",)] if self.due else []
        if self.ended:
            return [*found, ("crash",)] if self.may_crash else found
        if self.plan:
            found.append(("act", self.plan[0]))
        for proposal, votes in self.pending:
            found += [("answer", proposal, vote) for vote in votes]
        for name, left in self.fires:
            if left:
                found += [("fire", timer) for timer in self.armed if timer.name == name]
        for other, how in self.silences:
            if how == "healing":
                found.append(("heard", other))
            elif how != "over":
                found.append(("silent", other))
        if self.may_crash:
            found.append(("crash",))
        return found

    def take(self, given: Any) -> tuple[Shell, Sequence[tuple[int, Hashable]]]:
        """A copy after one of its own inputs, and what it sends."""
        twin = self.copy()
        if given[0] == "poll":
            return twin, twin.poll()
        twin.enter(given)
        return twin, twin.after_input()

    def deliver(self, sender: int, message: Any) -> tuple[Shell, Sequence[tuple[int, Hashable]]]:
        """A copy after a message, and what it sends."""
        twin = self.copy()
        twin.enter_message(sender, message)
        return twin, twin.after_input()

    def after_input(self) -> list[tuple[int, Hashable]]:
        """Settles, or waits to be polled if the case gathers inputs; returns what is sent."""
        self.due = self.alive and self.scene.case.gathers
        return self.settle() if self.alive and not self.due else []

    @property
    def mark(self) -> Hashable:
        """Changes when something was reported, or said when it must not be."""
        return self.recorder.reports, self.recorder.late

    # In place

    def receive(self, sender: int, message: Any) -> list[tuple[int, Hashable]]:
        """A message comes in; returns what is sent."""
        self.enter_message(sender, message)
        return self.settle()

    def enter_message(self, sender: int, message: Any) -> None:
        """A message comes in."""
        if sender == self.scene.outside:
            self.read(message[1])
        else:
            self.group.receive(self.scene.names[sender], message)

    def happen(self, given: Any) -> list[tuple[int, Hashable]]:
        """One of `inputs` happens; returns what is sent."""
        self.enter(given)
        return self.settle() if self.alive else []

    def enter(self, given: Any) -> None:
        """One of `inputs` happens, but for a poll."""
        what = given[0]
        if what == "act":
            self.plan = self.plan[1:]
            self.act(given[1])
        elif what == "answer":
            self.pending = tuple(pair for pair in self.pending if pair[0] != given[1])
            self.group.answer(given[1], given[2])
        elif what == "fire":
            self.fires = tuple((name, left - (name == given[1].name)) for name, left in self.fires)
            self.armed.pop(given[1], None)
            self.group.fire(given[1])
        elif what == "silent":
            self._silent(given[1])
        elif what == "heard":
            self.heard(given[1])
        elif what == "crash":
            self.alive = False

    def act(self, act: Act) -> None:
        """Its user does something; what the group refuses is over."""
        whom: Any = act.whom
        try:
            if act.what == "propose":
                self.group.propose(Content("test", whom.encode()))
            elif act.what == "kick":
                self.group.kick(whom, "disliked")
            elif act.what == "sponsor":
                self.group.sponsor(whom, b"")
            elif act.what == "read":
                self.read(0)
            elif act.what == "abandon":
                abandon(self.group)
            else:
                self.group.leave()
        except GroupError:
            return

    @property
    def leased(self) -> bool:
        """Whether it may read by its lease."""
        return self.lease != 0 and self.lease == self.group.lease

    def read(self, floor: int) -> None:
        """Its user begins a read, knowing that `floor` is committed."""
        try:
            handle = self.group.read(self.leased)
        except GroupError:
            return
        self.reading += ((handle, floor),)

    def hear(self, other: int, up: bool) -> list[tuple[int, Hashable]]:
        """Its transport hears somebody, or has stopped to; returns what is sent."""
        if self.ended:
            return []
        self.group.link(self.scene.names[other], up)
        return self.settle()

    def heard(self, other: int) -> None:
        """A silence is over."""
        self.silences = tuple((who, "over" if who == other else how) for who, how in self.silences)
        self.blocked -= {other}
        self.group.link(self.scene.names[other], True)

    def _silent(self, other: int) -> None:
        how = dict(self.silences)[other]
        after = "healing" if how == "for a while" else "over"
        self.silences = tuple((who, after if who == other else how) for who, how in self.silences)
        if how == "for a while":
            self.blocked |= {other}
        else:
            self.closed |= {other}
        self.group.link(self.scene.names[other], False)

    def settle(self) -> list[tuple[int, Hashable]]:
        """Does what the group asks for until it asks for nothing; returns what is sent."""
        sends: list[tuple[int, Hashable]] = []
        for _ in range(OUTPUT_ROUNDS_MAX):
            outputs = self.group.poll()
            if not outputs:
                break
            sends += self._carry_out(outputs)
        else:
            raise RuntimeError(f"{self.scene.names[self.me]} does not come to an end")
        self.due = False
        return sends

    def poll(self) -> list[tuple[int, Hashable]]:
        """Does what the group asks for once; returns what is sent."""
        outputs = self.group.poll()
        # To these an answer may be given at once: an input, for the next poll.
        self.due = any(type(output) in self._ASKING for output in outputs)
        return self._carry_out(outputs)

    def _carry_out(self, outputs: Sequence[out.Output]) -> list[tuple[int, Hashable]]:
        sends: list[tuple[int, Hashable]] = []
        index = self.scene.index
        self.events += self.recorder.take(outputs)
        if self.scene.tellers:
            sends += self._tell(outputs)
        for output in outputs:
            if type(output) is out.Send:
                sends.append((index[output.to], output.message))
            elif type(output) is out.Arm:
                self.armed[output.timer] = output.delay_s
                self.armed_anew.append(output.timer)
            elif type(output) is out.Disarm:
                self.armed.pop(output.timer, None)
            elif type(output) is out.Readable:
                self._readable(output.handle)
            else:
                answer = self._ANSWERS.get(type(output))
                if answer is not None:
                    answer(self, output)
        return sends

    def _tell(self, outputs: Sequence[out.Output]) -> list[tuple[int, Hashable]]:
        """What its user tells others about what it just saw committed."""
        if self.scene.names[self.me] not in self.scene.tellers:
            return []
        return [
            (self.scene.outside, ("told", output.decision.index))
            for output in outputs
            if type(output) is out.Decided and output.decision.outcome is Outcome.COMMITTED
        ]

    def _readable(self, handle: int) -> None:
        floor = dict(self.reading)[handle]
        self.reading = tuple(pair for pair in self.reading if pair[0] != handle)
        self.events += self.recorder.read(floor)

    def _lease_granted(self, output: out.LeaseGranted) -> None:
        self.lease = output.number

    def _vote_wanted(self, output: out.VoteWanted) -> None:
        proposal = output.proposal
        votes = self.scene.case.votes_of(self.scene.names[self.me], proposal.content.body)
        if self.scene.case.prompt and len(votes) == 1:
            self.group.answer(proposal.id, votes[0])
        elif votes:  # With none its program never answers.
            self.pending += ((proposal.id, votes),)

    def _decided(self, output: out.Decided) -> None:
        self.pending = tuple(pair for pair in self.pending if pair[0] != output.decision.id)

    def _installed(self, output: out.Installed) -> None:
        self.pending = ()

    def _reach_wanted(self, output: out.ReachWanted) -> None:
        candidate: Any = output.candidate.member
        pair = (self.scene.names[self.me], candidate)
        self.group.reached(candidate, pair not in self.scene.case.unreachable)

    def _snapshot_wanted(self, output: out.SnapshotWanted) -> None:
        self.group.snapshot(output.joiner, Index(self.recorder.index), b"state")

    def _ended(self, output: out.Ended) -> None:
        self.ended = True
        self.armed = {}
        self.pending = ()
        self.blocked = NOTHING

    _ANSWERS: ClassVar[dict[type, Callable[[Shell, Any], None]]] = {
        out.LeaseGranted: _lease_granted,
        out.VoteWanted: _vote_wanted,
        out.Decided: _decided,
        out.Installed: _installed,
        out.ReachWanted: _reach_wanted,
        out.SnapshotWanted: _snapshot_wanted,
        out.Ended: _ended,
    }
    _ASKING = frozenset((out.VoteWanted, out.ReachWanted, out.SnapshotWanted))
