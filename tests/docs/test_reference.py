"""The reference names every public name once, and leaves out of a class only what it has.

That it can be made of the docstrings without a warning, `make docs` shows.
"""

import importlib
import re
from pathlib import Path

import quorate

PAGE = (Path(__file__).parents[2] / "docs/reference.md").read_text()
ENTRY = re.compile(
    r"(?m)^\.\. auto(?:class|data|function|exception):: ([\w.]+)"
    r"(?:\n +:no-value:)?(?:\n +:exclude-members:(.*))?$"
)


def thing(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module or "quorate"), last)


def test_every_public_name_is_in_the_reference_once() -> None:
    named = [name for name, _ in ENTRY.findall(PAGE)]
    assert len(named) == PAGE.count(".. auto")
    assert sorted(name for name in named if "." not in name) == sorted(quorate.__all__)
    assert len({id(thing(name)) for name in named}) == len(named)


def test_what_is_left_out_is_there_and_no_name_of_the_economy() -> None:
    for name, left_out in ENTRY.findall(PAGE):
        gone = [m for m in re.findall(r"\w+", left_out) if not hasattr(thing(name), m)]
        assert not gone, name
