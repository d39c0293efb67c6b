"""libutp's sources: fetched from the npm registry, checked against pinned hashes, never committed.

A checkout keeps them in `third_party/libutp/`, ignored by git. A source distribution has them there
from the start, so that building from it needs no npm. `UTP_SOURCE_DIR` names a directory of sources
to use instead; the patches check that they fit.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

__all__ = [
    "PACKAGE",
    "SourceError",
    "cache_directory",
    "digest",
    "keep_sources",
    "read_sources",
    "source_directory",
    "unpack",
]

PACKAGE = "utp-native@2.5.3"
_INTEGRITY = base64.b64decode(
    "sWTrWYXPhhWJh+cS2baPzhaZc89zwlWCfwSthUjGhLkZztyPhcQllo+XVVCbNGi7dhyRlxkWxN4NKU6FbA9Y8w=="
)
"""SHA-512 of the package's tarball, as the registry states it."""
_FILES = "0e955e12fc925d060c991ac0842d9edc5ea77fda086f4a4665095fe082a7e509"
"""What `digest` says of the sources in it."""

_FOLDER = PurePosixPath("package/deps/libutp")
_TARBALL_SIZE_MAX = 8 * 1024 * 1024
_FILE_SIZE_MAX = 1024 * 1024
_FILES_MAX = 64
_FETCH_TIMEOUT_S = 300
_NEEDED = (
    *("utp_internal.cpp", "utp_api.cpp", "utp_callbacks.cpp", "utp_hash.cpp", "utp.h"),
    "LICENSE",  # whoever passes a build on passes it on too
)
_ROOT = Path(__file__).resolve().parent.parent


class SourceError(Exception):
    """The sources cannot be had, or are not the pinned ones."""


def cache_directory() -> Path:
    """For what is built or fetched: in the checkout, ignored by git, or in the user's cache."""
    if (_ROOT / "pyproject.toml").is_file():
        return _ROOT / ".cache"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "quorate"


def source_directory() -> Path:
    """Where the untouched sources are kept: in the checkout, or in the user's cache."""
    if (_ROOT / "pyproject.toml").is_file():
        return _ROOT / "third_party" / "libutp"
    return cache_directory() / "libutp" / _FILES[:16]


def read_sources() -> dict[str, bytes]:
    """The untouched sources by file name, fetched if need be. Raises `SourceError`."""
    override = os.environ.get("UTP_SOURCE_DIR")
    if override:
        if not Path(override).is_dir():
            raise SourceError(f"UTP_SOURCE_DIR is no directory: {override}")
        return _read(Path(override))
    directory = source_directory()
    if not directory.is_dir():
        files = unpack(_fetch())
        _keep(files, directory)
        return files
    files = _read(directory)
    # Checked each time: nothing on disk can change unnoticed.
    if not hmac.compare_digest(digest(files), _FILES):
        raise SourceError(
            f"{directory} does not hold the pinned sources of {PACKAGE}: remove it, and they are "
            "fetched again"
        )
    return files


def keep_sources() -> None:
    """Have in `source_directory` what is built from: a package passes on its licence, and a source
    distribution all of it. Raises `SourceError`."""
    files = read_sources()
    if not source_directory().is_dir():
        _keep(files, source_directory())


def digest(files: Mapping[str, bytes]) -> str:
    """One SHA-256 of all files: of what `sha256sum` prints of them, in the order of their names."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _keep(files: Mapping[str, bytes], directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Beside it and then renamed: two builds at once must not read half of them.
    with tempfile.TemporaryDirectory(dir=directory.parent) as work:
        whole = Path(work) / directory.name
        whole.mkdir()
        for name, content in files.items():
            (whole / name).write_bytes(content)
        # The other build was first, and has put the same files there.
        with contextlib.suppress(OSError):
            whole.rename(directory)


def unpack(data: bytes) -> dict[str, bytes]:
    """The sources in a tarball. Raises `SourceError` unless it is the pinned one.

    Only plain files directly in libutp's folder are looked at; no name becomes a path.
    """
    _check(data)
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.parent != _FOLDER or not member.isreg():
                continue
            if path.suffix not in (".cpp", ".h") and path.name != "LICENSE":
                continue
            if member.size > _FILE_SIZE_MAX or len(files) >= _FILES_MAX:
                raise SourceError("the package holds more than libutp's sources")
            content = archive.extractfile(member)
            assert content is not None  # it is a regular file
            files[path.name] = content.read()
    return _complete(files, PACKAGE)


def _check(data: bytes) -> None:
    if not hmac.compare_digest(hashlib.sha512(data).digest(), _INTEGRITY):
        raise SourceError(
            f"the tarball of {PACKAGE} does not have the pinned SHA-512; nothing was unpacked"
        )


def _fetch() -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise SourceError(
            f"quorate needs npm to fetch libutp's sources ({PACKAGE}): install it (Debian: apt "
            "install npm), or name a directory with them in UTP_SOURCE_DIR"
        )
    with tempfile.TemporaryDirectory() as directory:
        try:
            subprocess.run(
                [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"],
                cwd=directory,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_FETCH_TIMEOUT_S,
            )
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode(errors="replace").strip()[-500:]
            raise SourceError(f"npm could not fetch {PACKAGE}: {said}") from None
        except subprocess.TimeoutExpired:
            raise SourceError(f"npm did not fetch {PACKAGE} in {_FETCH_TIMEOUT_S} s") from None
        tarballs = list(Path(directory).glob("*.tgz"))
        if len(tarballs) != 1 or tarballs[0].stat().st_size > _TARBALL_SIZE_MAX:
            raise SourceError(f"npm left no tarball of {PACKAGE}")
        return tarballs[0].read_bytes()


def _read(directory: Path) -> dict[str, bytes]:
    paths = [*directory.glob("*.cpp"), *directory.glob("*.h"), *directory.glob("LICENSE")]
    return _complete({path.name: path.read_bytes() for path in paths}, str(directory))


def _complete(files: Mapping[str, bytes], where: str) -> dict[str, bytes]:
    missing = [name for name in _NEEDED if name not in files]
    if missing:
        raise SourceError(f"{where} lacks {', '.join(missing)}")
    return dict(files)
