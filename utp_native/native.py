"""The border module: finds the built extension and PyNaCl's libsodium, and checks both once."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType
from typing import Any, Final

from nacl._sodium import ffi as _sodium_ffi
from nacl._sodium import lib as _sodium

from utp_native.types import PlaneKeys

__all__ = ["ffi", "has_aes", "lib", "native_keys", "sodium"]

_CID_SIZE: Final = 8
_KEY_SIZE: Final = 32


def _load() -> ModuleType:
    # A variant with sanitizers, or without a patch, is loaded by its path.
    path = os.environ.get("UTP_NATIVE_MODULE")
    if path:
        spec = importlib.util.spec_from_file_location("utp_native._native", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"UTP_NATIVE_MODULE is no module: {path}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    try:
        return importlib.import_module("utp_native._native")
    except ImportError as error:
        raise ImportError(
            "utp_native's extension is not built; run: python -m utp_native.build"
        ) from error


_module = _load()
ffi: Any = _module.ffi
lib: Any = _module.lib

if _sodium.sodium_init() < 0:
    raise ImportError("libsodium cannot be initialised")

_FUNCTIONS = {
    "chacha20_encrypt": "crypto_aead_chacha20poly1305_ietf_encrypt",
    "chacha20_decrypt": "crypto_aead_chacha20poly1305_ietf_decrypt",
    "xchacha20_subkey": "crypto_secretstream_xchacha20poly1305_init_pull",
    "aegis256_encrypt": "crypto_aead_aegis256_encrypt",
    "aegis256_decrypt": "crypto_aead_aegis256_decrypt",
    "blake2b": "crypto_generichash_blake2b_salt_personal",
}
# The native code calls with these sizes.
if (
    _sodium.crypto_aead_chacha20poly1305_ietf_npubbytes(),
    _sodium.crypto_aead_chacha20poly1305_ietf_abytes(),
    _sodium.crypto_aead_aegis256_npubbytes(),
    _sodium.crypto_aead_aegis256_abytes(),
) != (12, 16, 32, 32):
    raise ImportError("this libsodium's AEADs have other sizes than the protocol's")


def _check_subkey() -> None:
    """XChaCha20 with a nonce that starts with 16 zeros is ChaCha20 under the key a secret stream
    with such a header starts with: native code relies on it, so it is tried once."""
    key, nonce = bytes(range(32)), bytes(range(100, 108))
    state = _sodium_ffi.new("unsigned char[]", 64)
    if _sodium.crypto_secretstream_xchacha20poly1305_statebytes() > 64:
        raise ImportError("this libsodium keeps more of a secret stream than the native code")
    _sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, bytes(24), key)
    plain, none = b"the same both ways", _sodium_ffi.NULL
    sealed = [_sodium_ffi.new("unsigned char[]", len(plain) + 16) for _ in range(2)]
    _sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        sealed[0], none, plain, len(plain), none, 0, none, bytes(16) + nonce, key
    )
    _sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
        sealed[1], none, plain, len(plain), none, 0, none, bytes(4) + nonce, bytes(state)[:32]
    )
    if bytes(sealed[0]) != bytes(sealed[1]):
        raise ImportError("this libsodium does not derive XChaCha20's key as the native code needs")


_check_subkey()


def has_aes() -> bool:
    """Whether this machine has AES instructions, with which AEGIS-256 is several times as fast as
    XChaCha20-Poly1305, and without which it is a fiftieth. libsodium tells of its AES-256-GCM,
    which exists only with them."""
    return bool(_sodium.crypto_aead_aes256gcm_is_available())


def _addresses() -> Any:
    addresses = ffi.new("qp_sodium *")
    for field, name in _FUNCTIONS.items():
        pointer = _sodium_ffi.addressof(_sodium, name)
        setattr(addresses, field, ffi.cast("void *", int(_sodium_ffi.cast("uintptr_t", pointer))))
    return addresses


sodium: Any = _addresses()
"""Addresses of the functions of the one libsodium in the process: PyNaCl's."""


def native_keys(plane: PlaneKeys) -> Any:
    """The keys as the native code takes them. Raises `ValueError` for other sizes than theirs."""
    keys = ffi.new("qp_keys *")
    for name in ("receive_cid", "send_cid"):
        _copy(getattr(keys, name), getattr(plane, name), _CID_SIZE)
    for name in ("send_key", "send_header_key", "receive_key", "receive_header_key"):
        _copy(getattr(keys, name), getattr(plane, name), _KEY_SIZE)
    keys.suite = plane.suite
    return keys


def _copy(to: Any, value: bytes, size: int) -> None:
    if len(value) != size:
        raise ValueError(f"a connection id has {_CID_SIZE} bytes and a key {_KEY_SIZE}")
    ffi.memmove(to, value, size)
