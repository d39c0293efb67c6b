"""A short run of the fuzzer; `python -m tests.utp_native.fuzz` runs it long and sanitized."""

from __future__ import annotations

import random

import pytest

from tests.utp_native.fuzz import Session, mutated


@pytest.mark.parametrize("seed", range(12))
def test_sessions_find_nothing(seed: int) -> None:
    Session(seed).run()


def test_a_session_does_what_its_seed_says() -> None:
    sessions = [Session(7), Session(7)]
    for session in sessions:
        for _ in range(50):
            session.act(session.choose.choice(list(session.pumps)))
            session.exchange()
            session.now += 0.01
    assert sessions[0].seen == sessions[1].seen
    assert sessions[0].seen


def test_alterations_are_many() -> None:
    choose = random.Random(1)
    data = bytes(range(100))
    assert len({mutated(data, choose) for _ in range(200)}) > 150
