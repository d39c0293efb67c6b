"""Seeded schedules of the shipped engine: safe at every step, at rest after healing, replayable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consensus.core.engine.group import Group
from scenarios.__main__ import main
from scenarios.check.history import Event, write_line
from scenarios.search.sweep import PROFILES, run_schedule, schedule_of, sweep
from scenarios.stage.stage import Stage
from tests.support.scripts.broken import BROKEN, CommitOnMajority

SEEDS = 400


@pytest.mark.parametrize("profile", PROFILES)
def test_the_shipped_engine_passes(profile: str):
    outcome = sweep(range(SEEDS), profile=profile)
    assert [(f.replay, str(f.violation)) for f in outcome.failures] == []
    assert outcome.decisions > SEEDS
    assert outcome.views > SEEDS


def history(seed: int, group: type[Group] = Group) -> list[tuple[object, ...]]:
    stage, _, _, moments = run_schedule(schedule_of(seed), group, trace=True)
    return [stage.now, *moments]


def test_equal_seeds_give_equal_histories():
    for seed in (3, 8, 21):
        assert history(seed) == history(seed)
    assert history(3) != history(4)


def test_every_kind_of_trouble_occurs():
    schedules = [schedule_of(seed) for seed in range(200)]
    whats = {act.what for s in schedules for _, _, act in s.acts}
    assert whats == {"propose", "kick", "leave", "sponsor"}
    assert any(s.crashes for s in schedules)
    assert any(s.cuts for s in schedules)
    assert any(s.heals for s in schedules)
    assert {len(s.case.members) for s in schedules} == {2, 3, 4, 5}
    assert {s.case.config.casting_vote for s in schedules} == {True, False}


def test_programs_that_never_answer_and_full_windows_occur():
    schedules = [PROFILES["silent"](seed) for seed in range(200)]
    configs = [s.case.config for s in schedules]
    assert {c.on_silence_kick for c in configs} == {True, False}
    assert sum(() in s.case.votes.values() for s in schedules) > 100
    assert any(len(s.acts) > s.case.config.window_total for s in schedules)
    assert any(s.crashes for s in schedules)
    assert any(s.case.joiners for s in schedules)


def test_a_failing_seed_is_told_with_its_replay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    outcome = sweep(range(300), CommitOnMajority)
    [failure] = outcome.failures
    assert failure.replay == f"python -m scenarios replay {failure.seed}"
    svg = tmp_path / "history.svg"
    assert main(["replay", str(failure.seed), "--svg", str(svg)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"seed {failure.seed}: members")
    assert "PROPOSE" in told
    assert svg.read_text().startswith("<svg")
    _, _, again, _ = run_schedule(schedule_of(failure.seed), CommitOnMajority)
    assert again is not None
    assert str(again.violation) == str(failure.violation)


def test_the_command_sums_up(capsys: pytest.CaptureFixture[str]):
    assert main(["sweep", "--seeds", "20", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["seeds"] == 20
    assert row["violations"] == []
    assert row["decisions"] > 20


def logs_of(seed: int, group: type[Group], folder: Path) -> list[str]:
    """What the members of a schedule would have logged, one file each."""
    lines: dict[int, list[tuple[object, Event]]] = {}
    seen = Stage._step

    def listen(self: Stage, member: int, what: str, detail: object, sends: object) -> None:
        name = self.scene.names[member]
        lines.setdefault(member, []).extend((name, e) for e in self.shells[member].events)
        seen(self, member, what, detail, sends)  # type: ignore[arg-type]

    patch = pytest.MonkeyPatch()
    patch.setattr(Stage, "_step", listen)
    try:
        stage, _, _, _ = run_schedule(schedule_of(seed), group)
    finally:
        patch.undo()
    paths = []
    for member, shell in enumerate(stage.shells):
        first = [(shell.recorder.member, e) for e in shell.recorder.reports[:1]]
        path = folder / f"{member}.jsonl"
        events = first * (member < len(stage.scene.case.members)) + lines.get(member, [])
        path.write_text("".join(write_line(name, e, "board") + "\n" for name, e in events))
        paths.append(str(path))
    return paths


def test_logs_are_checked_by_the_same_checkers(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["check", *logs_of(11, Group, tmp_path)]) == 0
    assert "all invariants hold" in capsys.readouterr().out
    broken = BROKEN["commit on a majority of accepts"]
    [failure] = sweep(range(300), broken).failures
    assert main(["check", *logs_of(failure.seed, broken, tmp_path)]) == 1
    assert f"VIOLATED {failure.violation.invariant}" in capsys.readouterr().out
    (tmp_path / "bad.jsonl").write_text("{nonsense\n{}\n")
    assert main(["check", str(tmp_path / "bad.jsonl")]) == 2
    assert main(["check", str(tmp_path / "missing.jsonl")]) == 2
