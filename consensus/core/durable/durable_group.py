"""A group that outlives its process: rebuilt from what it was given, with lanes that outlive it.

A group is a function of what it is given, so what it was given is all that has to be on disk. A
`DurableGroup` stands in a group's place and writes down every input. A **turn** is what came in
until the group was polled; its **record** leaves with `Persist` and its outputs stay here until
`persisted` says that the record is on the disk. So nothing that depends on an input, be it a vote,
a promise or a reported outcome, is seen by anybody before the input would survive.

Replaying the records gives the same group, to the last mark, and the same messages in the same
order. To its own group and to the others' a crash is then nothing but a pause, if the lanes hold:
first in, first out, exactly once, between the two lives: see `durable_line`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

from consensus.core.config import GroupConfig
from consensus.core.durable.durable_line import (
    SEEN_EVERY,
    UNSEEN_MAX,
    Line,
    Lines,
    PastDisk,
    to_stranger,
)
from consensus.core.durable.turns import Turn, lasting, on_waking
from consensus.core.engine.group import Group
from consensus.core.engine.state_codec import (
    DIGEST_SIZE,
    FrozenError,
    LogDamaged,
    chained,
    freeze,
    thaw,
)
from consensus.core.errors import GroupError
from consensus.core.evidence.notary import Notary
from consensus.core.message_fields import ResumeMessage, SeenMessage
from consensus.core.message_kinds import RESUME, SEEN, STALL, STALLED, VOUCH, Message, message_of
from consensus.core.numbers import Clock, Index, ViewNumber
from consensus.core.outputs import (
    Arm,
    Disarm,
    Ended,
    Installed,
    Lost,
    Output,
    Persist,
    ReachWanted,
    Send,
)
from consensus.core.types import Member, Timer

CHECKPOINT_EVERY = 2048
"""Turns after which the whole state is written down, and the records before it are void."""

INPUTS = (
    "propose", "answer", "receive", "accuse", "fire", "sponsor", "kick", "leave", "reached",
    "snapshot", "link", "lost", "read", "renew_lease", "cancel_read", "stalled",
)  # fmt: skip
"""The inputs of a group and its notary; the position stands in the records: add at the end."""
_CODES = {name: code for code, name in enumerate(INPUTS)}
_RECEIVE, _STALLED = _CODES["receive"], _CODES["stalled"]


class DurableGroup(PastDisk):
    """Stands in the place of a group: the same inputs, and `poll`. What else is asked of a group
    is passed on to it."""

    def __init__(self, group: Group, notary: Notary | None) -> None:
        self.group = group
        self.notary = notary
        self.seq = 0
        """The last turn's number."""
        self._origin = chained(b"", 0, freeze([group.me, notary.group if notary else b""]))
        """Whose log of which group it is: a record of another's does not fit."""
        self._digest = self._origin
        self._inputs: list[tuple[int, tuple[Any, ...]]] = []
        self._turns: deque[Turn] = deque()
        self._stored = 0
        self._lines = Lines()
        self._touched: dict[Member, None] = {}
        """Members heard in the open turn."""
        self._timers: dict[Timer, float] = {}
        self._before: tuple[Member, ...] = ()
        """The members of the view installed last."""
        self._control: list[Output] = []
        """What may leave at once: it depends on nothing that is not on disk."""
        self._fresh = True
        """Nothing was polled in this life of the object."""

    def as_group(self) -> Group:
        """This, as what it stands in the place of."""
        return cast(Group, self)

    # -- inputs ------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Inputs are written down; whatever else a group can be asked is answered by it.
        code = _CODES.get(name)
        if code is None:
            return getattr(self.group, name)

        def given(*arguments: Any) -> Any:
            self._inputs.append((code, arguments))
            return self._apply(name, arguments)

        return given

    def _apply(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "fire":
            self._timers.pop(arguments[0], None)
        elif name == "receive":
            sender, message = arguments
            self._lines.of(sender).received += 1
            if message.kind < VOUCH:
                self.group.receive(sender, message)
            elif self.notary is not None:
                self.notary.receive(sender, message)
            return None
        return getattr(self.group, name)(*arguments)

    def receive(self, sender: Member, message: Message) -> None:
        """The next message on the lane from `sender`, of its group or its notary."""
        line = self._lines.get(sender)
        if line is None:
            if not self._lines.may_begin(self.group, sender):
                self._turn_away(sender, message)
                return
            line = self._lines.of(sender)
        if message.kind == RESUME:
            self._on_resume(sender, line, message)
        elif message.kind == SEEN:
            self._on_seen(sender, line, message.stored)
        elif line.open and message.kind == STALLED:
            self.stalled(sender, message)
        elif line.open:
            self._touched[sender] = None
            self._inputs.append((_RECEIVE, (sender, message)))
            self._apply("receive", (sender, message))
            if message.kind == STALL:
                self._answer_stall(sender, message)

    def accuse(self, sender: Member, what: str) -> None:
        """What was no message at all. Of nobody it is no matter."""
        if sender in self.group.view.members:
            self.__getattr__("accuse")(sender, what)

    @property
    def caught_up(self) -> bool:
        """As the group's: what it has delivered and is held back here counts as not delivered."""
        return not self._inputs and not self._turns and self.group.caught_up

    # -- turns -------------------------------------------------------------------------------

    def poll(self) -> list[Output]:
        """What may be done now, in order: what is on disk, and what is to be written down."""
        outputs: list[Output] = self._control
        self._control = []
        while self._turns and self._turns[0].seq <= self._stored:
            self._release(self._turns.popleft(), outputs)
        if self._inputs or self._fresh:
            outputs.append(self._end_turn())
        return outputs

    def persisted(self, seq: int) -> None:
        """Records up to this one are on disk."""
        self._stored = max(self._stored, seq)

    def _end_turn(self) -> Persist:
        self._fresh = False
        inputs, self._inputs = self._inputs, []
        outputs = self._poll_group()
        self.seq += 1
        payload = freeze(inputs)
        record = self._sealed(payload)
        touched, self._touched = self._touched, {}
        received = {m: self._lines[m].received for m in touched if m in self._lines}
        self._turns.append(Turn(self.seq, outputs, received))
        due = self.seq % CHECKPOINT_EVERY == 0 or any(type(o) is Installed for o in outputs)
        checkpoint = self._checkpoint() if due else None
        return Persist(self.seq, record, *lasting(outputs), checkpoint)

    def _poll_group(self) -> list[Output]:
        """Poll the group, and take note of what a later life of this object must know."""
        outputs = self.group.poll()
        if self.notary is not None:
            outputs = self.notary.accompany(outputs)
        for output in outputs:
            if type(output) is Send:
                self._lines.of(output.to).kept.append(output.message)
            elif type(output) is Arm:
                self._timers[output.timer] = output.delay_s
            elif type(output) is Disarm:
                self._timers.pop(output.timer, None)
            elif type(output) is Ended:
                self._timers.clear()
            elif type(output) is Installed:
                self._renew(output.view.members)
            elif type(output) is ReachWanted:
                self._meet(output.candidate.member)
        return outputs

    def _renew(self, members: tuple[Member, ...]) -> None:
        """What is kept for those neither in this view nor in the one before goes when it is too
        much: some of them may still be about to join."""
        self._lines.keep(self.group.acquaintances)
        self._lines.bound_outside({*members, *self._before})
        self._before = members
        for member in members:
            self._meet(member)

    def _release(self, turn: Turn, into: list[Output]) -> None:
        for output in turn.outputs:
            if type(output) is Send:
                line = self._lines.get(output.to)
                if line is not None:
                    line.release()
                    if len(line.kept) > UNSEEN_MAX:
                        self._give_up(output.to)
                    if not line.open:
                        continue
            into.append(output)
        for member, count in turn.received.items():
            line = self._lines.get(member)
            if line is None:
                continue
            line.stored = count
            if line.open and count - line.seen >= SEEN_EVERY:
                line.seen = count
                into.append(Send(member, SeenMessage(SEEN, *self._head(), count)))

    # -- lanes -------------------------------------------------------------------------------

    def _turn_away(self, sender: Member, message: Message) -> None:
        """Nobody here, as far as this member knows (DL6)."""
        self._lines.turn_away(sender)
        answer = to_stranger(self.group, message)
        if answer is not None:
            self._control.append(Send(sender, answer))

    def _meet(self, member: Member) -> None:
        """It is somebody from here on: what it has said before is asked for."""
        if self._lines.is_unheard(member) and member != self.group.me:
            line = self._lines.of(member)
            line.open = False
            self._say_resume(member, line, answer=False)

    def _head(self) -> tuple[ViewNumber, Clock, Index]:
        return self.group.view.number, Clock(0), self.group.index

    def lined(self, key: bytes) -> list[Member]:
        """The members of this key whose messages are counted."""
        return [member for member in self._lines if member.key == key]

    def lane_began(self, member: Member) -> None:
        """The transport has a lane to this life of a member that is not the one there was."""
        line = self._lines.get(member)
        if line is not None:
            # What was to go on the lane before would be taken for something said on this one.
            self._control = [o for o in self._control if type(o) is not Send or o.to != member]
            line.open = False
            self._say_resume(member, line, answer=False)

    def _say_resume(self, member: Member, line: Line, *, answer: bool) -> None:
        said = line.received, int(answer)
        self._control.append(Send(member, ResumeMessage(RESUME, *self._head(), *said)))

    def _on_resume(self, member: Member, line: Line, message: ResumeMessage) -> None:
        count, is_answer = message.received, message.is_answer
        if is_answer and line.open:
            return  # Both asked at once: its question has said it already.
        if not is_answer:
            self._say_resume(member, line, answer=True)
        if count > line.sent:
            line.open = False  # Nothing goes to whom this life may have said something else.
            self._forgotten(member)
        elif count < line.base:
            self._give_up(member)
        else:
            self._control += [Send(member, message) for message in line.reopen(count)]

    def _on_seen(self, member: Member, line: Line, count: int) -> None:
        if count > line.sent:
            self._forgotten(member)
            return
        line.forget(count)

    def _give_up(self, member: Member) -> None:
        """What it lacks is not here any more: it cannot be in step again."""
        self._lines[member].drop()
        self.lost(member)

    def _forgotten(self, member: Member) -> None:
        """A member has more of this life than this life knows of itself."""
        if member not in self.group.view.members:
            return  # Nobody whose word counts.
        self._control += [Lost("this member's file is older than what it has said"), Ended()]
        self._turns.clear()
        self.group.stop()

    # -- the log -----------------------------------------------------------------------------

    def _sealed(self, payload: bytes) -> bytes:
        """A record: its digest, over the one before as well, and the payload."""
        self._digest = chained(self._digest, self.seq, payload)
        return self._digest + payload

    def _checkpoint(self) -> bytes:
        state = self.group.remembered()
        lines = {m: (list(li.kept), li.base, li.received) for m, li in self._lines.items()}
        evidence = None if self.notary is None else self.notary.remembered()
        payload = freeze(
            [self.seq, self._digest, state, lines, self._timers, self._before, evidence]
        )
        return chained(self._origin, 0, payload) + payload

    @classmethod
    def resume(
        cls,
        me: Member,
        config: GroupConfig,
        begin: Callable[[], Group],
        notary: Notary | None,
        checkpoint: bytes | None,
        records: Iterable[tuple[int, bytes]],
        kind: type[Group] = Group,
    ) -> DurableGroup:
        """The group as its last record left it. `begin` makes it as it was at first; `records` are
        (seq, record) in order, those at or below the checkpoint's are skipped. Raises LogDamaged.

        No lane is open; `poll` gives what the shell needs to go on (`Installed`, timers, votes).
        """
        durable = cls(begin() if checkpoint is None else kind(me, config), notary)
        try:
            if checkpoint is not None:
                durable._restore(checkpoint)
            for seq, record in records:
                if seq > durable.seq:
                    durable._replay(seq, record)
        except (TypeError, KeyError, IndexError, AttributeError, AssertionError) as error:
            raise LogDamaged(f"what is written does not fit the group: {error!r}") from error
        durable._wake()
        return durable

    def _restore(self, checkpoint: bytes) -> None:
        payload = checkpoint[DIGEST_SIZE:]
        if chained(self._origin, 0, payload) != checkpoint[:DIGEST_SIZE]:
            raise LogDamaged("the checkpoint is damaged, or not of this member and group")
        try:
            self.seq, self._digest, state, lines, *rest = thaw(payload)
            self._timers, self._before, evidence = rest
        except (FrozenError, ValueError) as error:
            raise LogDamaged(f"the checkpoint is of another version: {error}") from error
        try:
            self.group.recall(state)
        except KeyError:
            raise LogDamaged("the checkpoint is of another version") from None
        for member, (kept, base, received) in lines.items():
            line = self._lines.of(member)
            line.kept, line.base, line.received = deque(map(message_of, kept)), base, received
        if self.notary is not None and evidence is not None:
            self.notary.recall(evidence)

    def _replay(self, seq: int, record: bytes) -> None:
        payload = record[DIGEST_SIZE:]
        if seq != self.seq + 1:
            raise LogDamaged(f"record {self.seq + 1} is missing")
        self.seq = seq
        if self._sealed(payload)[:DIGEST_SIZE] != record[:DIGEST_SIZE]:
            raise LogDamaged(f"record {seq} is damaged, or not of this member and group")
        try:
            inputs = thaw(payload)
        except FrozenError as error:
            raise LogDamaged(f"record {seq} is of another version: {error}") from error
        for code, arguments in inputs:
            if code in (_RECEIVE, _STALLED):
                arguments = arguments[0], message_of(arguments[1])
            with suppress(GroupError):  # Then it was refused the first time, too.
                self._apply(INPUTS[code], arguments)
        self._poll_group()

    def _wake(self) -> None:
        """Everything replayed is on disk and was done, as far as it ever will be: what is left of
        it is what was not answered, and what others may lack."""
        self._stored = self.seq
        self._fresh = self.seq == 0
        others = (member for member in self.group.view.members if member != self.group.me)
        for line in [*map(self._lines.of, others), *self._lines.values()]:  # Unknown to it or not.
            line.wake()
        if not self._fresh:
            self._control += on_waking(self.group, self._timers)
