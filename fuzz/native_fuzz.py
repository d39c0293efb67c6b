"""Fuzzes the native path under sanitizers: `python -m fuzz.native_fuzz --seconds 600`.

Its corpus are the packets of real transfers, altered on their way (`tests/utp_native/fuzz.py`); the
seeds of sessions that found something are kept in `found/native`, and a run begins with them.
"""

import sys

from tests.utp_native.fuzz import main

if __name__ == "__main__":
    sys.exit(main())
