"""Keys on disk, and the numbers that two people compare.

An identity is kept as its 32-byte seed, either under a passphrase or plain in a file that only
its owner may read. Encoded form:

    "quorate identity 1" | kind (1) | ...
    kind 0, plain:       seed (32) | checksum (8)
    kind 1, passphrase:  operations (4) | memory in bytes (8) | salt (16) | nonce (24)
                         | XChaCha20-Poly1305 of the seed (48); all before it is associated data

The passphrase's key is Argon2id's (RFC 9106) over salt and passphrase. Threat: a stolen file, or
one that was altered; the cost of a guess is what protects a passphrase, so the parameters are
stored and may be raised, and they are bounded when read so that an altered file cannot take all
memory.
"""

import contextlib
import hashlib
import hmac
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError
from transport.surroundings import current

SEED_SIZE = 32
OPERATIONS_MAX = 64
MEMORY_SIZE_MAX = 1 << 31
FILE_SIZE_MAX = 4096
SAFETY_GROUPS = 12

_MAGIC = b"quorate identity 1"
_KIND_PLAIN = 0
_KIND_PASSPHRASE = 1
_KDF = struct.Struct("!IQ16s24s")
_CHECKSUM_SIZE = 8
_SAFETY_LABEL = b"quorate safety number 1\x00"


class IdentityError(LocalError):
    """The identity cannot be saved or loaded; the message says why, and never what it is."""


