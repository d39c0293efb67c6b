"""`quorate share` and `quorate fetch` as two people use them: two terminals, one line of text."""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE_S, until_true

COMMAND = [sys.executable, "-m", "quorate"]
ROOT = Path(__file__).parents[2]
LOCAL = ["--listen", "127.0.0.1:0"]
CHUNK_SIZE = 262_144
SIZE = 48 * CHUNK_SIZE + 777


@contextmanager
def running(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None, command: list[str] = COMMAND
) -> Iterator[subprocess.Popen[str]]:
    """One of the commands, with its output as pipes of text; killed in the end."""
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    with running(*arguments, cwd=cwd, env=env) as process:
        out, errors = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


HALTING = """
    import sys
    from pathlib import Path
    import anyio
    from consensus.blobs import serve
    from quorate.cli import main

    gate, given = Path(sys.argv.pop(1)), 0
    read = serve.Session._read_chunk

    async def read_some(self, index):
        global given
        given += 1
        while given > 20 and not gate.exists():
            await anyio.sleep(0.01)
        await read(self, index)

    serve.Session._read_chunk = read_some
    sys.exit(main.main(sys.argv[1:]))
"""


@contextmanager
def shared(
    path: Path, gate: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The sharer, and how the file is fetched from it. With a `gate` it gives less than half of
    the file until something is there: so nobody has all of it before a test has come so far."""
    command = COMMAND
    if gate is not None:
        command = [sys.executable, "-c", textwrap.dedent(HALTING), str(gate)]
    share = ["share", str(path), "--json", *LOCAL]
    with running(*share, cwd=path.parent, command=command) as sharer:
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
        out, errors = sharer.communicate(timeout=PATIENCE_S)
        assert (sharer.returncode, out, errors) == (130, "", "")


def test_killed_it_goes_on_from_where_it_was(tmp_path: Path) -> None:
    path, to, gate = the_file(tmp_path), tmp_path / "copy", tmp_path / "gate"
    with shared(path, gate) as (_, fetch):
        with running(*fetch, "--to", str(to), "--json", cwd=tmp_path) as fetcher:
            assert fetcher.stdout is not None
            for line in fetcher.stdout:
                row = json.loads(line)
                if row["event"] == "progress" and row["done"] >= 10 * CHUNK_SIZE:
                    fetcher.kill()
                    break
        assert not to.exists()
        assert (tmp_path / ".copy.quorate" / "node.db").stat().st_size > 0
        gate.touch()
        done = run(*fetch, "--to", str(to), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    fetched = rows(done.stdout)[-1]
    assert fetched["event"] == "fetched"
    assert fetched["resumed_chunks"] >= 10
    assert fetched["received_size"] == SIZE - fetched["resumed_chunks"] * CHUNK_SIZE
    assert to.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [path.name, "copy", "gate"]


def test_killed_before_it_had_begun_it_begins_anew(tmp_path: Path) -> None:
    path, to = the_file(tmp_path), tmp_path / "copy"
    (tmp_path / ".copy.quorate").mkdir()
    (tmp_path / ".copy.quorate" / "node.db").touch()
    with shared(path) as (_, fetch):
        assert run(*fetch, "--to", str(to), cwd=tmp_path).returncode == 0
    assert to.read_bytes() == path.read_bytes()


def test_interrupted_it_says_how_to_go_on_and_the_sharer_stays(tmp_path: Path) -> None:
    path, to, gate = the_file(tmp_path), tmp_path / "copy", tmp_path / "gate"
    with shared(path, gate) as (_, fetch):
        with running(*fetch, "--to", str(to), cwd=tmp_path) as fetcher:
            assert fetcher.stderr is not None
            assert fetcher.stderr.readline().lstrip().startswith("1")  # A tenth of it.
            fetcher.send_signal(signal.SIGINT)
            _, errors = fetcher.communicate(timeout=PATIENCE_S)
            assert fetcher.returncode == 130
            assert "the same command goes on where this one was" in errors
            assert "Traceback" not in errors
        gate.touch()
        assert run(*fetch, "--to", str(to), cwd=tmp_path).returncode == 0
    assert to.read_bytes() == path.read_bytes()


def test_ended_by_a_signal_the_sharer_leaves_nothing_behind(tmp_path: Path) -> None:
    path, place = the_file(tmp_path), tmp_path / "place"
    place.mkdir()
    with running("share", str(path), *LOCAL, cwd=tmp_path, env={"TMPDIR": str(place)}) as sharer:
        assert sharer.stdout is not None
        sharer.stdout.readline()
        assert list(place.iterdir())
        sharer.send_signal(signal.SIGTERM)
        assert sharer.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert list(place.iterdir()) == []


def test_who_shares_no_more_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    path = the_file(tmp_path)
    with shared(path) as (sharer, fetch):
        path.write_bytes(bytes(SIZE))  # It is given from where it lies, and is another now.
        done = run(*fetch, "--to", "copy", "--timeout", str(PATIENCE_S), cwd=tmp_path)
        assert done.returncode == 1
        assert "cannot be fetched" in done.stderr
        assert "Traceback" not in done.stderr
        sharer.send_signal(signal.SIGINT)
        _, errors = sharer.communicate(timeout=PATIENCE_S)
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
        (["fetch", "REF", "--with", "y", "--to", "pipe", "--force"], 2, "no plain file"),
        (["fetch", "REF", "--with", "y", "--to", "link", "--force"], 2, "no plain file"),
        (["verify", "nowhere"], 1, "nowhere: No such file"),
        (["fetch", "REF"], 2, "required"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path, arguments: list[str], status: int, hint: str
) -> None:
    (tmp_path / "there").write_bytes(b"x")
    (tmp_path / "link").symlink_to("there")
    os.mkfifo(tmp_path / "pipe")
    ref = "quorate-blob:" + 52 * "a" + ":1"
    done = run(*[ref if each == "REF" else each for each in arguments], cwd=tmp_path)
    assert done.returncode == status
    assert done.stdout == ""
    *usage, line = done.stderr.splitlines()
    assert hint in line
    assert all(each.startswith(("usage:", " ")) for each in usage)
    assert (tmp_path / "there").read_bytes() == b"x"


def test_where_the_file_goes_there_need_be_no_room_for_two(tmp_path: Path) -> None:
    """A disk of one and a half times the file."""
    path, disk = the_file(tmp_path), tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={3 * SIZE // 2}", "none", str(disk)]
    script = f'{shlex.join(mounted)} && exec "$@"'
    inside = ["unshare", "-rm", "sh", "-c", script, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    with shared(path) as (_, fetch):
        to = str(disk / "copy")
        compare = '"$@" >&2 && cmp "$TO" "$FROM" && ls -A "$(dirname "$TO")"'
        done = subprocess.run(
            [*inside, "sh", "-c", compare, "sh", *COMMAND, *fetch, "--to", to],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TO": to, "FROM": str(path)},
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "copy\n"


FAILING = """
    import errno, sys
    from consensus.blobs import errors, export_file
    from quorate.cli.main import main

    def step(self):
        raise errors.disk_error(OSError(errno.ENOSPC, "No space left on device"), "copy")

    export_file.Export.step = step
    sys.exit(main(sys.argv[1:]))
"""


def test_what_came_is_kept_when_there_is_no_room_to_put_it(tmp_path: Path) -> None:
    path, to = the_file(tmp_path), tmp_path / "copy"
    with shared(path) as (_, fetch):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(FAILING), *fetch, "--to", str(to)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            cwd=ROOT,
        )
        assert done.returncode == 1
        assert "make room and fetch again, what was verified is kept" in done.stderr
        done = run(*fetch, "--to", str(to), "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert rows(done.stdout)[-1]["received_size"] == 0
    assert to.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [path.name, "copy"]


SLOW = """
    import sys, time
    from consensus.blobs import export_file
    from quorate.cli.main import main

    read = export_file.WholeBlob.read_chunk

    def slowly(self, index):
        if index == 0:
            print("copying", flush=True)
        time.sleep(0.2)
        return read(self, index)

    export_file.STEP_CHUNKS = 1
    export_file.WholeBlob.read_chunk = slowly
    sys.exit(main(sys.argv[1:]))
"""


def pending(process: int, number: int) -> bool:
    """Whether a signal has not been taken yet: another of its kind would be the same one."""
    status = Path(f"/proc/{process}/status").read_text()
    return any(
        int(line.split()[1], 16) >> (number - 1) & 1
        for line in status.splitlines()
        if line.startswith(("SigPnd:", "ShdPnd:"))
    )


@pytest.mark.parametrize("there", [False, True])
def test_interrupted_twice_as_it_is_put_in_its_place_it_keeps_all(
    tmp_path: Path, there: bool
) -> None:
    path, to = the_file(tmp_path), tmp_path / "copy"
    if there:
        to.write_bytes(b"before")
    with shared(path) as (_, fetch):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SLOW), *fetch, "--to", str(to), "--force"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        with process:
            assert process.stdout is not None
            while process.stdout.readline() != "copying\n":
                assert process.poll() is None
            for _ in range(3):
                process.send_signal(signal.SIGINT)
                until_true(lambda: not pending(process.pid, signal.SIGINT))
            _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert "the same command goes on where this one was" in errors
        kept = [".copy.quorate", path.name, *(["copy"] if there else [])]
        assert sorted(os.listdir(tmp_path)) == sorted(kept)
        assert len(list((tmp_path / ".copy.quorate").glob("*.blobs/*.blob"))) == 1
        done = run(*fetch, "--to", str(to), "--json", "--force", cwd=tmp_path)
        assert rows(done.stdout)[-1]["received_size"] == 0
    assert to.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_name_that_is_no_text_is_told_as_well_as_can_be(tmp_path: Path, as_json: bool) -> None:
    name = os.fsdecode(b"report \xff.bin")
    path = tmp_path / name
    try:
        path.write_bytes(b"x" * 1000)
    except OSError:
        pytest.skip("this file system takes text only")
    (tmp_path / "elsewhere").mkdir()
    strictly = {"PYTHONIOENCODING": "utf-8:strict"}
    extra = ["--json"] if as_json else []
    with running("share", name, *extra, *LOCAL, cwd=tmp_path, env=strictly) as sharer:
        assert sharer.stdout is not None
        if as_json:
            first = json.loads(sharer.stdout.readline())
            command = ["fetch", first["blob"], "--with", first["token"]]
        else:
            said = sharer.stdout.readline()
            assert said.startswith("report \\udcff.bin (1000 bytes)")
            while not said.lstrip().startswith("quorate fetch "):
                said = sharer.stdout.readline()
            command = shlex.split(said)[1:-2]
        to = tmp_path / "elsewhere" / name
        done = run(*command, "--to", str(to), *extra, *LOCAL, cwd=tmp_path, env=strictly)
        assert done.returncode == 0, done.stderr
        assert to.read_bytes() == path.read_bytes()
        if as_json:
            assert rows(done.stdout)[-1]["to"] == str(to)
