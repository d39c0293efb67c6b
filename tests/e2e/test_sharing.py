"""`quorate share` and `quorate fetch` as two people use them: two terminals, one line of text."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "consensus.cli"]
ROOT = Path(__file__).parents[2]
LOCAL = ["--listen", "127.0.0.1:0"]
CHUNK_SIZE = 262_144
SIZE = 48 * CHUNK_SIZE + 777
ENDS_WITHIN_S = 60.0


@contextmanager
def running(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """One of the commands, with its output as pipes of text; killed in the end."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    with running(*arguments, cwd=cwd) as process:
        out, errors = process.communicate(timeout=ENDS_WITHIN_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def shared(path: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The sharer, and how the file is fetched from it."""
    with running("share", str(path), "--json", *LOCAL, cwd=path.parent) as sharer:
        assert sharer.stdout is not None
        first = json.loads(sharer.stdout.readline())
        yield sharer, ["fetch", first["blob"], "--with", first["token"], *LOCAL]


def the_file(directory: Path) -> Path:
    path = directory / "a report.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_what_is_printed_is_what_the_other_types(tmp_path: Path) -> None:
    path = the_file(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with running("share", path.name, *LOCAL, cwd=tmp_path) as sharer:
        assert sharer.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            said = sharer.stdout.readline()
            if said.lstrip().startswith("quorate fetch "):
                command = shlex.split(said)[1:]
        done = run(*command, *LOCAL, cwd=tmp_path / "elsewhere")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "elsewhere" / path.name).read_bytes() == path.read_bytes()
        assert "verified" in done.stdout
        assert done.stderr.splitlines()[-1].startswith("100%")
        assert os.listdir(tmp_path / "elsewhere") == [path.name]  # Nothing is left behind.
        came, went = sharer.stdout.readline(), sharer.stdout.readline()
        assert came.split()[0] == went.split()[0]
        assert came.endswith("has come\n")
        assert went.endswith("has gone\n")
        sharer.send_signal(signal.SIGINT)
        out, errors = sharer.communicate(timeout=ENDS_WITHIN_S)
        assert (sharer.returncode, out, errors) == (130, "", "")


def test_killed_it_goes_on_from_where_it_was(tmp_path: Path) -> None:
    path, to = the_file(tmp_path), tmp_path / "copy"
    with shared(path) as (_, fetch):
        with running(*fetch, "--to", str(to), "--json", cwd=tmp_path) as fetcher:
            assert fetcher.stdout is not None
            for line in fetcher.stdout:
                row = json.loads(line)
                if row["event"] == "progress" and row["done"] >= 10 * CHUNK_SIZE:
                    fetcher.kill()
                    break
        assert not to.exists()
        assert (tmp_path / ".copy.quorate" / "node.db").stat().st_size > 0
        done = run(*fetch, "--to", str(to), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fetched = rows(done.stdout)[-1]
    assert fetched["event"] == "fetched"
    assert fetched["resumed_chunks"] >= 10
    assert fetched["received_size"] == SIZE - fetched["resumed_chunks"] * CHUNK_SIZE
    assert to.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [path.name, "copy"]


def test_killed_before_it_had_begun_it_begins_anew(tmp_path: Path) -> None:
    path, to = the_file(tmp_path), tmp_path / "copy"
    (tmp_path / ".copy.quorate").mkdir()
    (tmp_path / ".copy.quorate" / "node.db").touch()
    with shared(path) as (_, fetch):
        assert run(*fetch, "--to", str(to), cwd=tmp_path).returncode == 0
    assert to.read_bytes() == path.read_bytes()


def test_interrupted_it_says_how_to_go_on_and_the_sharer_stays(tmp_path: Path) -> None:
    path, to = the_file(tmp_path), tmp_path / "copy"
    with shared(path) as (_, fetch):
        with running(*fetch, "--to", str(to), cwd=tmp_path) as fetcher:
            assert fetcher.stderr is not None
            assert fetcher.stderr.readline().lstrip().startswith("1")  # A tenth of it.
            fetcher.send_signal(signal.SIGINT)
            _, errors = fetcher.communicate(timeout=ENDS_WITHIN_S)
            assert fetcher.returncode == 130
            assert "the same command goes on where this one was" in errors
            assert "Traceback" not in errors
        assert run(*fetch, "--to", str(to), cwd=tmp_path).returncode == 0
    assert to.read_bytes() == path.read_bytes()


def test_who_shares_no_more_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    path = the_file(tmp_path)
    with shared(path) as (sharer, fetch):
        path.write_bytes(bytes(SIZE))  # It is given from where it lies, and is another now.
        done = run(*fetch, "--to", "copy", "--timeout", "20", cwd=tmp_path)
        assert done.returncode == 1
        assert "cannot be fetched" in done.stderr
        assert "Traceback" not in done.stderr
        sharer.send_signal(signal.SIGINT)
        _, errors = sharer.communicate(timeout=ENDS_WITHIN_S)
        assert "has changed since it was shared" in errors


@pytest.mark.parametrize(
    ("arguments", "status", "hint"),
    [
        (["share", "missing"], 1, "No such file"),
        (["share", "."], 1, "is not a file"),
        (["share", "there", "--listen", "nowhere"], 1, "not an address to listen on"),
        (["share", "there", "--hours", "0"], 2, "not between 0 and a million"),
        (["share", "there", "--advertise", "example.org"], 2, "is not HOST:PORT"),
        (["fetch", "x", "--with", "y", "--to", "z"], 2, "begins with quorate-blob:"),
        (["fetch", "REF", "--with", "quorate1:abc", "--to", "z"], 1, "invitation"),
        (["fetch", "REF", "--with", "y", "--to", "there"], 2, "is there already"),
        (["fetch", "REF", "--with", "y", "--to", "."], 2, "is a directory"),
        (["fetch", "REF"], 2, "required"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, arguments: list[str], status: int, hint: str
) -> None:
    (tmp_path / "there").write_bytes(b"x")
    ref = "quorate-blob:" + 52 * "a" + ":1"
    done = run(*[ref if each == "REF" else each for each in arguments], cwd=tmp_path)
    assert done.returncode == status
    assert done.stdout == ""
    *usage, line = done.stderr.splitlines()
    assert hint in line
    assert all(each.startswith(("usage:", " ")) for each in usage)
    assert (tmp_path / "there").read_bytes() == b"x"