class WrongPassphrase(IdentityError):
    """The passphrase is wrong, or the encrypted identity was altered."""


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess of the passphrase costs."""

    operations: int = argon2id.OPSLIMIT_MODERATE
    """Passes over the memory, 1 to OPERATIONS_MAX."""
    memory_size: int = argon2id.MEMLIMIT_MODERATE
    """Bytes, 8 KiB to MEMORY_SIZE_MAX; the default is 256 MiB and takes about a second."""

    def __post_init__(self) -> None:
        if not argon2id.OPSLIMIT_MIN <= self.operations <= OPERATIONS_MAX:
            raise IdentityError(f"the number of operations is not within 1 to {OPERATIONS_MAX}")
        if not argon2id.MEMLIMIT_MIN <= self.memory_size <= MEMORY_SIZE_MAX:
            raise IdentityError(f"the memory is not within 8192 to {MEMORY_SIZE_MAX} bytes")


def encode_identity(
    identity: Identity,
    passphrase: str | None = None,
    cost: KdfCost | None = None,
    random: Callable[[int], bytes] | None = None,
) -> bytes:
    """The identity as bytes to keep: encrypted under `passphrase`, or plain without one."""
    seed = identity.seed
    if passphrase is None:
        head = _MAGIC + bytes((_KIND_PLAIN,))
        return head + seed + _checksum(head + seed)
    if not passphrase:
        raise IdentityError("the passphrase is empty")
    cost = cost or KdfCost()
    random = random or current().random
    salt, nonce = random(16), random(24)
    head = _MAGIC + bytes((_KIND_PASSPHRASE,))
    head += _KDF.pack(cost.operations, cost.memory_size, salt, nonce)
    key = _derive(passphrase, salt, cost)
    return head + crypto_aead_xchacha20poly1305_ietf_encrypt(seed, head, nonce, key)


def decode_identity(data: bytes, passphrase: str | None = None) -> Identity:
    """The identity that `encode_identity` made `data` of.

    Raises WrongPassphrase, and IdentityError when a passphrase is missing, when there is one for
    what is not encrypted, or when `data` is damaged.
    """
    start = len(_MAGIC) + 1
    if len(data) < start or not data.startswith(_MAGIC):
        raise IdentityError("this is not an identity of quorate")
    kind = data[start - 1]
    if kind == _KIND_PLAIN:
        if passphrase is not None:  # Whoever gives one relies on it.
            raise IdentityError("the identity is not encrypted: open it without a passphrase")
        seed = _open_plain(data, start)
    elif kind == _KIND_PASSPHRASE:
        seed = _open_encrypted(data, start, passphrase)
    else:
        raise IdentityError("the identity is of a kind this version does not know")
    return Identity(seed)


def is_encrypted(data: bytes) -> bool:
    """The encoded identity asks for a passphrase."""
    return data.startswith(_MAGIC) and data[len(_MAGIC) : len(_MAGIC) + 1] == b"\x01"


def save_identity(
    path: str | os.PathLike[str],
    identity: Identity,
    passphrase: str | None = None,
    cost: KdfCost | None = None,
) -> None:
    """Write the identity to `path` with mode 0600, whole or not at all, replacing what is there.

    Raises IdentityError when the disk refuses.
    """
    target = Path(path)
    data = encode_identity(identity, passphrase, cost)
    temporary = target.with_name(f".{target.name}.{current().random(8).hex()}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_directory(target.parent)
    except OSError as error:
        raise IdentityError(f"{target} cannot be written: {error.strerror}") from error


def load_identity(path: str | os.PathLike[str], passphrase: str | None = None) -> Identity:
    """The identity in the file at `path`.

    Raises IdentityError when the file is missing, damaged, or may be read by others than its
    owner, and WrongPassphrase.
    """
    target = Path(path)
    try:
        with target.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(FILE_SIZE_MAX + 1)
    except FileNotFoundError:
        raise IdentityError(f"{target} does not exist") from None
    except OSError as error:
        raise IdentityError(f"{target} cannot be read: {error.strerror}") from error
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise IdentityError(f"{target} can be read by other users: chmod 600 {target}")
    if len(data) > FILE_SIZE_MAX:
        raise IdentityError(f"{target} is not an identity of quorate")
    return decode_identity(data, passphrase)


def safety_number(mine: bytes, theirs: bytes) -> str:
    """What two people read to each other to be sure of their keys: 12 groups of 5 digits.

    The same on both sides. Threat: somebody between them shows each a key of his own, A' and B',
    chosen so that both numbers agree; the number is a hash of both keys of 12 times log2(10^5),
    199, bits, so finding such a pair takes about 2^99 hashes.
    """
    if len(mine) != 32 or len(theirs) != 32:
        raise IdentityError("a key is 32 bytes")
    if mine == theirs:
        raise IdentityError("a safety number is for two different keys")
    digest = hashlib.blake2b(_SAFETY_LABEL + b"".join(sorted((mine, theirs)))).digest()
    groups = (
        int.from_bytes(digest[5 * at : 5 * at + 5], "big") % 100_000 for at in range(SAFETY_GROUPS)
    )
    return " ".join(f"{group:05d}" for group in groups)


def _open_plain(data: bytes, start: int) -> bytes:
    end = start + SEED_SIZE
    if len(data) != end + _CHECKSUM_SIZE:
        raise IdentityError("the identity is truncated")
    if not hmac.compare_digest(_checksum(data[:end]), data[end:]):
        raise IdentityError("the identity is damaged: its checksum does not match")
    return data[start:end]


def _open_encrypted(data: bytes, start: int, passphrase: str | None) -> bytes:
    end = start + _KDF.size
    if len(data) != end + SEED_SIZE + 16:
        raise IdentityError("the identity is truncated")
    if passphrase is None:
        raise IdentityError("the identity is encrypted: a passphrase is needed")
    operations, memory_size, salt, nonce = _KDF.unpack(data[start:end])
    key = _derive(passphrase, salt, KdfCost(operations, memory_size))
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(data[end:], data[:end], nonce, key)
    except CryptoError:
        raise WrongPassphrase("the passphrase is wrong, or the identity is damaged") from None


def _derive(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    try:
        return argon2id.kdf(32, passphrase.encode(), salt, cost.operations, cost.memory_size)
    except (CryptoError, MemoryError) as error:
        raise IdentityError("not enough memory to open the identity") from error


def _checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECKSUM_SIZE, person=b"quorate identity").digest()


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
