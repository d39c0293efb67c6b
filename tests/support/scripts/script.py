"""Scripts as tests: commands, `----`, the trace they must give.

A script is a text file of blocks separated by blank lines; lines that start with `#` are comments.
It drives real groups over ideal lanes, one queue for each ordered pair of members, and prints
every delivery and everything a group puts out. Set `REWRITE_SCRIPTS=1` to write the traces anew
and review the difference.

Commands (members are single letters; `a` is A restarted, under the same key):

    group A B C [option=value ...]   a view already in force; options are fields of GroupConfig
    found A [option=value ...]       a new group
    pair A B [option=value ...]      the view of two of `ask`
    join D via A                     a joiner and its sponsor's proposal
    joiner D via A, sponsor A D      the same, one after the other
    propose A kind [body]            also: leave A, kick A B [reason]
    manual A                         its application's votes are given by `accept` and `reject`
    accept A [answer]                votes on the oldest proposal that waits; reject A [reason]
    answer A 1.2.B accept            votes on the proposal of that view, clock and proposer
    always A body reject             A's application votes so, at once, on whatever has this body
    unreachable A                    A's shell reaches no joiner any more
    deliver                          everything on lanes that are not held, until all is quiet
    deliver A B [count]              one lane
    hold A B, release A B            the lane from A to B waits; `hold A *` all of A's
    drop A B                         what is on the lane from A to B is gone (its sender crashed)
    crash A                          A stops; what it has sent is still under way
    down A B, up A B                 A's transport does not hear B; hears it again
    cut A B, heal A B                down both ways, and both lanes held; the end of that
    gone A B                         A's shell knows that B's incarnation ended
    fire A name [key]                A's timer of that name fires, the first if there are several
    read A [leased]                  A begins a read; `leased`: its shell says that its lease runs
    gathers, settles                 from here on groups are polled by `poll` alone; by each input
    poll A                           A's group is polled, once
    quiet                            deliveries are not printed from here on
    show                             view, index and condition of everybody
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import fields
from pathlib import Path
from typing import Any

from consensus.core.config import GroupConfig
from consensus.core.engine.group import Group
from consensus.core.engine.state import Phase
from consensus.core.errors import GroupError
from consensus.core.message_kinds import Message
from consensus.core.numbers import Clock, ViewNumber
from consensus.core.outputs import (
    Arm,
    Disarm,
    Ended,
    Output,
    ReachWanted,
    Send,
    SnapshotWanted,
    ValueAccepted,
    VoteWanted,
)
from consensus.core.types import Content, Proposal, ProposalId, Timer, Vote
from consensus.core.view import View
from scenarios.stage.scene import abandon
from tests.support.scripts.printed import letter, member, show_content, show_message, show_output

TESTDATA = Path(__file__).parents[2] / "testdata"
DELIVERIES_MAX = 5_000
VOTES = {"accept": Vote(True), "reject": Vote(False, reason="no")}


class World:
    """Groups, ideal lanes and armed timers; prints what happens."""

    def __init__(self, group: type[Group] = Group) -> None:
        self.kind = group
        self.groups: dict[str, Group] = {}
        self.config = GroupConfig()
        self.lanes: dict[tuple[str, str], deque[Message]] = {}
        self.held: set[tuple[str, str]] = set()
        self.timers: dict[str, dict[Timer, float]] = {}
        self.manual: set[str] = set()
        self.always: dict[tuple[str, str], Vote] = {}
        self.wanted: dict[str, deque[Proposal]] = {}
        self.unreachable: set[str] = set()
        self.lines: list[str] = []
        self.quiet = False
        self.gathers = False

    def say(self, line: str) -> None:
        self.lines.append(line)

    def add(self, name: str, group: Group) -> None:
        self.groups[name] = group
        self.timers[name] = {}
        self.wanted[name] = deque()
        self.drain(name)

    # -- what groups put out -----------------------------------------------------------------

    def drain(self, name: str) -> None:
        group = None if self.gathers else self.groups.get(name)
        while group is not None and (outputs := group.poll()):
            for output in outputs:
                self.do(name, group, output)

    def do(self, name: str, group: Group, output: Output) -> None:
        if isinstance(output, Send):
            self.lanes.setdefault((name, letter(output.to)), deque()).append(output.message)
        elif isinstance(output, Arm):
            self.timers[name][output.timer] = output.delay_s
        elif isinstance(output, Disarm):
            self.timers[name].pop(output.timer, None)
        elif isinstance(output, VoteWanted):
            vote = self.always.get((name, output.proposal.content.body.decode()))
            if vote is not None:
                group.answer(output.proposal.id, vote)
            elif name in self.manual:
                self.wanted[name].append(output.proposal)
                self.say(f"{name}: vote wanted on {show_content(output.proposal.content)}")
            else:
                group.answer(output.proposal.id, Vote(True))
        elif isinstance(output, ReachWanted):
            group.reached(output.candidate.member, name not in self.unreachable)
        elif isinstance(output, SnapshotWanted):
            group.snapshot(output.joiner, output.index, b"state")
        elif isinstance(output, ValueAccepted):
            pass  # The sends that follow say it.
        else:
            if isinstance(output, Ended):
                self.timers[name].clear()
            self.say(f"{name}: {show_output(output)}")

    # -- commands ----------------------------------------------------------------------------

    def run(self, line: str) -> None:
        command, *words = line.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        if options:
            words = [word for word in words if "=" not in word]
            chosen: dict[str, Any] = {name: option(name, text) for name, text in options.items()}
            self.config = GroupConfig(**chosen)
        try:
            getattr(self, f"do_{command}")(*words)
        except GroupError as error:
            self.say(f"{words[0]}: {type(error).__name__}: {error}")
        for name in sorted(self.groups):
            self.drain(name)

    def do_group(self, *names: str) -> None:
        view = View(ViewNumber(1), tuple(member(n) for n in names), self.config.casting_vote)
        for name in names:
            self.add(name, self.kind.within(member(name), view, self.config))

    def do_found(self, name: str) -> None:
        self.add(name, self.kind.found(member(name), self.config))

    def do_pair(self, a: str, b: str) -> None:
        self.add(a, self.kind.pair(member(a), member(b), self.config))
        self.add(b, self.kind.pair(member(b), member(a), self.config))

    def do_join(self, joiner: str, via: str, sponsor: str) -> None:
        self.do_joiner(joiner, via, sponsor)
        self.do_sponsor(sponsor, joiner)

    def do_joiner(self, joiner: str, _via: str, sponsor: str) -> None:
        self.add(joiner, self.kind.joining(member(joiner), member(sponsor), self.config))

    def do_sponsor(self, name: str, joiner: str) -> None:
        self.groups[name].sponsor(member(joiner), b"")

    def do_propose(self, name: str, kind: str, body: str = "") -> None:
        self.groups[name].propose(Content(kind, body.encode()))

    def do_leave(self, name: str) -> None:
        self.groups[name].leave()

    def do_abandon(self, name: str) -> None:
        abandon(self.groups[name])

    def do_kick(self, name: str, target: str, reason: str = "") -> None:
        self.groups[name].kick(member(target), reason)

    def do_manual(self, name: str) -> None:
        self.manual.add(name)

    def do_accept(self, name: str, answer: str = "") -> None:
        self.groups[name].answer(self.wanted[name].popleft().id, Vote(True, answer.encode()))

    def do_reject(self, name: str, *reason: str) -> None:
        vote = Vote(False, reason=" ".join(reason) or "no")
        self.groups[name].answer(self.wanted[name].popleft().id, vote)

    def do_answer(self, name: str, proposal: str, vote: str) -> None:
        view, clock, proposer = proposal.split(".")
        id = ProposalId(ViewNumber(int(view)), Clock(int(clock)), member(proposer))
        self.groups[name].answer(id, VOTES[vote])

    def do_always(self, name: str, body: str, vote: str) -> None:
        self.always[(name, body)] = VOTES[vote]

    def do_unreachable(self, name: str) -> None:
        self.unreachable.add(name)

    def do_hold(self, a: str, b: str) -> None:
        self.held |= {(a, n) for n in (sorted(self.groups) if b == "*" else [b])}

    def do_release(self, a: str, b: str) -> None:
        self.held -= {(a, n) for n in (sorted(self.groups) if b == "*" else [b])}

    def do_drop(self, a: str, b: str) -> None:
        self.lanes.pop((a, b), None)

    def do_crash(self, name: str) -> None:
        del self.groups[name]

    def do_down(self, a: str, b: str) -> None:
        self.groups[a].link(member(b), False)

    def do_up(self, a: str, b: str) -> None:
        self.groups[a].link(member(b), True)

    def do_cut(self, a: str, b: str) -> None:
        self.held |= {(a, b), (b, a)}
        self.do_down(a, b)
        self.do_down(b, a)

    def do_heal(self, a: str, b: str) -> None:
        self.held -= {(a, b), (b, a)}
        self.do_up(a, b)
        self.do_up(b, a)

    def do_read(self, name: str, leased: str = "") -> None:
        handle = self.groups[name].read(bool(leased))
        self.say(f"{name}: reads with ticket {handle}")

    def do_gathers(self) -> None:
        self.gathers = True

    def do_settles(self) -> None:
        self.gathers = False

    def do_poll(self, name: str) -> None:
        group = self.groups[name]
        for output in group.poll():
            self.do(name, group, output)

    def do_quiet(self) -> None:
        self.quiet = True

    def do_gone(self, a: str, b: str) -> None:
        self.groups[a].lost(member(b))

    def do_fire(self, name: str, timer: str, key: str = "") -> None:
        armed = sorted(t for t in self.timers[name] if t.name == timer and key in ("", str(t.key)))
        if not armed:
            self.say(f"{name}: no timer {timer}")
            return
        self.timers[name].pop(armed[0])
        self.groups[name].fire(armed[0])

    def do_deliver(self, a: str = "", b: str = "", count: str = "") -> None:
        if a:
            for _ in range(int(count or DELIVERIES_MAX)):
                if not self.step((a, b)):
                    return
            return
        for _ in range(DELIVERIES_MAX):
            delivered = False
            for pair in sorted(self.lanes):
                if pair not in self.held:
                    delivered |= self.step(pair)
            if not delivered:
                return
        raise AssertionError("the groups never fall silent")

    def step(self, pair: tuple[str, str]) -> bool:
        """Deliver one message of a lane."""
        lane = self.lanes.get(pair)
        if not lane:
            return False
        message = lane.popleft()
        sender, receiver = pair
        if receiver in self.groups:
            if not self.quiet:
                self.say(f"{sender} -> {receiver} {show_message(message)}")
            self.groups[receiver].receive(member(sender), message)
            self.drain(receiver)
        return True

    def do_show(self) -> None:
        for name, group in sorted(self.groups.items()):
            members = "".join(letter(m) for m in group.view.members)
            words = [name + ":", f"view {group.view.number}", members, f"index {group.index}"]
            if group.phase != Phase.MEMBER:
                words.append(group.phase.name.lower())
            words += ["suspended"] * group.suspended + ["wedged"] * group.wedged
            if group.awaited:
                words.append("awaits " + "".join(sorted(letter(m) for m in group.awaited)))
            timers = sorted(t.name for t in self.timers[name])
            if timers:
                words.append("timers " + ",".join(timers))
            self.say(" ".join(words))


def option(name: str, text: str) -> bool | int | float:
    kind = next(f.type for f in fields(GroupConfig) if f.name == name)
    if kind == "bool":
        return text == "True"
    return float(text) if kind == "float" else int(text)


# -- files -------------------------------------------------------------------------------------


def blocks_of(text: str) -> list[tuple[list[str], list[str]]]:
    """The (commands with their comments, expected trace) of each block."""
    found = []
    for block in text.strip("\n").split("\n\n"):
        head, mark, tail = block.partition("\n----")
        assert mark, f"a block without ----: {block[:60]!r}"
        found.append((head.split("\n"), [line for line in tail.split("\n") if line]))
    return found


def run_script(path: Path, group: type[Group] = Group) -> tuple[str, str]:
    """The script as it stands and as it comes out; writes the latter if asked to."""
    text = path.read_text()
    world = World(group)
    written = []
    for commands, _ in blocks_of(text):
        world.lines = []
        for line in commands:
            if line and not line.startswith("#"):
                world.run(line)
        written.append("\n".join([*commands, "----", *world.lines]))
    result = "\n\n".join(written) + "\n"
    if os.environ.get("REWRITE_SCRIPTS"):
        path.write_text(result)
        text = result
    return text, result
