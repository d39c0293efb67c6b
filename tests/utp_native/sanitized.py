"""Runs a Python command with the native code built under AddressSanitizer and UBSan.

    python -m tests.utp_native.sanitized                          the native tests
    python -m tests.utp_native.sanitized -m pytest tests/transport/test_channel.py

Assertions of libutp and of the standard library are on. Leaks are not looked for: CPython keeps
what it has until it ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from utp_native import build

TESTS = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/utp_native")


def run(arguments: Sequence[str]) -> int:
    """`python` with these arguments, sanitized; its status."""
    built = build.build_variant(sanitize=True)
    libraries = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    environment = {
        **os.environ,
        "UTP_NATIVE_MODULE": str(built),
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    return subprocess.run([sys.executable, *arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:] or TESTS))
