"""The explorer's inner loop: the module that was shipped is used if it is of these sources."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scenarios import native

SHIPPED = "scenarios.native._worlds"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where it is built, if it is."""
    monkeypatch.setattr(native, "cache_directory", lambda: tmp_path)
    return tmp_path


def load() -> Any:
    """Anew, whatever was loaded before."""
    return native.load.__wrapped__()


def shipped(inputs: str) -> Any:
    ffi = SimpleNamespace(string=lambda text: text)
    return SimpleNamespace(ffi=ffi, lib=SimpleNamespace(worlds_inputs=inputs.encode()))


def test_where_none_is_shipped_it_is_built_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, built: Path
) -> None:
    monkeypatch.setitem(sys.modules, SHIPPED, None)
    module = load()
    assert Path(module.__file__).is_relative_to(built)
    assert module.ffi.string(module.lib.worlds_inputs).decode() == native._digest()
    assert load().__file__ == module.__file__


def test_one_of_these_sources_is_used(monkeypatch: pytest.MonkeyPatch, built: Path) -> None:
    ours = shipped(native._digest())
    monkeypatch.setitem(sys.modules, SHIPPED, ours)
    assert load() is ours
    assert not list(built.iterdir())


def test_one_of_other_sources_is_not(monkeypatch: pytest.MonkeyPatch, built: Path) -> None:
    monkeypatch.setitem(sys.modules, SHIPPED, shipped("of other sources"))
    assert Path(load().__file__).is_relative_to(built)


def test_a_change_in_any_source_makes_it_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in native._SOURCES:
        (tmp_path / name).write_bytes((native._HERE / name).read_bytes())
    monkeypatch.setattr(native, "_HERE", tmp_path)
    seen = {native._digest()}
    for name in native._SOURCES:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
        seen.add(native._digest())
    assert len(seen) == len(native._SOURCES) + 1
