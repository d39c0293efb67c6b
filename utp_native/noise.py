"""The border of `src/crypto/noise.cpp`: whole Noise messages in one call each.

Pure: a function of what it is given. `transport.core.crypto.noise` takes it where the extension is
built and calls the primitives one by one where it is not.
"""

from __future__ import annotations

from typing import Any

from nacl._sodium import ffi as _sodium_ffi
from nacl._sodium import lib as _sodium

from utp_native.native import ffi, lib

__all__ = ["ffi", "functions", "lib"]

if not hasattr(lib, "qp_noise_read"):
    raise ImportError("utp_native's extension is an older one; run: python -m utp_native.build")

_FUNCTIONS = {
    "multiply": "crypto_scalarmult",
    "seal": "crypto_aead_chacha20poly1305_ietf_encrypt",
    "open": "crypto_aead_chacha20poly1305_ietf_decrypt",
}


def _functions() -> Any:
    addresses = ffi.new("qp_noise_functions *")
    for field, name in _FUNCTIONS.items():
        pointer = _sodium_ffi.addressof(_sodium, name)
        setattr(addresses, field, ffi.cast("void *", int(_sodium_ffi.cast("uintptr_t", pointer))))
    return addresses


functions: Any = _functions()
"""Addresses of what `src/crypto/noise.cpp` calls in PyNaCl's libsodium. Tests count or replace
them."""
