"""Which module of several the build leaves to be loaded, and what makes it build anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from utp_native import build

ROOT = Path(build.__file__).resolve().parent.parent
PAST = 1e9


def test_a_stale_module_under_another_suffix_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes the suffix it likes best, and not the module that was built last."""
    digest = build._inputs_digest({}, ["False"])
    current = tmp_path / "_native.abi3.so"
    stale = tmp_path / "_native.cpython-311-x86_64-linux-gnu.so"
    other = tmp_path / "_bottleneck.abi3.so"
    current.write_bytes(b"...utp_native inputs " + digest.encode() + b"...")
    for path in (stale, other):
        path.write_bytes(b"...utp_native inputs " + bytes(64).hex().encode())
    found = build._compile(build._NATIVE, {}, "none", tmp_path, [], False, True)
    assert found == current
    assert not stale.exists()
    assert other.exists()


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ours, with a file in a folder of a folder."""
    copied = shutil.copytree(build._SOURCES, tmp_path / "src")
    nested = copied / "room" / "deeper" / "nested.h"
    nested.parent.mkdir(parents=True)
    nested.write_text("/* nested */")
    (tmp_path / "build.py").write_bytes(Path(build.__file__).read_bytes())
    monkeypatch.setattr(build, "_PACKAGE", tmp_path)
    monkeypatch.setattr(build, "_SOURCES", copied)
    monkeypatch.setattr(build, "__file__", str(tmp_path / "build.py"))
    return copied


def test_a_change_in_any_source_builds_anew(sources: Path) -> None:
    files = build._files(sources)
    assert sources / "room" / "deeper" / "nested.h" in files
    seen = {build._inputs_digest({}, [])}
    for path in [*files, sources.parent / "build.py"]:
        path.write_bytes(path.read_bytes() + b"\n")
        seen.add(build._inputs_digest({}, []))
    assert len(seen) == len(files) + 2


def test_a_source_that_moves_or_goes_builds_anew(sources: Path) -> None:
    nested = sources / "room" / "deeper" / "nested.h"
    seen = {build._inputs_digest({}, [])}
    nested.rename(sources / "room" / nested.name)
    seen.add(build._inputs_digest({}, []))
    (sources / "room" / nested.name).unlink()
    seen.add(build._inputs_digest({}, []))
    assert len(seen) == 3


def test_a_header_is_found_whatever_folder_it_is_in(sources: Path, tmp_path: Path) -> None:
    found = build._include_dirs(tmp_path / "libutp")
    folders = [tmp_path / "libutp", sources, sources / "room", sources / "room" / "deeper"]
    assert {str(path) for path in folders} <= set(found)


def test_no_two_headers_have_one_name() -> None:
    """Each is included by its name alone."""
    names = [path.name for path in build._files(build._SOURCES) if path.suffix != ".cpp"]
    assert len(names) == len(set(names))


def is_current(checkout: Path) -> bool:
    """Asked of a make that knows nothing of one that may run the tests."""
    command = ["make", "--question", ".venv/made/native"]
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=checkout, env=env, check=False)
    assert done.returncode in (0, 1), "not even asked"
    return done.returncode == 0


@pytest.mark.parametrize("where", ["utp_native/src/room/deeper", "utp_native/src", "utp_native"])
def test_make_builds_after_a_change_below_the_sources(tmp_path: Path, where: str) -> None:
    for name in ("Makefile", "pyproject.toml", "setup.py", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("src", "patches"):
        shutil.copytree(ROOT / "utp_native" / folder, tmp_path / "utp_native" / folder)
    for path in (ROOT / "utp_native").glob("*.py"):
        shutil.copy(path, tmp_path / "utp_native")
    changed = tmp_path / where / "patch.py"
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.touch()
    made = tmp_path / ".venv" / "made"
    made.mkdir(parents=True)
    for path in tmp_path.rglob("*"):
        os.utime(path, (PAST, PAST))
    for second, name in enumerate(("venv", "runtime", "project", "native"), 1):
        (made / name).touch()
        os.utime(made / name, (PAST + second, PAST + second))
    assert is_current(tmp_path)
    os.utime(changed, (PAST + 9, PAST + 9))
    assert not is_current(tmp_path)
    os.utime(changed, (PAST, PAST))
    assert is_current(tmp_path)
    if where != "utp_native":
        changed.unlink()  # which changes its folder
        assert not is_current(tmp_path)
