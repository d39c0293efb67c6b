"""Only the part of the build that pyproject.toml cannot say: the native module."""

from setuptools import setup

setup(cffi_modules=["utp_native/build.py:make_ffi"])
