"""What a node keeps on disk: its file (identity and peers) and the blobs beside it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path

from anyio import to_thread

from consensus.core.token import Invitation
from consensus.store import KnownPeer, NodeStore, StoreError
from transport.core.keys import Identity
from transport.core.types import Address
from transport.identity import decode_identity, encode_identity

MEMORY = ":memory:"


class NodeFiles:
    """The open files of one node."""

    def __init__(
        self, store: NodeStore, identity: Identity, blobs: Path, *, durable: bool
    ) -> None:
        self._store = store
        self.durable = durable
        """Whether anything outlives the node."""
        self.identity = identity
        self.blobs = blobs
        """The directory of the blobs; made when the first one comes."""

    @staticmethod
    @asynccontextmanager
    async def open(
        path: str | PathLike[str] | None, passphrase: str | None
    ) -> AsyncIterator[NodeFiles]:
        """Open or make the files. None: an identity for once, everything gone at the end.

        Raises StoreError, IdentityError.
        """
        if path is None:
            with tempfile.TemporaryDirectory(prefix="quorate-") as directory:
                store = NodeStore.open(MEMORY)
                try:
                    identity = Identity.generate(os.urandom)
                    yield NodeFiles(store, identity, Path(directory, "blobs"), durable=False)
                finally:
                    store.close()
            return
        store, identity = await to_thread.run_sync(_open_store, path, passphrase)
        try:
            yield NodeFiles(store, identity, Path(f"{os.fspath(path)}.blobs"), durable=True)
        finally:
            await to_thread.run_sync(store.close)

    def known_peers(self) -> Iterator[tuple[bytes, tuple[Address, ...]]]:
        """Peers met before, and where."""
        for peer in self._store.peers():
            yield peer.key, peer.addresses

    async def remember(self, peer: bytes, addresses: Iterable[Address]) -> None:
        """Keep where a peer was reached; without a word when the disk refuses, as it is no more
        than a hint."""
        record = KnownPeer(peer, "", tuple(addresses), time.time())
        try:
            await to_thread.run_sync(self._store.remember_peer, record)
        except StoreError:
            return

    def check(self, invitation: Invitation) -> None:
        """Raise TokenError if this node cannot use the invitation now."""
        invitation.check(self.identity.key, time.time())


def _open_store(path: str | PathLike[str], passphrase: str | None) -> tuple[NodeStore, Identity]:
    store = NodeStore.open(path)
    try:
        data = store.identity()
        if data is not None:
            return store, decode_identity(data, passphrase)
        identity = Identity.generate(os.urandom)
        store.save_identity(encode_identity(identity, passphrase))
        return store, identity
    except BaseException:
        store.close()
        raise
