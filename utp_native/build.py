"""Builds `utp_native._native`: libutp's patched sources and ours, through cffi's API mode.

    python -m utp_native.build                 in place; nothing if all inputs are unchanged
    python -m utp_native.build --sanitize      with AddressSanitizer and UBSan, and assertions on
    python -m utp_native.build --without 10    leaves a patch out, to see its test fail
    python -m utp_native.build --bottleneck    the simulator of bottlenecks, for tests

Variants and the simulator go to `.cache/utp_native/<variant>/` and leave the module in place alone;
the command prints the environment that makes Python load one.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cffi

_PACKAGE = Path(__file__).resolve().parent
if str(_PACKAGE.parent) not in sys.path:  # when setuptools runs this file by its path
    sys.path.insert(0, str(_PACKAGE.parent))

from utp_native import patch, source  # noqa: E402

__all__ = [
    "LIMITED_API",
    "BuildError",
    "build_bottleneck",
    "build_in_place",
    "build_variant",
    "check_tools",
    "main",
    "make_ffi",
]

_SOURCES = _PACKAGE / "src"
_SIMULATION = _PACKAGE / "simulation"
_PATCHES = _PACKAGE / "patches"
_LIBUTP = (
    "utp_internal.cpp",
    "utp_api.cpp",
    "utp_callbacks.cpp",
    "utp_hash.cpp",
    "utp_packedsockaddr.cpp",
    "utp_utils.cpp",
)

# A debugging or free-threaded interpreter has no stable ABI that cffi would use.
LIMITED_API = not (hasattr(sys, "gettotalrefcount") or sysconfig.get_config_var("Py_GIL_DISABLED"))
"""Whether the module is made for every CPython from 3.11 on, and not for this one alone."""
_LIMITED = [("Py_LIMITED_API", "0x030b0000")] if LIMITED_API else []


class BuildError(Exception):
    """What a build needs is not there; the text says in one line what to install."""


# No dataclass: setuptools runs this file without making it a module, which a dataclass looks up.
class _Target(NamedTuple):
    """An extension module: its name, the headers cffi reads, and our files in it."""

    module: str
    headers: tuple[Path, ...]
    ours: tuple[Path, ...]


_NATIVE = _Target(
    "utp_native._native",
    tuple(
        _SOURCES / n
        for n in ("abi.h", "crypto/noise.h", "crypto/sealed.h", "socket/busy_poll.h")
    ),
    tuple(sorted(_SOURCES.rglob("*.cpp"))),
)
_SIMULATED = tuple(_SIMULATION / n for n in ("bottleneck.cpp", "cubic.cpp"))
_BOTTLENECK = {
    False: _Target(
        "utp_native._bottleneck",
        (_SIMULATION / "bottleneck.h",),
        (
            *_SIMULATED,
            _SIMULATION / "fork.cpp",
            _SOURCES / "channel" / "channel.cpp",
            _SOURCES / "libutp" / "ledbat.cpp",
        ),
    ),
    True: _Target(
        "utp_native._bottleneck",
        (_SIMULATION / "bottleneck.h",),
        (*_SIMULATED, _SIMULATION / "stock.cpp"),
    ),
}
"""By whether the pinned libutp is left as it is."""

# The warnings left out are libutp's own, which are not ours to mend.
_FLAGS = [
    "-std=c++17",
    "-O2",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",  # libutp reads packets through pointers of other types
    "-Wall",
    "-Wno-unused",
    "-Wno-sign-compare",
    "-Wno-class-memaccess",
    "-Wno-format",
    "-Wno-address",
    "-Wno-parentheses",
    "-Wno-type-limits",
]
_SANITIZERS = [
    "-fsanitize=address,undefined",
    "-fno-omit-frame-pointer",
    "-g",
    "-D_GLIBCXX_ASSERTIONS",  # the bounds of vectors
]
_MARK = "utp_native inputs "


def _cdef(header: Path) -> str:
    text = header.read_text(encoding="utf-8")
    return text.split("/* CDEF */", 1)[1].split("/* END */", 1)[0]


def _patched(without: Sequence[str]) -> dict[str, bytes]:
    patches = patch.load_all(_PATCHES)
    unknown = [name for name in without if not any(p.name.startswith(name) for p in patches)]
    if unknown:
        raise patch.PatchError(f"there is no patch {', '.join(unknown)}")
    kept = [p for p in patches if not p.name.startswith(tuple(without))] if without else patches
    return patch.apply(source.read_sources(), kept)


def _files(directory: Path) -> list[Path]:
    """All files in it and below."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _include_dirs(libutp: Path) -> list[str]:
    """Ours name each other by file alone, whatever room they are in."""
    rooms = sorted(path for path in _SOURCES.rglob("*") if path.is_dir())
    return [str(path) for path in (libutp, _SOURCES, *rooms)]


def _inputs_digest(
    sources: dict[str, bytes], flags: Sequence[str], more: Sequence[Path] = ()
) -> str:
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + hashlib.sha256(sources[name]).digest())
    for path in [*_files(_SOURCES), *more, Path(__file__).resolve()]:
        name = path.relative_to(_PACKAGE).as_posix()
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    digest.update("\0".join([*flags, sys.version, cffi.__version__]).encode())
    return digest.hexdigest()


