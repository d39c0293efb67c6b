"""What the tests of installation share: a copy of the project, commands without some tools, and the
interpreters of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    ".ci", "benchmarks", "consensus", "docs", "fuzz", "quorate", "scenarios", "tests",
    "third_party", "transport", "utp_native",
)  # fmt: skip
FILES = (
    ".gitignore", "*.md", "*.lock", "LICENSE", "NOTICE", "Makefile", "MANIFEST.in", "*.toml",
    "setup.py",
)  # fmt: skip
MADE = ("__pycache__", "*.pyc", "*.so", "*.o", "found")
"""What builds and tests leave in these folders."""

COMPILERS = ("*c++*", "*g++*", "*gcc*", "*clang*", "cc", "c[89]9*", "cpp*", "tcc")
NPM = ("npm", "npx", "node", "nodejs")
VERSIONS = ((3, 11), (3, 12), (3, 13))


def copy_project(to: Path) -> Path:
    """What a source distribution is made from, and nothing that was built here."""
    to.mkdir(parents=True)
    for folder in FOLDERS:
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns(*MADE))
    for path in ROOT.iterdir():
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in FILES):
            shutil.copy2(path, to)
    return to


def files_below(directory: Path) -> set[str]:
    """All files, as paths from there."""
    return {
        path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()
    }


def path_without(directory: Path, *patterns: str) -> str:
    """A PATH of one folder: all commands there are, but for those with such a name."""
    directory.mkdir(parents=True)
    for folder in os.environ["PATH"].split(os.pathsep):
        for command in Path(folder).glob("*"):
            link = directory / command.name
            if not any(fnmatch(command.name, one) for one in patterns) and not link.is_symlink():
                link.symlink_to(command)
    return str(directory)


def run(
    command: Iterable[str | Path], *, path: str, cwd: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What a command says with this PATH, and without what would lead it around what it lacks."""
    leading = ("UTP_", "CXX", "CC", "MAKE", "MFLAGS", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(leading)}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, "PATH": path, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def succeed(command: Iterable[str | Path], *, path: str, cwd: Path, **variables: str) -> str:
    """The same for one that has to succeed: what it prints."""
    done = run(command, path=path, cwd=cwd, **variables)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def pip(*arguments: str | Path) -> list[str]:
    """The command pip of the interpreter that runs the tests."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    return [*command, *(str(one) for one in arguments)]


def build_sdist(project: Path, to: Path, *, path: str) -> Path:
    """A source distribution, through the hook that every tool calls."""
    hook = "import sys, setuptools.build_meta as hooks; hooks.build_sdist(sys.argv[1])"
    to.mkdir()
    succeed([sys.executable, "-c", hook, to], path=path, cwd=project)
    (built,) = to.glob("*.tar.gz")
    return built


def unpack(archive: Path, to: Path) -> Path:
    """The one folder that a source distribution holds."""
    with tarfile.open(archive) as file:
        file.extractall(to, filter="data")
    (folder,) = to.iterdir()
    return folder


def interpreters() -> Mapping[str, Path]:
    """Each of `VERSIONS` that is on this machine, and the one that runs this, by its version."""
    found = {_version(Path(sys.executable)): Path(sys.executable)}
    for major, minor in VERSIONS:
        if any(version.startswith(f"{major}.{minor}.") for version in found):
            continue
        for candidate in _candidates(f"{major}.{minor}"):
            version = _version(candidate)
            if version.startswith(f"{major}.{minor}."):
                found[version] = candidate
                break
    return dict(sorted(found.items()))


def _candidates(version: str) -> list[Path]:
    named = shutil.which(f"python{version}")
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    return [
        *([Path(named)] if named else []),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")),
        *sorted(uv.glob(f"cpython-{version}.*/bin/python{version}")),
    ]


def _version(interpreter: Path) -> str:
    """Empty if it is none, or cannot make an environment."""
    # A name that a version manager has put on PATH may stand for nothing.
    said = subprocess.run(
        [interpreter, "-c", "import platform, venv; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() if said.returncode == 0 else ""
