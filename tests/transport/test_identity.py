"""Keys on disk and safety numbers."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError
from transport.identity import (
    FILE_SIZE_MAX,
    MEMORY_SIZE_MAX,
    IdentityError,
    KdfCost,
    WrongPassphrase,
    decode_identity,
    encode_identity,
    is_encrypted,
    load_identity,
    safety_number,
    save_identity,
)

CHEAP = KdfCost(operations=1, memory_size=8192)
ALICE = Identity.generate(lambda size: (b"\x01" * size))
BOB = Identity.generate(os.urandom)
PLAIN = encode_identity(ALICE)
ENCRYPTED = encode_identity(ALICE, "correct horse", CHEAP)


@pytest.mark.parametrize("passphrase", [None, "correct horse", "pässword ☃"])
def test_what_is_saved_is_loaded(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "alice.key"
    save_identity(path, BOB, passphrase, CHEAP)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_identity(path, passphrase).key == BOB.key
    assert list(tmp_path.iterdir()) == [path]


def test_the_default_cost_opens_too() -> None:
    data = encode_identity(ALICE, "x")
    assert decode_identity(data, "x").key == ALICE.key
    assert KdfCost().memory_size == 256 << 20


def test_the_seed_is_readable_only_without_a_passphrase() -> None:
    assert ALICE.seed in PLAIN
    assert ALICE.seed not in ENCRYPTED
    assert (is_encrypted(PLAIN), is_encrypted(ENCRYPTED), is_encrypted(b"")) == (False, True, False)


def test_two_savings_share_neither_salt_nor_nonce() -> None:
    again = encode_identity(ALICE, "correct horse", CHEAP)
    assert again[31:71] != ENCRYPTED[31:71]
    assert again[-48:] != ENCRYPTED[-48:]


def test_a_passphrase_for_what_is_not_encrypted_is_said() -> None:
    with pytest.raises(IdentityError, match="not encrypted"):
        decode_identity(encode_identity(BOB), "secret")


def test_a_wrong_passphrase_is_said() -> None:
    with pytest.raises(WrongPassphrase):
        decode_identity(ENCRYPTED, "battery staple")
    with pytest.raises(IdentityError, match="a passphrase is needed"):
        decode_identity(ENCRYPTED)
    with pytest.raises(IdentityError, match="empty"):
        encode_identity(ALICE, "")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "alice.key"
    save_identity(path, ALICE)
    path.chmod(mode)
    with pytest.raises(IdentityError, match="chmod 600"):
        load_identity(path)


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        save_identity(tmp_path / "alice.key", ALICE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "alice.key").stat().st_mode) == 0o600


def test_saving_replaces_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alice.key"
    save_identity(path, ALICE)

    def no_room(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(IdentityError, match="No space left"):
        save_identity(path, BOB)
    monkeypatch.undo()
    assert load_identity(path).key == ALICE.key
    assert list(tmp_path.iterdir()) == [path]
    save_identity(path, BOB)
    assert load_identity(path).key == BOB.key


def test_what_is_no_identity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="does not exist"):
        load_identity(tmp_path / "missing")
    with pytest.raises(IdentityError, match="cannot be read"):
        load_identity(tmp_path)
    with pytest.raises(IdentityError, match="cannot be written"):
        save_identity(tmp_path / "no" / "where", ALICE)
    path = tmp_path / "other"
    path.touch(0o600)
    for content in (b"", b"-----BEGIN", bytes(FILE_SIZE_MAX + 1)):
        path.write_bytes(content)
        with pytest.raises(IdentityError, match="not an identity"):
            load_identity(path)
    with pytest.raises(IdentityError, match="does not know"):
        decode_identity(PLAIN[:18] + b"\x07" + PLAIN[19:])


@given(
    st.sampled_from([PLAIN, ENCRYPTED]), st.integers(0, 10_000), st.integers(1, 255), st.booleans()
)
def test_no_altered_byte_gives_another_identity(
    data: bytes, at: int, flip: int, cut: bool
) -> None:
    """Bounds included: no altered cost makes the derivation take more than the stated maximum."""
    at %= len(data)
    altered = data[:at] if cut else data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
    if 1 << 20 < int.from_bytes(altered[23:31], "big") <= MEMORY_SIZE_MAX and is_encrypted(altered):
        return  # a larger cost within the bound is merely slow
    with pytest.raises(LocalError):
        decode_identity(altered, "correct horse")


@pytest.mark.parametrize(
    ("operations", "memory_size"), [(0, 8192), (65, 8192), (1, 8191), (1, (1 << 31) + 1)]
)
def test_the_cost_is_bounded(operations: int, memory_size: int) -> None:
    with pytest.raises(IdentityError):
        KdfCost(operations, memory_size)
    head = ENCRYPTED[:19] + operations.to_bytes(4, "big") + memory_size.to_bytes(8, "big")
    with pytest.raises(IdentityError, match="not within"):
        decode_identity(head + ENCRYPTED[31:], "correct horse")


def test_no_secret_is_shown() -> None:
    with pytest.raises(IdentityError) as caught:
        decode_identity(ENCRYPTED[:-1] + b"\0", "correct horse battery")
    assert "horse" not in str(caught.value)
    assert ALICE.seed.hex() not in repr(ALICE)


def test_both_sides_read_the_same_number() -> None:
    number = safety_number(ALICE.key, BOB.key)
    assert number == safety_number(BOB.key, ALICE.key)
    groups = number.split(" ")
    assert len(groups) == 12
    assert all(len(group) == 5 and group.isdecimal() for group in groups)


def test_a_known_number() -> None:
    assert safety_number(bytes(32), b"\x01" * 32) == (
        "29599 55206 72225 61689 10738 60156 08449 95189 98381 70426 91584 20872"
    )


@given(st.binary(min_size=32, max_size=32), st.integers(0, 255))
def test_any_other_key_gives_another_number(key: bytes, bit: int) -> None:
    other = (int.from_bytes(key, "big") ^ 1 << bit).to_bytes(32, "big")
    if ALICE.key not in (key, other):
        assert safety_number(ALICE.key, key) != safety_number(ALICE.key, other)


def test_a_number_needs_two_keys() -> None:
    with pytest.raises(IdentityError):
        safety_number(ALICE.key, ALICE.key)
    with pytest.raises(IdentityError):
        safety_number(ALICE.key, b"short")
