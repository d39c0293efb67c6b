"""Messages have fields with names and types: what mixes them up fails the type checker."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Literal, get_args, get_type_hints

import pytest
from mypy import api

from consensus.core import message_fields as fields
from consensus.core import message_kinds as kinds
from consensus.core import messages
from consensus.core.config import GroupConfig
from consensus.core.engine import group as engine
from consensus.core.engine import voting
from consensus.core.engine.state import GroupBase
from consensus.core.engine.state_codec import freeze
from consensus.core.numbers import Clock, Index, ViewNumber
from consensus.core.types import Member
from tests.consensus.core.test_messages import MESSAGES

GROUPS = Path(__file__).parents[3] / "docs" / "protocol" / "groups.md"

USES = """
from __future__ import annotations

from consensus.core.tables.ballot import Ballot
from consensus.core.engine.group import Group, _to
from consensus.core.message_kinds import ANSWER, REJECT, Message
from consensus.core.message_fields import AnswerMessage, RejectMessage, VoteMessage
from consensus.core.numbers import RANK_BITS, Clock, Index, Key, ViewNumber

def look_up(ballots: dict[Key, Ballot], message: AnswerMessage, rank: int) -> None:
    ballots.get(message.key)
    ballots.get(message.mark)  # wrong
    ballots.get(message.clock << RANK_BITS | rank)
    ballots.get(message.view << RANK_BITS | rank)  # wrong
    ballots.get(message.clock)  # wrong
    key: Key = message[4]
    late: Key = message[3]  # wrong
    message[6]  # wrong
    message.answer.hex()
    message.reason  # wrong
    message.clock = message.clock  # wrong

def tell(clocks: list[Clock], message: Message) -> None:
    clocks[0] = message.clock
    clocks[0] = message.view  # wrong
    clocks[0] = message.mark  # wrong
    message.key  # wrong
    if message.kind == ANSWER:
        message.answer.hex()
        message.reason  # wrong
    _, view, clock, mark = message[:4]
    clocks[0] = clock
    clocks[0] = view  # wrong

def make(view: ViewNumber, clock: Clock, mark: Index, key: Key) -> list[Message]:
    return [
        AnswerMessage(ANSWER, view, clock, mark, key, b""),
        AnswerMessage(REJECT, view, clock, mark, key, b""),  # wrong
        AnswerMessage(ANSWER, view, mark, clock, key, b""),  # wrong
        AnswerMessage(ANSWER, view, clock, mark, mark, b""),  # wrong
        AnswerMessage(ANSWER, view, clock, mark, key),  # wrong
        RejectMessage(REJECT, view, clock, mark, key, b""),  # wrong
        (ANSWER, view, clock, mark, key, b""),  # wrong
    ]

