"""The inner loop of the explorer, in C.

A wheel has it built. Where there is none, or none of these sources, cffi builds it when it is first
used, into `.cache/scenarios/` of a checkout or the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import cffi

from utp_native.source import cache_directory

__all__ = ["load", "make_ffi"]

_HERE = Path(__file__).resolve().parent
_SOURCES = ("worlds.h", "tables.h", "worlds.c")
_MODULE = "_worlds"
_FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]


@cache
def load() -> Any:
    """The module with `ffi` and `lib`. Raises what the compiler's failure raises."""
    try:
        shipped = importlib.import_module(f"{__name__}.{_MODULE}")
    except ImportError:
        shipped = None
    if shipped is not None and shipped.ffi.string(shipped.lib.worlds_inputs).decode() == _digest():
        return shipped
    return _built()


def make_ffi() -> cffi.FFI:
    """What setup.py names: cffi's setuptools hook calls it."""
    return _maker("scenarios.native._worlds", _FLAGS)


def _digest(*more: str) -> str:
    texts = [(_HERE / name).read_text(encoding="utf-8") for name in _SOURCES]
    parts = (*texts, *_FLAGS, *more)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def _built() -> Any:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    digest = _digest(suffix, cffi.__version__, sys.version)
    built = cache_directory() / "scenarios" / digest / f"{_MODULE}{suffix}"
    if not built.exists():
        _build(built)
    spec = importlib.util.spec_from_file_location(_MODULE, built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _maker(module: str, flags: list[str]) -> cffi.FFI:
    maker = cffi.FFI()
    maker.cdef((_HERE / "worlds.h").read_text(encoding="utf-8"))
    maker.cdef("extern const char worlds_inputs[];")
    maker.set_source(
        module,
        '#include <stdint.h>\n#include "worlds.c"\n'
        f'static const char worlds_inputs[] = "{_digest()}";\n',
        include_dirs=[str(_HERE)],
        extra_compile_args=flags,
    )
    return maker


def _build(built: Path) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    maker = _maker(_MODULE, [*_FLAGS, "-Werror"])
    with tempfile.TemporaryDirectory(dir=built.parent) as directory:
        made = maker.compile(tmpdir=directory)
        # Processes that build at the same time put the same file there, each in one step.
        whole = shutil.copy(made, Path(directory) / "whole")
        os.replace(whole, built)
