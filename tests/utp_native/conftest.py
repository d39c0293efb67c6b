"""The extension is built before anything here is imported; nothing happens if it is up to date."""

import os

from utp_native import build

if "UTP_NATIVE_MODULE" not in os.environ:
    build.build_in_place()
