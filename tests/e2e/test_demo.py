"""`quorate demo` as a user runs it: a command with output, an exit status and an end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE_S

COMMAND = [sys.executable, "-m", "quorate"]
STORY = ["demo", "--members", "3", "--blob-mib", "4", "--json"]
DEMO = [*COMMAND, *STORY]
PATIENT = [sys.executable, "-m", "tests.support.patient", *STORY]


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command, with its output as pipes of text; killed in the end if it is still there."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
    finally:
        assert process.returncode is not None


def rows_of(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Every line has to be one JSON object with a time and the name of an event."""
    for line in lines:
        row = json.loads(line)
        assert isinstance(row["t"], float)
        assert isinstance(row["event"], str)
        yield row


def member_pid(demo: int, name: str) -> int:
    """The child of the demonstration that plays the member `name`."""
    for child in Path(f"/proc/{demo}/task/{demo}/children").read_text().split():
        arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if any(argument.endswith(b"/" + name.encode()) for argument in arguments):
            return int(child)
    raise AssertionError(f"no process of {name}")


def test_all_comes_out_as_said() -> None:
    with running(PATIENT) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        rows = list(rows_of(iter(demo.stdout)))
        errors = demo.stderr.read()
        assert demo.wait(PATIENCE_S) == 0
    assert errors == ""
    *rows, summary = rows
    assert summary["event"] == "summary"
    assert summary["ok"] is True
    assert "why" not in summary
    # Two joins and the removal; two joins, a commit, a veto, a blob, and one without the third.
    assert summary["views"] == 4
    assert summary["decisions"] == 6
    assert summary["blob_mib_per_s"] > 0
    assert summary["removed_after_s"] > 0

    told = [row for row in rows if row["event"] == "decision"]
    by_member = {
        name: [(d["index"], d["outcome"], d["kind"]) for d in told if d["member"] == name]
        for name in ("alice", "bob", "carol")
    }
    story = [
        (1, "committed", "@join"), (2, "committed", "@join"), (3, "committed", "budget"),
        (4, "rejected", "budget"), (5, "committed", "publish"), (6, "committed", "budget"),
    ]  # fmt: skip
    assert by_member["alice"] == story
    assert by_member["bob"] == story[-len(by_member["bob"]) :]
    assert by_member["carol"] == story[2:5]
    veto = next(d for d in told if d["outcome"] == "rejected")
    assert any("above my limit" in reason for reason in veto["reasons"].values())
    blob = next(d for d in told if d["kind"] == "publish")
    verified = [answer for answer in blob["answers"].values() if answer is not None]
    assert verified == [{"verified_bytes": 4 << 20}] * 2
    ended = [row for row in rows if row["event"] == "ended"]
    assert [(row["member"], row["expelled"]) for row in ended] == [("carol", True)]


@pytest.mark.parametrize(
    ("name", "after", "why"),
    [
        ("alice", 3, "alice"),  # whose turn it is
        ("carol", 5, "carol voted without"),  # the others go on, and its answer is missing
    ],
)
def test_a_member_killed_in_mid_story_is_told(name: str, after: int, why: str) -> None:
    with running(PATIENT) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        rows = []
        for row in rows_of(iter(demo.stdout)):
            rows.append(row)
            steps = [each for each in rows if each["event"] == "step"]
            if row is steps[-1] and len(steps) == after + 1:
                os.kill(member_pid(demo.pid, name), signal.SIGKILL)
        errors = demo.stderr.read()
        assert demo.wait(PATIENCE_S) == 1
    assert rows[-1]["event"] == "summary"
    assert rows[-1]["ok"] is False
    assert why in rows[-1]["why"]
    assert "\n" not in rows[-1]["why"]
    assert errors == ""


def heed_signals() -> None:
    """In the child: whoever runs these tests in the background may have them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False)],
    ids=["SIGINT as of a terminal", "SIGINT", "SIGTERM"],
)
def test_ended_early_it_leaves_nothing_behind(
    number: int, to_all: bool, tmp_path: Path
) -> None:
    """Also if a member is stopped at that moment."""
    with running(
        DEMO,
        start_new_session=True,
        preexec_fn=heed_signals,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        for row in rows_of(iter(demo.stdout)):
            if row["event"] == "view":
                break
        else:
            pytest.fail(demo.stderr.read())
        # The story waits for this one, so it cannot be over before the signal comes.
        os.kill(member_pid(demo.pid, "carol"), signal.SIGSTOP)
        children = Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
        assert len(children) == 3
        assert len(list(tmp_path.iterdir())) == 1
        if to_all:
            os.killpg(demo.pid, number)
        else:
            demo.send_signal(number)
        _, errors = demo.communicate(timeout=PATIENCE_S)
        assert demo.returncode == 128 + number
    assert errors == ""
    assert list(tmp_path.iterdir()) == []
    for child in children:
        assert not Path(f"/proc/{child}").exists()


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with running(DEMO) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        assert demo.stdout.readline()
        demo.stdout.close()
        errors = demo.stderr.read()
        assert demo.wait(PATIENCE_S) != 0
    assert "Traceback" not in errors
    assert errors.count("\n") <= 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["demo", "--members", "1"], "--members takes 3 to 16"),
        (["demo", "--members", "17"], "--members takes 3 to 16"),
        (["demo", "--members", "three"], "invalid int value: 'three'"),
        (["demo", "--blob-mib", "0"], "--blob-mib takes 1 to 1024"),
        (["demo", "--blob-mib", "9999999"], "--blob-mib takes 1 to 1024"),
        (["demo", "--colour"], "unrecognized arguments: --colour"),
        (["dance"], "invalid choice: 'dance'"),
        (["scenario", "explore", "two-crash", "--jobs", "0"], "0 is not a number above 0"),
        (["scenario", "explore", "two-crash", "--states", "-1"], "-1 is not a number above 0"),
        (["scenario", "sweep", "--seeds", "-3"], "-3 is not a number above 0"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(arguments: list[str], hint: str) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    *usage, line = done.stderr.splitlines()
    assert hint in line
    assert all(each.startswith(("usage:", " ")) for each in usage)
