"""libutp's sources: fetched from the npm registry, checked against pinned hashes, never committed.

`UTP_SOURCE_DIR` names a directory of sources to use instead; the patches check that they fit.
"""

from __future__ import annotations

import base64
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

__all__ = ["PACKAGE", "SourceError", "cache_directory", "read_sources", "unpack"]

PACKAGE = "utp-native@2.5.3"
_INTEGRITY = base64.b64decode(
    "sWTrWYXPhhWJh+cS2baPzhaZc89zwlWCfwSthUjGhLkZztyPhcQllo+XVVCbNGi7dhyRlxkWxN4NKU6FbA9Y8w=="
)
"""SHA-512 of the package's tarball, as the registry states it."""

_FOLDER = PurePosixPath("package/deps/libutp")
_TARBALL_SIZE_MAX = 8 * 1024 * 1024
_FILE_SIZE_MAX = 1024 * 1024
_FILES_MAX = 64
_FETCH_TIMEOUT_S = 300
_NEEDED = ("utp_internal.cpp", "utp_api.cpp", "utp_callbacks.cpp", "utp_hash.cpp", "utp.h")


class SourceError(Exception):
    """The sources cannot be had, or are not the pinned ones."""


def cache_directory() -> Path:
    """Where unpacked sources live: in the checkout, ignored by git, or in the user's cache."""
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        return root / ".cache" / "libutp"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "quorate" / "libutp"


def read_sources() -> dict[str, bytes]:
    """The untouched sources by file name, fetched if need be. Raises `SourceError`."""
    override = os.environ.get("UTP_SOURCE_DIR")
    if override:
        return _read(Path(override))
    directory = cache_directory() / hashlib.sha256(_INTEGRITY).hexdigest()[:16]
    tarball = directory / "package.tgz"
    if not tarball.is_file():
        data = _fetch()
        _check(data)
        directory.mkdir(parents=True, exist_ok=True)
        # Beside it and then renamed: two builds at once must not read half a file.
        with tempfile.NamedTemporaryFile(dir=directory, delete=False) as file:
            file.write(data)
        os.replace(file.name, tarball)
    # Unpacked in memory and checked each time: nothing on disk can change unnoticed.
    return unpack(tarball.read_bytes())


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
            f"npm is needed to fetch {PACKAGE}, which holds libutp's sources, and was not found. "
            "Install it, or set UTP_SOURCE_DIR to a directory that holds them."
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
    if not directory.is_dir():
        raise SourceError(f"UTP_SOURCE_DIR is no directory: {directory}")
    paths = [*directory.glob("*.cpp"), *directory.glob("*.h"), *directory.glob("LICENSE")]
    return _complete({path.name: path.read_bytes() for path in paths}, str(directory))


def _complete(files: Mapping[str, bytes], where: str) -> dict[str, bytes]:
    missing = [name for name in _NEEDED if name not in files]
    if missing:
        raise SourceError(f"{where} lacks {', '.join(missing)}")
    return dict(files)
