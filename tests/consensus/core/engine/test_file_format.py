"""What a durable group writes to its member's file is what version 0.1 wrote, to the byte.

`tests/vectors/durable.json` was written by the code before its files were moved and its names
changed. Whoever changes it raises the version of the file.
"""

import json
from pathlib import Path
from typing import Any

from consensus.core.config import GroupConfig
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.numbers import ViewNumber
from consensus.core.outputs import Persist, Send, VoteWanted
from consensus.core.types import Content, Member, Vote
from consensus.core.view import View

FILE = Path(__file__).parents[3] / "vectors" / "durable.json"
MEMBERS = tuple(Member(bytes([number]) * 32, number) for number in (1, 2, 3))
CONFIG = GroupConfig(durable=True)


def begun(me: Member) -> Group:
    return Group.within(me, View(ViewNumber(1), MEMBERS, True), CONFIG)


class Three:
    """A durable group of three over ideal lanes, and what each writes down."""

    def __init__(self) -> None:
        self.groups = {me: DurableGroup(begun(me), None) for me in MEMBERS}
        self.logs: dict[Member, list[tuple[int, str]]] = {me: [] for me in MEMBERS}
        for me, group in self.groups.items():
            for other in MEMBERS:
                if other != me:
                    group.link(other, True)
        self.rest()

    def rest(self) -> None:
        """Until nobody has anything to say."""
        while outputs := [(me, o) for me, group in self.groups.items() for o in group.poll()]:
            for me, output in outputs:
                self.carry_out(me, output)

    def carry_out(self, me: Member, output: object) -> None:
        group = self.groups[me]
        if isinstance(output, Persist):
            self.logs[me].append((output.seq, output.record.hex()))
            group.persisted(output.seq)
        elif isinstance(output, Send):
            self.groups[output.to].receive(me, output.message)
        elif isinstance(output, VoteWanted):
            group.answer(output.proposal.id, Vote(True, b"ok"))


def run() -> Three:
    """Two proposals decided, a read that asks, and a proposal of which nobody knows yet."""
    three = Three()
    for me, body in zip(MEMBERS, (b"one", b"two"), strict=False):
        three.groups[me].propose(Content("x", body))
        three.rest()
    three.groups[MEMBERS[2]].read(0)
    three.groups[MEMBERS[0]].propose(Content("x", b"three"))
    return three


def known() -> Any:
    return json.loads(FILE.read_text())


def test_the_same_inputs_are_written_as_the_same_bytes() -> None:
    three, vector = run(), known()
    assert [[list(row) for row in three.logs[me]] for me in MEMBERS] == vector["logs"]
    assert [g._checkpoint().hex() for g in three.groups.values()] == vector["checkpoints"]


def test_a_group_goes_on_from_what_was_written_then() -> None:
    three, vector = run(), known()
    for me, checkpoint in zip(MEMBERS, vector["checkpoints"], strict=True):
        written = bytes.fromhex(checkpoint)
        group = DurableGroup.resume(me, CONFIG, lambda: begun(me), None, written, [])  # noqa: B023
        assert group._checkpoint() == written
    for me, log in zip(MEMBERS, vector["logs"], strict=True):
        records = [(seq, bytes.fromhex(record)) for seq, record in log]
        group = DurableGroup.resume(me, CONFIG, lambda: begun(me), None, None, records)  # noqa: B023
        assert group.seq == len(log)
        assert group.group.view == three.groups[me].group.view
