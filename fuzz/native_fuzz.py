"""Fuzzes the native path under sanitizers: `python -m fuzz.native_fuzz --seconds 600`.

It keeps no corpus: packets of real transfers are altered on their way (`tests/utp_native/fuzz.py`).
"""

import sys

from tests.utp_native.fuzz import main

if __name__ == "__main__":
    sys.exit(main())
