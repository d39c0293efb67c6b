"""Sealed datagrams: one direction of one plane.

`connection id (8) | packet number (1..9, masked) | ciphertext | tag`, at most 1120 bytes; the
exact layout is in docs/protocol/presence.md, which the bulk path implements as well.

One native call each (`aead_native`) where the extension is built, and else a primitive at a time
(`aead_portable`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transport.core.crypto.aead_portable import RELAY_PAYLOAD_SIZE_MAX, SEALED_PAYLOAD_SIZE_MAX

if TYPE_CHECKING:
    from transport.core.crypto.aead_portable import Opener, Sealer  # both have the same face
else:
    try:
        from transport.core.crypto.aead_native import Opener, Sealer
    except ImportError:  # the extension is not built
        from transport.core.crypto.aead_portable import Opener, Sealer

__all__ = ["RELAY_PAYLOAD_SIZE_MAX", "SEALED_PAYLOAD_SIZE_MAX", "Opener", "Sealer"]
