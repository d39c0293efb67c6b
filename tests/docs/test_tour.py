"""The tour is walked: its steps are those of real trips, and what it points to is there."""

import importlib
import re
from functools import cache
from pathlib import Path

import anyio
import pytest

from benchmarks import trips
from benchmarks.trips import Step, walked

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tour.md").read_text()
TRIPS = {"A vote": trips.VOTE, "A proposal": trips.PROPOSAL, "A P1": trips.P1}
FILE, FUNCTION = r"`([\w/]+\.py)`", r"`([\w.]+)`"
STEPS_MIN, QUESTIONS_MIN = 12, 18


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def steps(title: str) -> list[Step]:
    """The rows of a trip's table."""
    rows = re.findall(rf"(?m)^\| {FILE} \| {FUNCTION} \| \S.* \|$", section(title))
    return [Step(file, function) for file, function in rows]


def places() -> list[tuple[str, str, str]]:
    """Question, file and function of each row of the last table."""
    return re.findall(rf"(?m)^\| (\w.*?) \| {FILE} \| {FUNCTION} \|$", section("Where is it?"))


@cache
def walk() -> dict[str, trips.Trip]:
    return anyio.run(walked)


def missing(told: list[Step], walked: list[Step]) -> list[Step]:
    """What is not passed in this order: the first step that does not follow, and all after it."""
    rest = iter(walked)
    for at, step in enumerate(told):
        if step not in rest:
            return told[at:]
    return []


@pytest.mark.parametrize("title", TRIPS)
def test_the_trip_is_the_one_that_is_told(title: str) -> None:
    told = steps(title)
    assert len(told) >= STEPS_MIN
    assert missing(told, walk()[TRIPS[title]].steps) == []


def test_every_row_is_read() -> None:
    rows = re.findall(r"(?m)^\| .*`.*$", PAGE)
    assert len(rows) == len(places()) + sum(len(steps(title)) for title in TRIPS)


def test_steps_out_of_order_or_astray_are_found() -> None:
    one, two, three = (Step("a.py", name) for name in ("one", "two", "three"))
    assert missing([one, three], [one, two, three]) == []
    assert missing([three, one], [one, two, three]) == [one]
    assert missing([one, Step("b.py", "two")], [one, two]) == [Step("b.py", "two")]


def test_every_answer_is_there() -> None:
    assert len(places()) >= QUESTIONS_MIN
    assert len({question for question, _, _ in places()}) == len(places())
    for question, file, function in places():
        found: object = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        module = found
        for name in function.split("."):
            found = getattr(found, name)
        assert getattr(found, "__module__", None) == module.__name__, question  # type: ignore[attr-defined]
        assert callable(found), question
