"""The Noise Protocol Framework, revision 34, for the suite `25519_ChaChaPoly_BLAKE2b`.

Patterns are data (`patterns`), psk modifiers are read from the name, and every ephemeral is
given by the caller: the responder of our handshake uses one for minutes (see `transient`), and
what is given can be checked against the published vectors. Section numbers are the framework's.

Here is what a run may do when. What its messages consist of is done in one native call each
(`noise_native`) where the extension is built, and else a primitive at a time (`noise_portable`).
"""

from __future__ import annotations

from typing import Final

from transport.core.constants import KEY_SIZE
from transport.core.crypto.keys import KeyPair
from transport.core.crypto.noise_portable import PortableRun, hkdf, open_untrusted, seal
from transport.core.crypto.patterns import Message, pattern, plan
from transport.core.errors import LocalError, WireError

try:
    from transport.core.crypto.noise_native import NativeRun, derive
except ImportError:  # the extension is not built
    from transport.core.crypto.noise_portable import derive

    Run: type[NativeRun] | type[PortableRun] = PortableRun
else:
    Run = NativeRun

__all__ = ["CipherState", "HandshakeState", "Run", "derive", "hkdf"]

MESSAGE_SIZE_MAX: Final = 65535
_NONCE_MAX = 2**64 - 2

_OURS, _THEIRS = 0, 1


class CipherState:
    """A key and the number of times it was used (5.1). Without a key it passes data through."""

    __slots__ = ("_key", "nonce")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self.nonce = 0

    def encrypt(self, associated: bytes, plaintext: bytes) -> bytes:
        """Raises `LocalError` when the nonces are used up."""
        if self._key is None:
            return plaintext
        return seal(self._key, self._next(), associated, plaintext)

    def decrypt_untrusted(self, associated: bytes, ciphertext: bytes) -> bytes:
        """Raises `WireError` if the ciphertext is not authentic; the nonce is then not used."""
        if self._key is None:
            return ciphertext
        nonce = self.nonce
        try:
            return open_untrusted(self._key, self._next(), associated, ciphertext)
        except WireError:
            self.nonce = nonce
            raise

    def fork(self) -> CipherState:
        copy = CipherState(self._key)
        copy.nonce = self.nonce
        return copy

    def _next(self) -> int:
        number = self.nonce
        if number > _NONCE_MAX:
            raise LocalError("nonces used up")
        self.nonce = number + 1
        return number

    @property
    def has_key(self) -> bool:
        return self._key is not None


class HandshakeState:
    """One side of one run of a pattern (5.2 and 5.3).

    After an error of `read_message_untrusted` the state is spoilt and must be dropped.
    """

    __slots__ = ("_ephemeral", "_initiator", "_messages", "_run", "_static", "_turns")

    def __init__(
        self,
        name: str,
        *,
        initiator: bool,
        prologue: bytes = b"",
        static: KeyPair | None = None,
        ephemeral: KeyPair | None = None,
        remote_static: bytes | None = None,
        psks: tuple[bytes, ...] = (),
        shared: bytes | None = None,
    ) -> None:
        """`shared`: the Diffie-Hellman of `ephemeral` with `remote_static`, where it was computed
        beforehand. Raises `LocalError` if a key the pattern needs beforehand is missing."""
        its = pattern(name)
        if len(psks) != its.psks or [psk for psk in psks if len(psk) != KEY_SIZE]:
            raise LocalError("pre-shared keys do not fit the pattern")
        if remote_static is not None and len(remote_static) != KEY_SIZE:
            raise LocalError("a static key has 32 bytes")
        if shared is not None and len(shared) != KEY_SIZE:
            raise LocalError("what was computed beforehand has 32 bytes")
        self._initiator = initiator
        self._messages = plan(name, initiator)
        self._turns = 0
        self._static = static is not None
        self._ephemeral = ephemeral is not None
        known = its.known[initiator]
        if (_OURS in known and static is None) or (_THEIRS in known and remote_static is None):
            raise LocalError("the pattern needs a static key known beforehand")
        self._run = Run(
            its.first_hash, prologue, psks, static, remote_static, ephemeral, shared, known
        )

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next message, carrying `payload`.

        Raises `LocalError` out of turn, without a key of ours that it needs, or over
        `MESSAGE_SIZE_MAX`, and `WireError` if a key of the other side is degenerate.
        """
        message = self._turn(writing=True)
        if message.overhead_max + len(payload) > MESSAGE_SIZE_MAX:
            raise LocalError("message too long")
        return self._run.write(message, payload)

    def read_message_untrusted(self, data: bytes) -> bytes:
        """The payload of the next message. Raises `WireError` unless all of it is authentic."""
        if len(data) > MESSAGE_SIZE_MAX:
            raise WireError("message too long")
        return self._run.read_untrusted(self._turn(writing=False), data)

    def split(self) -> tuple[bytes, bytes]:
        """Keys of the initiator's and the responder's direction, 32 bytes each (5.2).

        Raises `LocalError` before the last message.
        """
        if self._turns != len(self._messages):
            raise LocalError("the handshake is not finished")
        return self._run.split()

    def set_ephemeral(self, ephemeral: KeyPair) -> None:
        """Give the ephemeral late. Raises `LocalError` if there is one."""
        if self._ephemeral:
            raise LocalError("there is an ephemeral key")
        self._ephemeral = True
        self._run.set_ephemeral(ephemeral)

    def fork(self) -> HandshakeState:
        """An independent copy: try a message on it, and a forged one spoils only the copy."""
        copy = object.__new__(HandshakeState)
        copy._initiator = self._initiator
        copy._messages = self._messages
        copy._turns = self._turns
        copy._static = self._static
        copy._ephemeral = self._ephemeral
        copy._run = self._run.fork()
        return copy

    @property
    def hash(self) -> bytes:
        """The handshake's hash so far, 64 bytes."""
        return self._run.hash

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static key, once it is known."""
        return self._run.remote_static

    @property
    def remote_ephemeral(self) -> bytes | None:
        """The other side's ephemeral, once it has come."""
        return self._run.remote_ephemeral

    def _turn(self, *, writing: bool) -> Message:
        turn = self._turns
        if turn == len(self._messages) or (turn % 2 == 0) is not (writing is self._initiator):
            raise LocalError("out of turn")
        message = self._messages[turn]
        if (message.needs_ephemeral and not self._ephemeral) or (
            message.needs_static and not self._static
        ):
            raise LocalError("the pattern needs a key of ours")
        self._turns = turn + 1
        return message
