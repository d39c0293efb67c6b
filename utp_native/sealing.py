"""The border of `src/crypto/sealed.cpp`: one sealed datagram of the messages plane a call.

Pure: a function of what it is given. `transport.core.crypto.aead` takes it where the extension is
built and calls the primitives one by one where it is not.
"""

from __future__ import annotations

from utp_native.native import ffi, lib, sodium

__all__ = ["ffi", "lib", "sodium"]

if not hasattr(lib, "qp_seal"):
    raise ImportError("utp_native's extension is an older one; run: python -m utp_native.build")