_to(AnswerMessage, Group._on_answer)
_to(VoteMessage, Group._on_answer)  # wrong
"""

WRONG = {
    "_on_answer": ("self._ballot_of(rank, message.key", "self._ballot_of(rank, message.mark"),
    "_on_propose": ("key = message.clock <<", "key = message.view <<"),
    "_on_vote": ("in message.keys", "in message[5]"),
    "_on_reject": ("message.reason", "message.answer"),
}
"""By method of the engine: the right words, and what they may be taken for."""


def errors(path: Path, *options: str) -> tuple[set[int], str]:
    """The lines of a file that strict mypy refuses, and all that it says."""
    out, crashed, _ = api.run(["--strict", "--follow-imports=silent", *options, str(path)])
    assert crashed == ""
    return {int(line) for line in re.findall(rf"{path.name}:(\d+): error", out)}, out


def test_what_mixes_up_fields_or_kinds_fails_the_type_checker(tmp_path: Path) -> None:
    source = tmp_path / "uses.py"
    source.write_text(USES)
    found, said = errors(source)
    lines = USES.splitlines()
    assert found == {at for at, line in enumerate(lines, 1) if line.endswith("# wrong")}, said


def test_the_same_in_the_engine_itself_fails_the_type_checker(tmp_path: Path) -> None:
    """Each mistake alone in its method: mypy finds something there, and nothing elsewhere."""
    source = Path(inspect.getfile(voting))
    text = source.read_text()
    spans = {}
    for method, (right, wrong) in WRONG.items():
        lines, first = inspect.getsourcelines(getattr(engine.Group, method))
        body = "".join(lines)
        assert body.count(right) == 1
        text = text.replace(body, body.replace(right, wrong))
        spans[method] = range(first, first + len(lines))
    mistaken = tmp_path / "mistaken.py"
    mistaken.write_text(text)
    options = ("--shadow-file", str(source), str(mistaken), f"--cache-dir={tmp_path}")
    found, said = errors(source, *options)
    for method, span in spans.items():
        assert found.intersection(span), f"{method} in {said}"
    assert all(any(line in span for span in spans.values()) for line in found), said


@pytest.mark.parametrize("kind", kinds.NAMES)
def test_every_kind_has_a_class_that_begins_with_the_head(kind: int) -> None:
    made = kinds.CLASSES[kind]
    name = kinds.NAMES[kind].title().replace("_", "") + "Message"
    assert made is getattr(fields, name)
    assert getattr(kinds, kinds.NAMES[kind]) == kind == kinds.KIND_OF[made]
    head = list(get_type_hints(made, vars(fields)).items())[:4]
    own = ("kind", Literal[kind])
    assert head == [own, ("view", ViewNumber), ("clock", Clock), ("mark", Index)]


def test_the_union_holds_every_kind_once() -> None:
    named = {value for value in vars(fields).values() if str(value).endswith("Message'>")}
    assert set(get_args(kinds.Message)) == named == set(kinds.CLASSES.values())
    assert len(kinds.CLASSES) == len(kinds.KIND_OF) == len(kinds.NAMES)


def test_the_documents_list_the_kinds_with_their_fields() -> None:
    rows = re.findall(r"^\| (\d+) ([A-Z_]+) \|([^|]*)\|", GROUPS.read_text(), re.MULTILINE)
    listed = {}
    for number, name, said in rows:
        plain = re.sub(r"\([^)]*\)", "", said).strip()
        listed[int(number)] = name, len(plain.split(",")) if plain else 0
    assert listed == {
        kind: (name, len(kinds.CLASSES[kind]._fields) - 4)
        for kind, name in kinds.NAMES.items()
    }


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: kinds.NAMES[m.kind])
def test_a_message_is_a_tuple_like_any_other(message: kinds.Message) -> None:
    """To the wire, to the member's file, to a set and to a comparison."""
    plain = tuple(message)
    assert messages.pack(message) == messages.pack(plain)  # type: ignore[arg-type]
    assert freeze(message) == freeze(plain)
    assert hash(message) == hash(plain)
    assert message == plain
    again = kinds.message_of(plain)
    assert again == message
    assert type(again) is type(message)


# -- the legend of the group's state --------------------------------------------------------------


def legend() -> dict[str, dict[str, list[str]]]:
    """By class of a layer: its messages, timers and attributes."""
    text = (inspect.getdoc(inspect.getmodule(GroupBase)) or "").partition("Legend:")[2]
    layers: dict[str, dict[str, list[str]]] = {}
    for name, said in re.findall(r"^    (\w+)\n((?:        .*\n?)+)", text, re.MULTILINE):
        plain = re.sub(r"\([^)]*\)", "", " ".join(said.split()))
        kinds_of = re.findall(r"(\w+): (.*?)(?= \w+:|$)", plain)
        layers[name] = {what: re.findall(r"\w+", listed) for what, listed in kinds_of}
    return layers


def listed(what: str) -> list[str]:
    return sorted(word for layer in legend().values() for word in layer.get(what, ()))


def test_the_legend_lists_the_layers_in_order() -> None:
    layers = [kind.__name__ for kind in reversed(engine.Group.__mro__)]
    assert list(legend()) == layers[layers.index("GroupBase") : layers.index("Group")]


def test_the_legend_lists_every_attribute_once() -> None:
    group = engine.Group(Member(bytes(32), 1), GroupConfig())
    assert listed("attributes") == sorted(vars(group))


def test_the_legend_lists_every_message_once_and_where_it_is_taken() -> None:
    assert listed("messages") == sorted(
        name for kind, name in kinds.NAMES.items() if kind < kinds.VOUCH
    )
    for layer in engine.Group.__mro__:
        for name in legend().get(layer.__name__, {}).get("messages", ()):
            handler = getattr(engine.Group, f"_on_{name.lower()}", None)
            assert handler is None or handler.__qualname__.startswith(layer.__name__)


def test_the_legend_lists_every_timer_once_and_where_it_is_armed() -> None:
    fired = re.findall(r'name == "(\w+)"', inspect.getsource(engine.Group.fire))
    assert listed("timers") == sorted(fired)
    for layer in engine.Group.__mro__:
        for name in legend().get(layer.__name__, {}).get("timers", ()):
            assert re.search(rf'(_arm|Timer,? ?)\(+"{name}"', inspect.getsource(layer)), name
