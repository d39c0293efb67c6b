"""Every checker catches a bad history made by hand, and passes a good one."""

from __future__ import annotations

import io

import pytest

from scenarios.check.facts import Violation, is_quorum
from scenarios.check.history import (
    Decided,
    Event,
    Expelled,
    Id,
    Installed,
    Lost,
    Noted,
    Proposed,
    Voted,
    Wedged,
    read_lines,
    write_line,
)
from scenarios.check.invariants import INVARIANTS, Checkers, check_history

History = list[tuple[str, Event]]
ABC, AB, ABCD = ("A", "B", "C"), ("A", "B"), ("A", "B", "C", "D")
P, Q = Id(1, 1, "A"), Id(1, 2, "B")


def begin(members: tuple[str, ...] = ABC) -> History:
    return [(m, Installed(1, members, 0)) for m in members]


def propose(id: Id, content: str = "x") -> History:
    return [(id.proposer, Proposed(id, content)), (id.proposer, Voted(id, True))]


def accept(id: Id, voters: str) -> History:
    return [(m, Voted(id, True)) for m in voters]


def decide(id: Id, who: str, outcome: str = "committed", index: int = 1, **more: str) -> History:
    fields = {"content": "x"} | more
    return [(m, Decided(id, outcome, index, **fields)) for m in who]


def wedge(who: str) -> History:
    return [(m, Wedged(1)) for m in who]


def install(who: str, members: tuple[str, ...], index: int, view: int = 2) -> History:
    return [(m, Installed(view, members, index)) for m in who]


GOOD: dict[str, History] = {
    "a commit": begin() + propose(P) + accept(P, "BC") + decide(P, "ABC"),
    "a reject, noted": begin()
    + propose(P)
    + [("B", Voted(P, False)), ("C", Noted(P)), ("A", Noted(P))]
    + decide(P, "ABC", "rejected"),
    "a removal of the silent": begin()
    + propose(P)
    + accept(P, "B")
    + wedge("AB")
    + decide(P, "AB", "committed")
    + install("AB", AB, 1),
    "a veto of somebody left out": begin()
    + propose(P)
    + accept(P, "B")
    + [("C", Voted(P, False))]
    + wedge("AB")
    + decide(P, "AB")
    + install("AB", AB, 1)
    + [("C", Expelled("silent"))],
    "a join": begin()
    + propose(P)
    + accept(P, "BC")
    + decide(P, "ABC", kind="join", subject="D")
    + wedge("ABC")
    + install("ABCD", ABCD, 1)
    + propose(Id(2, 9, "D"))
    + [(m, Voted(Id(2, 9, "D"), True)) for m in "ABC"]
    + decide(Id(2, 9, "D"), "ABCD", index=2),
    "a kick in a view of two": begin(AB)
    + propose(P)
    + accept(P, "B")
    + wedge("AB")
    + decide(P, "AB", kind="kick", subject="B")
    + install("A", ("A",), 1),
    "unknown at a member that was cut off": begin()
    + propose(P)
    + accept(P, "BC")
    + decide(P, "AB")
    + [("C", Decided(P, "unknown", 0, "x")), ("C", Lost("suspended"))],
}

