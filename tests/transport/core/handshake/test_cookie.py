"""The cookie depends on every one of its fields, and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from transport.core.handshake.cookie import make_cookie

SECRET = bytes(range(32))
ADDRESS = ("192.0.2.1", 4001)
FIELDS: dict[str, Any] = {
    "sequence": 1,
    "hello_hash": bytes(32),
    "tid": bytes(4),
    "effort": 2,
    "time": 3,
    "choice": 1,
}


def test_it_is_sixteen_bytes_and_repeats() -> None:
    assert len(make_cookie(SECRET, ADDRESS, **FIELDS)) == 16
    assert make_cookie(SECRET, ADDRESS, **FIELDS) == make_cookie(SECRET, ADDRESS, **FIELDS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence", 2),
        ("hello_hash", bytes(31) + b"\1"),
        ("tid", b"\0\0\0\1"),
        ("effort", 3),
        ("time", 4),
        ("choice", 2),
    ],
)
def test_every_field_counts(field: str, value: object) -> None:
    changed = make_cookie(SECRET, ADDRESS, **{**FIELDS, field: value})
    assert changed != make_cookie(SECRET, ADDRESS, **FIELDS)


def test_secret_and_address_count() -> None:
    cookies = {
        make_cookie(secret, address, **FIELDS)
        for secret in (SECRET, bytes(32))
        for address in (ADDRESS, ("192.0.2.1", 4002), ("192.0.2.14", 1), ("192.0.2.1", 41))
    }
    assert len(cookies) == 8
