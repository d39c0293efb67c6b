"""The glossary gives a word one meaning, and what reads it finds the words that are not used."""

from __future__ import annotations

import pytest

from tests.support.house.words import (
    GLOSSARY,
    PACKAGES,
    entries,
    excludes,
    named,
    words_of,
)

ENTRIES = entries(GLOSSARY.read_text())


def test_every_word_has_one_meaning() -> None:
    words = [entry.word for entry in ENTRIES]
    assert len(words) == len({word.lower() for word in words})
    assert all(entry.meaning for entry in ENTRIES)


@pytest.mark.parametrize("section", PACKAGES)
def test_words_stand_in_order(section: str) -> None:
    words = [entry.word.lower() for entry in ENTRIES if entry.section == section]
    assert words
    assert words == sorted(words)


def test_no_word_of_the_glossary_is_excluded_by_another() -> None:
    clashes = [
        (entry.word, other.word)
        for entry in ENTRIES
        for other in ENTRIES
        for pattern in other.excluded
        if entry.section == other.section and excludes(pattern, entry.word.replace(" ", "_"))
    ]
    assert not clashes


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("table", "table"),
        ("table", "Table"),
        ("table", "_table"),
        ("*_gate_*", "Gate"),
        ("*_gate_*", "the_gate_of"),
        ("*_gate_*", "FrontGate"),
        ("*_counter", "next_counter"),
        ("*_half_lane_*", "HalfLanes2HalfLane"),
    ],
)
def test_an_excluded_name_is_seen(pattern: str, name: str) -> None:
    assert excludes(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("table", "ChannelTable"),
        ("table", "tables"),
        ("*_gate_*", "aggregate"),
        ("*_gate_*", "gates"),
        ("*_counter", "counter_clue"),
    ],
)
def test_a_name_in_another_sense_is_none(pattern: str, name: str) -> None:
    assert not excludes(pattern, name)


def test_names_are_taken_apart_and_found() -> None:
    assert words_of("XChaCha20Key_of") == ("x", "cha", "cha", "20", "key", "of")
    source = "import a as b\nclass C:\n    def d(self, e):\n        f = self.g = other.h\n"
    assert {name for name, _ in named(source)} == {"b", "C", "d", "self", "e", "f", "g"}


@pytest.mark.parametrize("page", ["| a | b |", "## Elsewhere\n| a | b | c |"])
def test_another_layout_is_not_read_as_if_it_said_nothing(page: str) -> None:
    with pytest.raises(ValueError, match="no row of the glossary"):
        entries(page)
