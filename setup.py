"""Only what pyproject.toml cannot say of a build: native modules, and libutp's sources for them."""

import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import PlatformError

sys.path.insert(0, str(Path(__file__).parent))  # where builds are isolated it is not there

from utp_native import build, source


class BuildExt(build_ext):
    """Tells what is missing before anything is compiled, instead of what failed without it."""

    def run(self) -> None:
        try:
            build.check_tools()
        except build.BuildError as error:
            raise PlatformError(str(error)) from None
        super().run()


try:
    source.keep_sources()
except source.SourceError as error:
    sys.exit(f"error: {error}")

# In a new folder each time: a module that was renamed since would come along from an old one.
with tempfile.TemporaryDirectory() as build_base:
    setup(
        cffi_modules=["utp_native/build.py:make_ffi", "scenarios/native/__init__.py:make_ffi"],
        cmdclass={"build_ext": BuildExt},
        options={
            "build": {"build_base": build_base},
            # One module for every interpreter from 3.11 on, and so one wheel.
            "bdist_wheel": {"py_limited_api": "cp311"} if build.LIMITED_API else {},
        },
    )
