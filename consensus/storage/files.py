"""What a node keeps on disk: its file (identity and peers) and the blobs beside it."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path

from anyio import CancelScope, to_thread

from consensus.core.evidence.invitation_text import Invitation
from consensus.storage.node_store import GroupRecord, KnownPeer, NodeStore, StoreError
from consensus.storage.peer_store import PeerStore
from transport.core.crypto.keys import Identity
from transport.core.types import Address
from transport.identity import IdentityError, decode_identity, encode_identity
from transport.surroundings import current


class NodeFiles:
    """The open files of one node."""

    def __init__(self, identity: Identity, store: NodeStore | None, path: str | None) -> None:
        self.identity = identity
        self._store = store
        self._path = path
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._peers: PeerStore | None = None
        self._peers_lock = threading.Lock()
        self._unix_time = current().unix_time

    @staticmethod
    @asynccontextmanager
    async def open(
        path: str | PathLike[str] | None,
        passphrase: str | None,
        identity: Identity | None = None,
    ) -> AsyncIterator[NodeFiles]:
        """Open or make the files. None: an identity for once, everything gone at the end.
        `identity`: whose they are; one is drawn if there is none yet.

        Raises StoreError, IdentityError.
        """
        if path is None:
            files = NodeFiles(identity or Identity.generate(current().random), None, None)
        else:
            opened = await to_thread.run_sync(_open_store, path, passphrase, identity)
            files = NodeFiles(opened[1], opened[0], os.fspath(path))
        try:
            yield files
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(files._close)

    def _close(self) -> None:
        if self._peers is not None:
            self._peers.close()
        if self._store is not None:
            self._store.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def durable(self) -> bool:
        """Whether anything outlives the node."""
        return self._store is not None

    def blobs(self) -> Path:
        """The directory of the blobs, for when the first one comes."""
        if self._path is not None:
            return Path(f"{self._path}.blobs")
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="quorate-")
        return Path(self._temporary.name, "blobs")

    def known_peers(self) -> Iterator[tuple[bytes, tuple[Address, ...]]]:
        """Peers met before, and where."""
        for peer in self._store.peers() if self._store is not None else ():
            yield peer.key, peer.addresses

    @property
    def has_peer_store(self) -> bool:
        """There may be something in it."""
        made = self._path is not None and os.path.exists(f"{self._path}.peers")
        return made or self._peers is not None

    def peer_store(self) -> PeerStore:
        """What is kept of peers beside their addresses, for which there is a file only once there
        is something to keep. Blocks; raises StoreError."""
        with self._peers_lock:
            if self._peers is None:
                where = ":memory:" if self._path is None else f"{self._path}.peers"
                self._peers = PeerStore.open(where)
            return self._peers

    async def remember(self, peer: bytes, addresses: Iterable[Address]) -> None:
        """Keep where a peer was reached; without a word when the disk refuses, as it is no more
        than a hint."""
        if self._store is None:
            return
        record = KnownPeer(peer, "", tuple(addresses), self._unix_time())
        try:
            await to_thread.run_sync(self._store.remember_peer, record)
        except StoreError:
            return

    @property
    def store(self) -> NodeStore:
        """The node's file. Raises StoreError when there is none."""
        if self._store is None:
            raise StoreError("a durable group needs a file: open the node with a path")
        return self._store

    def stored_groups(self) -> list[GroupRecord]:
        """The durable groups that live on, those that others have ended, and, as long as any live
        on, all that this life was in: with none alive the next life is another one."""
        rows = self._store.groups() if self._store is not None else []
        if not any(row.lives for row in rows):
            for row in rows:
                if not row.origin:
                    self.store.forget_group(row.id)
            return [row for row in rows if row.origin]
        return rows

    def check(self, invitation: Invitation) -> None:
        """Raise TokenError if this node cannot use the invitation now."""
        invitation.check(self.identity.key, self._unix_time())


def _open_store(
    path: str | PathLike[str], passphrase: str | None, identity: Identity | None
) -> tuple[NodeStore, Identity]:
    store = NodeStore.open(path)
    try:
        data = store.identity()
        if data is not None:
            found = decode_identity(data, passphrase)
            if identity is not None and identity.key != found.key:
                raise IdentityError(f"{os.fspath(path)} is the file of another identity")
            return store, found
        identity = identity or Identity.generate(current().random)
        store.save_identity(encode_identity(identity, passphrase))
        return store, identity
    except BaseException:
        store.close()
        raise
