"""Has every group of this process write its history to a file, before anything it says leaves.

What a durable group puts out is written down before it is on its disk, with the number of its turn.
Whether anybody will ever have seen it is said by later lines: `persisted` when a turn was, and
`resumed` when another process goes on after it. What comes after the last such turn is void.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.evidence.notary import Notary
from consensus.core.outputs import Output, Persist
from consensus.core.types import Member
from consensus.machine import hosted_group, machine
from consensus.storage import durable_groups
from scenarios.check.bounds import sizes
from scenarios.check.history import (
    Decided,
    Event,
    Installed,
    Name,
    Restored,
    Wedged,
    read_lines,
    write_line,
)
from scenarios.stage.recorder import Recorder, Said

SAID_KEPT = 512
"""Votes remembered so that none is written twice."""
GROWTH = 1.25
"""A table's size is written when it is so many times what was written of it last."""


class Writer:
    """One group's history on its way to the file."""

    def __init__(self, log: TextIO, member: Member) -> None:
        self.member = member
        self.recorder = Recorder(member)
        self._log = log
        self._written: dict[str, int] = {}
        """The largest size written of each table."""

    def take(self, outputs: list[Output], turn: int | None = None) -> None:
        """What the group puts out."""
        recorder = self.recorder
        lines = [write_line(recorder.member, event) for event in recorder.take(outputs)]
        if turn is not None:
            lines = [json.dumps({**json.loads(line), "turn": turn}) for line in lines]
        self.write(lines)
        recorder.reports = ()
        if len(recorder.said) > SAID_KEPT:
            here = max(recorder.views, default=0)
            recorder.said = frozenset(e for e in recorder.said if _is_of(e, here))

    def mark(self, what: str, turn: int) -> None:
        """This turn was `persisted`, or the last one before the group was `resumed`."""
        key, life = self.member
        self.write([json.dumps({"member": [key.hex(), life], "event": what, "turn": turn})])

    def measure(self, group: Group) -> None:
        """How large its tables are, if they are larger than ever or than they may be."""
        written = self._written
        news = {
            name: (size, bound)
            for name, (size, bound) in sizes(group).items()
            if size > bound or size > GROWTH * written.get(name, 0)
        }
        if news:
            written.update((name, size) for name, (size, _) in news.items())
            key, life = self.member
            row = {"member": [key.hex(), life], "event": "sizes", "sizes": news}
            self.write([json.dumps(row)])

    def write(self, lines: list[str]) -> None:
        """One write to the kernel: it outlives the process, however that ends."""
        if lines:
            self._log.write("\n".join(lines) + "\n")
            self._log.flush()

    def go_on(self, past: Sequence[Event]) -> None:
        """Another process has written this group's history so far."""
        recorder = self.recorder
        for event in past:
            if isinstance(event, Installed):
                recorder.views = {**recorder.views, event.view: _members(event.members)}
            elif isinstance(event, Restored) or (
                isinstance(event, Decided) and event.outcome != "unknown"
            ):
                recorder.index = event.index


def _members(told: Iterable[Name]) -> tuple[Member, ...]:
    """Names as `mark` writes them."""
    named = (name for name in told if isinstance(name, tuple))
    return tuple(Member(bytes.fromhex(key), life) for key, life in named)


def record_groups(path: Path, former: Sequence[Path] = ()) -> None:
    """From now on; views of two of `ask` are left out. `former`: what processes before this one
    with the same node's file have written, in order."""
    log = path.open("a", encoding="utf-8")

    class RecordedGroup(Group):
        """The shipped engine; what it puts out passes by here on its way to the machine."""

        def poll(self) -> list[Output]:
            outputs = super().poll()
            if outputs and self.config.ordered and not self.config.durable:
                if "history_writer" not in self.__dict__:
                    self.history_writer = Writer(log, self.me)
                self.history_writer.take(outputs)
                self.history_writer.measure(self)
            return outputs

    class RecordedDurableGroup(DurableGroup):
        """What it puts out passes by here on its way to where it is held back."""

        def __init__(self, group: Group, notary: Notary | None) -> None:
            super().__init__(group, notary)
            self.history_writer = Writer(log, group.me)

        def _end_turn(self) -> Persist:
            persist = super()._end_turn()
            self.history_writer.take(self._turns[-1].outputs, persist.seq)
            self.history_writer.measure(self.group)
            return persist

        def persisted(self, seq: int) -> None:
            self.history_writer.mark("persisted", seq)
            super().persisted(seq)

        @classmethod
        def resume(cls, *arguments: Any) -> DurableGroup:
            resumed = super().resume(*arguments)
            assert isinstance(resumed, cls)
            writer = resumed.history_writer
            key, life = writer.member
            writer.mark("resumed", resumed.seq)
            past = history_of([*former, path]).get((key.hex(), life), [])
            writer.go_on(past)
            return resumed

    vars(machine)["Group"] = RecordedGroup
    for module in (hosted_group, durable_groups):
        vars(module)["DurableGroup"] = RecordedDurableGroup


def _is_of(event: Said, view: int) -> bool:
    return event.view >= view if isinstance(event, Wedged) else event.id.view == view


def history_of(paths: Iterable[Path]) -> dict[Name, list[Event]]:
    """What each member did, from the logs of its processes in order, void turns left out, and what
    a process did that had been given an older file: to the others it is nobody. Raises ValueError
    for a log that is none."""
    found: dict[Name, list[tuple[int, Event]]] = {}
    sure: dict[Name, int] = {}
    for path in paths:
        old = set()
        with path.open(encoding="utf-8") as lines:
            for member, turn, event in _entries(lines):
                past = found.setdefault(member, [])
                if event == "resumed" and turn < sure.get(member, 0):
                    old.add(member)
                if member in old:
                    continue
                if isinstance(event, str):
                    sure[member] = turn
                    if event == "resumed":
                        past[:] = [entry for entry in past if entry[0] <= turn]
                else:
                    past.append((turn, event))
    return {
        member: [event for turn, event in past if turn <= sure.get(member, 0)]
        for member, past in found.items()
    }


def sizes_of(paths: Iterable[Path]) -> Iterator[tuple[Name, dict[str, tuple[int, int]]]]:
    """What was written of the sizes of each member's tables, with their bounds."""
    for path in paths:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if '"event": "sizes"' in line and line.endswith("\n"):
                    row = json.loads(line)
                    tables = {name: (size, bound) for name, (size, bound) in row["sizes"].items()}
                    yield tuple(row["member"]), tables


def _entries(lines: Iterable[str]) -> Iterator[tuple[Name, int, Event | str]]:
    """(member, turn or 0, event, or what is said of a turn)"""
    for line in lines:
        if not line.endswith("\n"):
            return  # Its writer was killed.
        fields = json.loads(line)
        if fields["event"] in ("persisted", "resumed"):
            yield tuple(fields["member"]), fields["turn"], fields["event"]
        else:
            for _, member, event in read_lines([line]):
                yield member, fields.get("turn", 0), event