def _make_builder(
    target: _Target,
    libutp: Path,
    digest: str,
    flags: Sequence[str],
    link_flags: Sequence[str],
    ndebug: bool,
    where: Callable[[Path], str] = str,
) -> cffi.FFI:
    builder = cffi.FFI()
    for header in target.headers:
        builder.cdef(_cdef(header))
    includes = "".join(f'#include "{header.name}"\n' for header in target.headers)
    builder.set_source(
        target.module,
        # The digest stands in the module itself, where the next build looks for it.
        f'{includes}extern const char utp_native_inputs[];\n'
        f'const char utp_native_inputs[] __attribute__((used)) = "{_MARK}{digest}";\n',
        source_extension=".cpp",
        sources=[where(libutp / n) for n in _LIBUTP] + [where(path) for path in target.ours],
        py_limited_api=LIMITED_API,
        include_dirs=[*_include_dirs(libutp), str(target.headers[0].parent)],
        define_macros=[("POSIX", "1"), *_LIMITED, *([("NDEBUG", "1")] if ndebug else [])],
        # distutils may define NDEBUG by itself.
        extra_compile_args=[*flags, *([] if ndebug else ["-UNDEBUG"])],
        extra_link_args=list(link_flags),
    )
    return builder


def _write(sources: dict[str, bytes], directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in sources.items():
        path = directory / name
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
    return directory


def _build_directory() -> Path:
    return source.cache_directory() / "utp_native"


def _compile(
    target: _Target,
    sources: dict[str, bytes],
    variant: str,
    directory: Path,
    flags: list[str],
    sanitize: bool,
    quiet: bool,
) -> Path:
    more = _files(_SIMULATION) if target is not _NATIVE else ()
    digest = _inputs_digest(sources, [*flags, str(sanitize)], more)
    found = None
    for built in directory.glob(target.module.rpartition(".")[2] + ".*.so"):
        if (_MARK + digest).encode() in built.read_bytes():
            found = built
        else:
            built.unlink()  # under another suffix it would be loaded in place of what is built here
    if found is not None:
        return found
    check_tools()
    libutp = _write(sources, _build_directory() / variant / "libutp")
    link_flags = _SANITIZERS if sanitize else []
    builder = _make_builder(target, libutp, digest, flags, link_flags, not sanitize)
    with tempfile.TemporaryDirectory() as work:
        built = Path(builder.compile(tmpdir=work, verbose=not quiet))
        directory.mkdir(parents=True, exist_ok=True)
        final = directory / built.name
        # Renamed into place: a process that has the old module loaded keeps its own copy.
        beside = directory / f".{built.name}.{os.getpid()}"
        shutil.copy2(built, beside)
        os.replace(beside, final)
    return final


def check_tools() -> None:
    """Raises `BuildError` without a compiler or Python's headers."""
    command = os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++"
    name = shlex.split(command)[0]
    if shutil.which(name) is None:
        raise BuildError(
            f"quorate needs a C++ compiler to build libutp, and there is no {name}: install it "
            "(Debian: apt install g++), or name another with CXX="
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise BuildError(
            f"quorate needs Python's headers to build libutp, and {headers} has none: install them "
            "(Debian: apt install python3-dev)"
        )


def build_in_place(*, quiet: bool = True) -> Path:
    """Build next to the package unless it is up to date; returns the module's path.

    Raises `SourceError`, `PatchError`, `BuildError`, or cffi's `VerificationError` from the
    compiler.
    """
    return _compile(_NATIVE, _patched(()), "release", _PACKAGE, list(_FLAGS), False, quiet)


def build_variant(
    *, without: Sequence[str] = (), sanitize: bool = False, quiet: bool = True
) -> Path:
    """Build into the cache, with patches left out or sanitizers in; returns the module's path."""
    name = "-".join([*(f"without-{w}" for w in without), *(["sanitize"] if sanitize else [])])
    variant = name or "release"
    flags = [*_FLAGS, *(_SANITIZERS if sanitize else [])]
    directory = _build_directory() / variant
    return _compile(_NATIVE, _patched(without), variant, directory, flags, sanitize, quiet)


def build_bottleneck(
    *, stock: bool = False, without: Sequence[str] = (), quiet: bool = True
) -> Path:
    """Build the simulator into the cache, over our fork or the pinned libutp as it is."""
    sources = source.read_sources() if stock else _patched(without)
    variant = "-".join(["bottleneck", *(["stock"] if stock else [f"without-{w}" for w in without])])
    directory = _build_directory() / variant
    target = _BOTTLENECK[stock]
    return _compile(target, sources, variant, directory, list(_FLAGS), False, quiet)


def make_ffi() -> cffi.FFI:
    """What setup.py names: cffi's setuptools hook calls it."""
    sources = _patched(())
    digest = _inputs_digest(sources, [*_FLAGS, "False"])
    libutp = _write(sources, _build_directory() / "release" / "libutp")
    # setuptools takes no absolute paths.
    return _make_builder(_NATIVE, libutp, digest, _FLAGS, [], True, os.path.relpath)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m utp_native.build", description=__doc__)
    parser.add_argument("--without", action="append", default=[], metavar="PATCH")
    parser.add_argument("--sanitize", action="store_true")
    parser.add_argument("--bottleneck", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if options.bottleneck:
            built = build_bottleneck(without=options.without, quiet=not options.verbose)
            print(f"UTP_BOTTLENECK_MODULE={built}")
        elif options.without or options.sanitize:
            built = build_variant(
                without=options.without, sanitize=options.sanitize, quiet=not options.verbose
            )
            print(f"UTP_NATIVE_MODULE={built}")
            if options.sanitize:
                print("LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0")
        else:
            print(build_in_place(quiet=not options.verbose))
    except (source.SourceError, patch.PatchError, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
