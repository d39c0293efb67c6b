"""What looks at imports sees them, wherever they stand and whatever for."""

from pathlib import Path

import pytest

from tests.support.house.imports import between, circles, imports
from tests.support.house.names import repeated
from tests.support.house.purity import breaches, impure
from tests.support.house.rooms import crowded, floor, running_up


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os.path", "os.path"),
        ("def f():\n    from time import monotonic", "time"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.c import D", "a.c.D"),
        ("from .errors import WireError", "a.errors"),
        ("from . import types", "a.types"),
        ("from ..x import y", "x.y"),
        ("__import__('random')", "random"),
        ("import importlib\nimportlib.import_module('socket')", "socket"),
        ("import importlib\nimportlib.import_module(name)", "?"),
    ],
)
def test_an_import_is_seen(source: str, found: str) -> None:
    assert found in imports("a.b", source)


def test_a_package_is_no_import_of_its_module() -> None:
    graph = {"a": set[str](), "a.b": {"a", "a.c", "a.c.D"}, "a.c": {"a", "a.D"}}
    assert between(graph) == {"a": set(), "a.b": {"a.c"}, "a.c": {"a"}}


def test_circles_are_found_and_nothing_else() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set[str](), "f": {"a"}}
    assert circles(graph) == [{"a", "b", "c"}]
    assert circles({**graph, "c": {"d"}}) == []
    assert circles({**graph, "e": {"d"}}) == [{"d", "e"}, {"a", "b", "c"}]


def test_an_import_that_runs_up_is_seen() -> None:
    floors = ("low", "low.room", "high")
    graph = {
        "low.x": {"low.room.y"},
        "low.room.y": {"low.z"},
        "low.z": set[str](),
        "high.w": {"low.x"},
    }
    assert list(running_up(graph, floors)) == ["low.x -> low.room.y"]
    with pytest.raises(LookupError):
        floor("elsewhere", floors)


def test_a_crowded_room_is_seen(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    for name in ("__init__.py", "one.py", "two.py", "three.cpp", "words.md"):
        (room / name).touch()
    assert crowded([tmp_path], (".py", ".cpp"), 3) == {}
    assert crowded([tmp_path], (".py", ".cpp"), 2) == {str(room): 3}


def test_a_name_that_stands_twice_is_seen() -> None:
    assert repeated(["a.b", "c.b", "a.d", "a.__main__", "c.__main__"]) == {"b": ["a.b", "c.b"]}


def test_impurity_is_seen_through_a_module_in_between() -> None:
    graph = {
        "consensus.machine.machine": {"consensus.helper", "consensus.helper.thing"},
        "consensus.helper": {"transport.core.frames"},
        "transport.core.frames": {"os.path"},
        "consensus.codec": {"struct"},
    }
    assert impure("consensus.machine.machine", graph) == {"os.path"}
    assert not impure("consensus.codec", graph)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("transport.core.frames", "import os"),
        ("transport.core.frames", "def f():\n    from time import monotonic"),
        ("transport.core.frames", "from consensus.core import view"),
        ("transport.core.frames", "import asyncio.events"),
        ("transport.core.frames", "from ...consensus import core"),
        ("transport.core.frames", "__import__('random')"),
        ("transport.core.frames", "import importlib\nimportlib.import_module('socket')"),
        ("transport.endpoint", "import consensus"),
        ("consensus.core.view", "from transport.core import frames"),
        ("consensus.core.view", "import threading"),
        ("consensus.machine.machine", "import anyio"),
        ("consensus.node", "import utp_native"),
        ("consensus.node", "import quorate"),
        ("scenarios.search.picture", "import quorate.cli"),
        ("utp_native.pump", "from transport.core import types"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    assert breaches(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("transport.core.frames", "import struct, hmac\nfrom nacl import bindings"),
        ("transport.core.frames", "from .errors import WireError\nfrom . import types"),
        ("consensus.machine.machine", "from transport.core.peers import Peers"),
        ("consensus.node", "import anyio, os\nfrom transport.endpoint import Endpoint"),
        ("transport.endpoint", "from utp_native import Pump"),
        ("quorate.cli.main", "from scenarios.__main__ import main"),
    ],
)
def test_what_is_allowed_is_no_breach(module: str, source: str) -> None:
    assert not breaches(module, source)
