"""Sources and patches: what is fetched is what was pinned, and edits fit it or are refused."""

from __future__ import annotations

import hashlib
import importlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from utp_native import patch, source

PATCHES = Path(patch.__file__).parent / "patches"
TEXT = b"one\ntwo\nthree\nfour\n"


def digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def edit(first: int, last: int, text: str, *, insert: bool = False) -> patch.Edit:
    found = b"".join(TEXT.splitlines(keepends=True)[first - 1 : last])
    return patch.Edit("a.cpp", first, last, insert, digest(found), text, "00-test")


def patched(*edits: patch.Edit) -> bytes:
    return patch.apply({"a.cpp": TEXT}, [patch.Patch("00-test", "why", "test", edits)])["a.cpp"]


def tarball(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> bytes:
    monkeypatch.setattr(source, "_INTEGRITY", hashlib.sha512(data).digest())
    return data


@pytest.fixture(scope="session")
def pinned() -> dict[str, bytes]:
    """The sources as they were fetched."""
    return source.read_sources()


def test_every_patch_applies() -> None:
    patches = patch.load_all(PATCHES)
    assert len(patches) >= 15
    result = patch.apply(source.read_sources(), patches)
    assert b'#include "utp_hooks.inc"' in result["utp_internal.cpp"]


def test_every_patch_names_a_test_that_exists() -> None:
    for one in patch.load_all(PATCHES):
        path, name = one.test.split("::")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        assert callable(getattr(module, name)), one.name


def test_patches_hold_no_line_of_the_source_that_they_replace() -> None:
    sources = source.read_sources()
    for one in patch.load_all(PATCHES):
        for e in one.edits:
            lines = sources[e.file].decode().splitlines()[e.first - 1 : e.last]
            long = {line.strip() for line in lines if len(line.strip()) > 40}
            assert not long & {line.strip() for line in e.text.splitlines()}, one.name


def test_edits() -> None:
    assert patched(edit(2, 3, "2\n")) == b"one\n2\nfour\n"
    assert patched(edit(4, 4, "five\n", insert=True)) == TEXT + b"five\n"
    both = patched(edit(1, 1, "new\n", insert=True), edit(1, 1, "ONE\n"), edit(4, 4, ""))
    assert both == b"ONE\nnew\ntwo\nthree\n"


def test_a_changed_source_is_refused() -> None:
    changed = {"a.cpp": TEXT.replace(b"two", b"2")}
    with pytest.raises(patch.PatchError, match="not those"):
        patch.apply(changed, [patch.Patch("00-test", "why", "test", (edit(2, 2, "x\n"),))])
    sources = source.read_sources()
    shifted = {**sources, "utp_internal.cpp": b"\n" + sources["utp_internal.cpp"]}
    with pytest.raises(patch.PatchError):
        patch.apply(shifted, patch.load_all(PATCHES))


@pytest.mark.parametrize("lines", [(0, 1), (3, 2), (4, 5), (99, 99)])
def test_an_edit_outside_of_the_source_is_refused(lines: tuple[int, int]) -> None:
    bad = replace(edit(1, 1, "x\n"), first=lines[0], last=lines[1])
    with pytest.raises(patch.PatchError):
        patched(bad)


def test_overlapping_edits_are_refused() -> None:
    with pytest.raises(patch.PatchError, match="another"):
        patched(edit(1, 2, "x\n"), edit(2, 3, "y\n"))


@pytest.mark.parametrize(
    "text",
    [
        "# why\n@ a.cpp 1-1 " + "0" * 64 + "\n|x\n",  # no test
        "# test: t\n@ a.cpp 1-1 " + "0" * 64 + "\n|x\n",  # no reason
        "# why\n# test: t\n",  # no edit
        "# why\n# test: t\n@ a.cpp 1 " + "0" * 64 + "\n",
        "# why\n# test: t\n@ a.cpp +1-2 " + "0" * 64 + "\n",
        "# why\n# test: t\n@ a.cpp 1-1 0123\n",
        "# why\n# test: t\n|x\n",
        "# why\n# test: t\nstray\n",
    ],
)
def test_malformed_patches_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "00-test.patch"
    path.write_text(text)
    with pytest.raises(patch.PatchError):
        patch.load(path)


def test_another_tarball_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(source.SourceError, match="pinned SHA-512"):
        source.unpack(tarball({"package/deps/libutp/utp.h": b"evil"}))


def test_only_plain_files_of_libutp_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "package/deps/libutp/"
    files = {folder + name: b"x" for name in source._NEEDED}
    files |= {
        "package/binding.cc": b"no",
        "/etc/passwd": b"no",
        folder + "../../../../evil.cpp": b"no",
        folder + "deeper/evil.cpp": b"no",
        folder + "Makefile": b"no",
    }
    assert set(source.unpack(pin(monkeypatch, tarball(files)))) == set(source._NEEDED)


def test_links_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in source._NEEDED:
            info = tarfile.TarInfo("package/deps/libutp/" + name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    with pytest.raises(source.SourceError, match="lacks"):
        source.unpack(pin(monkeypatch, out.getvalue()))


def test_a_file_too_large_or_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "package/deps/libutp/"
    large = tarball({folder + "utp.h": bytes(source._FILE_SIZE_MAX + 1)})
    with pytest.raises(source.SourceError, match="more than"):
        source.unpack(pin(monkeypatch, large))
    many = tarball({f"{folder}{i}.h": b"" for i in range(source._FILES_MAX + 1)})
    with pytest.raises(source.SourceError, match="more than"):
        source.unpack(pin(monkeypatch, many))


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A new one, without npm: where its sources would be."""
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.delenv("UTP_SOURCE_DIR", raising=False)
    monkeypatch.setattr(source, "_ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "third_party" / "libutp"


def write(files: dict[str, bytes], directory: Path) -> None:
    directory.mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


def test_sources_that_are_there_need_no_npm(pinned: dict[str, bytes], checkout: Path) -> None:
    write(pinned, checkout)
    assert source.read_sources() == pinned


@pytest.mark.parametrize("change", ["changed", "added", "gone"])
def test_sources_that_changed_are_refused(
    pinned: dict[str, bytes], checkout: Path, change: str
) -> None:
    write(pinned, checkout)
    if change == "changed":
        (checkout / "utp_utils.cpp").write_bytes(pinned["utp_utils.cpp"] + b"\n")
    elif change == "added":
        (checkout / "more.h").touch()
    else:
        (checkout / "utp_utils.cpp").unlink()
    with pytest.raises(source.SourceError, match="does not hold the pinned sources"):
        source.read_sources()


def test_the_licence_is_one_of_the_sources(pinned: dict[str, bytes], checkout: Path) -> None:
    assert b"BitTorrent" in pinned["LICENSE"]
    write(pinned, checkout)
    (checkout / "LICENSE").unlink()
    with pytest.raises(source.SourceError, match="lacks LICENSE"):
        source.read_sources()


def test_what_is_fetched_is_kept_whole(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: name.encode() for name in source._NEEDED}
    packed = tarball({f"package/deps/libutp/{name}": files[name] for name in files})
    monkeypatch.setattr(source, "_fetch", lambda: pin(monkeypatch, packed))
    source.keep_sources()
    assert {path.name: path.read_bytes() for path in checkout.iterdir()} == files
    assert [path.name for path in checkout.parent.iterdir()] == ["libutp"]


def test_sources_of_ones_own_are_kept_for_a_package(
    pinned: dict[str, bytes], checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(pinned, tmp_path / "own")
    monkeypatch.setenv("UTP_SOURCE_DIR", str(tmp_path / "own"))
    source.keep_sources()
    monkeypatch.delenv("UTP_SOURCE_DIR")
    assert source.read_sources() == pinned


def test_two_builds_at_once_keep_the_same_sources(checkout: Path) -> None:
    write({"utp.h": b"of the first"}, checkout)
    source._keep({"utp.h": b"of the second"}, checkout)
    assert (checkout / "utp.h").read_bytes() == b"of the first"
    assert [path.name for path in checkout.parent.iterdir()] == ["libutp"]


def test_without_npm_the_error_says_what_to_do(checkout: Path) -> None:
    with pytest.raises(source.SourceError, match="UTP_SOURCE_DIR"):
        source.read_sources()


def test_npm_that_fails_is_quoted(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho the registry says no >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(source.SourceError, match="the registry says no"):
        source.read_sources()


def test_sources_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, content in source.read_sources().items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setenv("UTP_SOURCE_DIR", str(tmp_path))
    patch.apply(source.read_sources(), patch.load_all(PATCHES))
    (tmp_path / "utp.h").unlink()
    with pytest.raises(source.SourceError, match=r"lacks utp\.h"):
        source.read_sources()
    monkeypatch.setenv("UTP_SOURCE_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(source.SourceError, match="no directory"):
        source.read_sources()


def test_the_package_installed_elsewhere_uses_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(source, "_ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert source.cache_directory() == tmp_path / "cache" / "quorate"
    assert source.source_directory().is_relative_to(source.cache_directory())
