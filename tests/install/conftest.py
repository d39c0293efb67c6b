"""One source distribution and one wheel for all tests here; which interpreters they are tried with.

What the wheel needs is installed by pip from wherever pip is set up for: PIP_NO_INDEX and
PIP_FIND_LINKS make that a folder.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.install.building import (
    NPM,
    ROOT,
    build_sdist,
    copy_project,
    files_below,
    interpreters,
    path_without,
    pip,
    succeed,
)
from utp_native import source

FOUND = interpreters()
INSTALLED: list[str] = []
"""The versions it was installed with."""
NESTED = "utp_native/src/room/deeper/pump.cpp"
MARK = "a source in a folder of a folder"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "interpreter" in metafunc.fixturenames:
        metafunc.parametrize("interpreter", FOUND, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if INSTALLED:
        terminalreporter.write_line(f"the wheel was installed with Python {', '.join(INSTALLED)}")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with one source more, below another folder and named like another."""
    source.keep_sources()
    copied = copy_project(tmp_path_factory.mktemp("project") / "quorate")
    nested = copied / NESTED
    nested.parent.mkdir(parents=True)
    nested.write_text(f'__attribute__((used)) static const char nested[] = "{MARK}";\n')
    return copied


@pytest.fixture(scope="session")
def project_files(project: Path) -> set[str]:
    """Its files, before anything is built there."""
    return files_below(project)


@pytest.fixture(scope="session")
def path_without_npm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with a compiler."""
    return path_without(tmp_path_factory.mktemp("path") / "bin", *NPM)


@pytest.fixture(scope="session")
def sdist(
    project: Path,
    project_files: set[str],
    path_without_npm: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The source distribution of `project`."""
    assert project_files, "looked at before"
    return build_sdist(project, tmp_path_factory.mktemp("sdist") / "dist", path=path_without_npm)


@pytest.fixture(scope="session")
def wheel(sdist: Path, path_without_npm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution alone, where there is no npm."""
    to = tmp_path_factory.mktemp("wheel")
    command = pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", to, sdist)
    # An empty home: nothing that was fetched before is there.
    home = str(tmp_path_factory.mktemp("home"))
    succeed(command, path=path_without_npm, cwd=to, HOME=home, XDG_CACHE_HOME=home)
    (built,) = to.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def environment(interpreter: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that holds the wheel and what it says it needs, none of it compiled here."""
    directory = tmp_path_factory.mktemp("environment")
    nothing = str(directory / "nowhere")
    make = [str(FOUND[interpreter]), "-m", "venv", "--without-pip", str(directory)]
    succeed(make, path=nothing, cwd=directory)
    into = ["--python", str(directory / "bin" / "python"), "install", "--only-binary", ":all:"]
    command = pip(*into, "--constraint", ROOT / "requirements.lock", wheel)
    succeed(command, path=nothing, cwd=directory)
    INSTALLED.append(interpreter)
    return directory
