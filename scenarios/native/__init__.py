"""The inner loop of the explorer, in C.

Built by cffi when it is first used, into `.cache/scenarios/`, anew whenever its sources change.
Nothing but the explorer needs it, so that it is no part of the installed extension.
"""

from __future__ import annotations

import hashlib
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

__all__ = ["load"]

_HERE = Path(__file__).resolve().parent
_CACHE = _HERE.parent.parent / ".cache" / "scenarios"
_SOURCES = ("tables.h", "worlds.c")
_MODULE = "_worlds"
_FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]


@cache
def load() -> Any:
    """The module with `ffi` and `lib`. Raises what the compiler's failure raises."""
    header = (_HERE / "worlds.h").read_text(encoding="utf-8")
    source = "".join((_HERE / name).read_text(encoding="utf-8") for name in _SOURCES)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    parts = (header, source, suffix, cffi.__version__, sys.version, *_FLAGS)
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
    built = _CACHE / digest / f"{_MODULE}{suffix}"
    if not built.exists():
        _build(header, built)
    spec = importlib.util.spec_from_file_location(_MODULE, built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build(header: str, built: Path) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    maker = cffi.FFI()
    maker.cdef(header)
    maker.set_source(
        _MODULE,
        '#include <stdint.h>\n#include "worlds.c"',
        include_dirs=[str(_HERE)],
        extra_compile_args=_FLAGS,
    )
    with tempfile.TemporaryDirectory(dir=built.parent) as directory:
        made = maker.compile(tmpdir=directory)
        # Processes that build at the same time put the same file there, each in one step.
        whole = shutil.copy(made, Path(directory) / "whole")
        os.replace(whole, built)
