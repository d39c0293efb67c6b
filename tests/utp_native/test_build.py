"""Which module of several the build leaves to be loaded."""

from pathlib import Path

import pytest

from utp_native import build


def test_a_stale_module_under_another_suffix_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes the suffix it likes best, and not the module that was built last."""
    digest = build._inputs_digest({}, ["False"])
    current = tmp_path / "_native.abi3.so"
    stale = tmp_path / "_native.cpython-311-x86_64-linux-gnu.so"
    other = tmp_path / "_bottleneck.abi3.so"
    current.write_bytes(b"...utp_native inputs " + digest.encode() + b"...")
    for path in (stale, other):
        path.write_bytes(b"...utp_native inputs " + bytes(64).hex().encode())
    found = build._compile(build._NATIVE, {}, "none", tmp_path, [], False, True)
    assert found == current
    assert not stale.exists()
    assert other.exists()
