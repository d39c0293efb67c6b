"""Where a tool is missing, make and pip each say in one line what to install."""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.install.building import COMPILERS, NPM, path_without, pip, run
from utp_native import build

pytestmark = pytest.mark.timeout(900)

INSTALL_COMPILER = "install it (Debian: apt install g++), or name another with CXX="
INSTALL_NPM = (
    "install it (Debian: apt install npm), or name a directory with them in UTP_SOURCE_DIR"
)
MISSING = [
    pytest.param(COMPILERS, "quorate needs a C++ compiler", INSTALL_COMPILER, id="compiler"),
    pytest.param(NPM, "quorate needs npm", INSTALL_NPM, id="npm"),
]


@pytest.fixture
def lacking(project: Path, missing: tuple[str, ...], tmp_path: Path) -> tuple[Path, str]:
    """The project as in a new checkout, and a PATH without some commands. Only with libutp's
    sources gone is npm asked for."""
    checkout = tmp_path / "checkout"
    left = shutil.ignore_patterns(".cache", *(["third_party"] if missing is NPM else []))
    shutil.copytree(project, checkout, ignore=left)
    return checkout, path_without(tmp_path / "bin", *missing)


def lines_of_ours(said: str) -> list[str]:
    return [line.strip() for line in said.splitlines() if "quorate needs" in line]


@pytest.mark.parametrize(("missing", "needs", "install"), MISSING)
def test_make_says_it(lacking: tuple[Path, str], needs: str, install: str) -> None:
    checkout, path = lacking
    done = run(["make", "setup", f"PYTHON={sys.executable}"], path=path, cwd=checkout)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert len(said) == 1
    assert said[0].startswith(needs)
    assert said[0].endswith(install)
    assert not (checkout / ".venv").exists(), "told before anything is made"


@pytest.mark.parametrize(("missing", "needs", "install"), MISSING)
def test_pip_says_it(lacking: tuple[Path, str], needs: str, install: str, tmp_path: Path) -> None:
    checkout, path = lacking
    options = ["--no-deps", "--no-build-isolation", "--target"]
    done = run(pip("install", *options, tmp_path / "target", checkout), path=path, cwd=checkout)
    assert done.returncode != 0
    (said,) = lines_of_ours(done.stdout + done.stderr)
    assert said.startswith(f"error: {needs}")
    assert said.endswith(install)
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(("missing", "needs", "install"), MISSING)
def test_the_build_in_place_says_it(lacking: tuple[Path, str], needs: str, install: str) -> None:
    checkout, path = lacking
    done = run([sys.executable, "-m", "utp_native.build"], path=path, cwd=checkout)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(needs)
    assert said.endswith(install)


def test_pythons_headers_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(build.BuildError, match="apt install python3-dev"):
        build.check_tools()


def test_a_compiler_that_is_named_has_to_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXX", f"{tmp_path}/none -pthread")
    with pytest.raises(build.BuildError, match=f"there is no {tmp_path}/none: install"):
        build.check_tools()