BAD: dict[str, tuple[str, History]] = {
    "two outcomes": (
        "1",
        begin() + propose(P) + accept(P, "BC") + decide(P, "A") + decide(P, "B", "abandoned"),
    ),
    "two bodies": (
        "1",
        begin() + propose(P) + accept(P, "BC") + decide(P, "A") + decide(P, "B", content="y"),
    ),
    "two orders": (
        "1",
        begin()
        + propose(P)
        + propose(Q)
        + accept(P, "BC")
        + accept(Q, "AC")
        + decide(P, "A", index=1)
        + decide(Q, "B", index=1),
    ),
    "a veto passed over": (
        "2",
        begin() + propose(P) + accept(P, "B") + [("C", Voted(P, False))] + decide(P, "A"),
    ),
    "a veto of somebody who stayed": (
        "2",
        begin()
        + propose(P)
        + [("B", Voted(P, False))]
        + accept(P, "C")
        + wedge("AB")
        + decide(P, "AB")
        + install("AB", AB, 1),
    ),
    "a minority's commit": ("2", begin() + propose(P) + decide(P, "A")),
    "a vote both ways": (
        "2",
        begin() + propose(P) + [("B", Voted(P, True)), ("B", Voted(P, False))],
    ),
    "a gap": ("3", begin() + propose(P) + accept(P, "BC") + decide(P, "A", index=2)),
    "a repeat": (
        "3",
        begin() + propose(P) + accept(P, "BC") + decide(P, "A") + decide(P, "A", index=1),
    ),
    "clocks ignored": (
        "3",
        begin()
        + propose(P)
        + propose(Q)
        + accept(P, "BC")
        + accept(Q, "AC")
        + decide(Q, "A", index=1)
        + decide(P, "A", index=2),
    ),
    "views that begin after different decisions": (
        "3",
        begin()
        + propose(P)
        + accept(P, "BC")
        + decide(P, "A")
        + wedge("AB")
        + install("A", AB, 1)
        + install("B", AB, 0),
    ),
    "two successors": (
        "4",
        begin() + wedge("ABC") + install("AB", AB, 0) + install("C", ("C",), 0),
    ),
    "a successor without a quorum": ("4", begin() + wedge("ABC") + install("C", ("C",), 0)),
    "a successor by members not wedged": ("4", begin() + wedge("A") + install("AB", AB, 0)),
    "a vote when wedged": ("4", begin() + propose(P) + wedge("B") + accept(P, "B")),
    "a note when wedged": ("4", begin() + propose(P) + wedge("B") + [("B", Noted(P))]),
    "a vote in a view not yet installed": ("4", [*begin(), ("B", Voted(Id(2, 5, "A"), True))]),
    "a view skipped": ("4", begin() + wedge("ABC") + install("A", AB, 0, view=3)),
    "a view without oneself": ("4", begin() + wedge("ABC") + install("C", AB, 0)),
    "a member twice": ("4", [("A", Installed(1, ("A", "A"), 0))]),
    "seniority broken": ("4", begin() + wedge("ABC") + install("A", ("B", "A", "C"), 0)),
    "different sets before a view": (
        "5",
        begin()
        + propose(P)
        + propose(Q)
        + accept(P, "BC")
        + accept(Q, "AC")
        + decide(P, "A", index=1)
        + decide(Q, "B", index=1)
        + wedge("AB")
        + install("AB", AB, 1),
    ),
    "never proposed": ("6", begin() + accept(P, "ABC") + decide(P, "A")),
    "another body than proposed": (
        "6",
        begin() + propose(P, "y") + accept(P, "BC") + decide(P, "A"),
    ),
    "proposed twice": ("6", begin() + propose(P) + [("A", Proposed(P, "x"))]),
    "proposed in another's name": ("6", [*begin(), ("B", Proposed(P, "x"))]),
    "uninvited": ("7", begin() + wedge("ABC") + install("ABCD", ABCD, 0)),
    "admitted by a minority": (
        "7",
        begin()
        + propose(P)
        + decide(P, "A", kind="join", subject="D")
        + wedge("ABC")
        + install("A", ABCD, 1),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_passes(name: str):
    check_history(GOOD[name])


def feed(checkers: Checkers, history: History) -> None:
    for member, event in history:
        checkers.observe(member, event)
    checkers.settle()


def only(number: str) -> Checkers:
    return Checkers(invariants=[INVARIANTS[int(number) - 1]])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_caught_by_its_own_checker(name: str):
    number, history = BAD[name]
    checkers = only(number)
    with pytest.raises(Violation) as caught:
        feed(checkers, history)
    assert caught.value.invariant.startswith(number)
    assert caught.value.members
    assert caught.value.evidence


def test_every_invariant_has_a_bad_history():
    assert {number for number, _ in BAD.values()} == set("1234567")


def test_members_logs_may_interleave_in_any_way():
    for history in GOOD.values():
        by_member = sorted(history, key=lambda pair: pair[0])
        check_history(by_member)
        check_history(sorted(history, key=lambda pair: pair[0], reverse=True))


def test_quorums():
    assert is_quorum({"A", "B"}, ABC, False)
    assert not is_quorum({"A"}, ABC, True)
    assert is_quorum({"A", "B"}, ABCD, True)
    assert not is_quorum({"A", "B"}, ABCD, False)
    assert not is_quorum({"C", "B"}, ABCD, True)
    assert not is_quorum({"X", "Y", "Z"}, ABCD, True)


def test_logs_are_read_as_they_were_written():
    for name, history in GOOD.items():
        lines = [write_line(member, event, name) + "\n" for member, event in history]
        lines.insert(1, '{"member":"A","event":"chatter"}\n')
        read = list(read_lines(io.StringIO("".join(lines) + '{"member":"A","ev')))
        assert [(member, event) for _, member, event in read] == history
        assert {group for group, _, _ in read} == {name}


def test_a_damaged_log_names_its_line():
    with pytest.raises(ValueError, match="line 1 "):
        list(read_lines(["{broken\n", "{}\n"]))
    with pytest.raises(ValueError, match="line 1 "):
        list(read_lines(['{"member":"A","event":"voted"}\n', "\n"]))


def test_bytes_are_written_as_hexadecimal():
    line = write_line((b"\x01", 7), Voted(Id(1, 2, (b"\x01", 7)), True))
    [(_, member, event)] = read_lines([line])
    assert member == ("01", 7)
    assert event == Voted(Id(1, 2, ("01", 7)), True)
