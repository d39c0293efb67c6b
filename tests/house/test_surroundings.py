"""A node takes time and randomness from its surroundings, and from nowhere else."""

import pytest

from tests.support.house.imports import ROOT
from tests.support.house.surroundings import DOOR, past, sources


def test_nothing_in_a_node_goes_past_its_surroundings() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in sources()
        for line, what in past(path.read_text())
    ]
    assert not found, f"ask transport.surroundings instead: {found}"


def test_the_door_itself_is_seen_by_what_it_asks() -> None:
    assert {what for _, what in past(DOOR.read_text())} >= {"os.urandom", "time.time"}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import os\nkey = os.urandom(8)", "os.urandom"),
        ("def f(random=os.urandom): ...", "os.urandom"),
        ("from os import urandom", "os.urandom"),
        ("from time import monotonic as now", "time.monotonic"),
        ("import time\nnow = time.time", "time.time"),
        ("import time\npause = time.sleep", "time.sleep"),
        ("import secrets", "secrets"),
        ("from random import Random", "random"),
        ("def f():\n    import datetime", "datetime"),
    ],
)
def test_what_goes_past_is_found(source: str, what: str) -> None:
    assert what in {each for _, each in past(source)}


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.fsync(1)",
        "def f(random, time): return random(8), time()",
        "from transport.surroundings import current\ncurrent().random(8)",
        "from .random import thing",
        "self.time = loop.time",
    ],
)
def test_what_does_not_is_let_pass(source: str) -> None:
    assert not list(past(source))
