"""What a node keeps of its peers beyond their addresses: letters for them, handlers that wait for
their replies, the keys that master keys were last known by, and the signed records of the last
minutes, by which a peer is reached again in one round trip. No secrets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from consensus.storage.database import Database, StoreError

__all__ = ["LETTERS_MAX", "REPLIES_MAX", "AwaitedReply", "PeerStore", "StoredLetter"]

LETTERS_MAX = 10_000
"""Letters that wait for their receivers, of all peers."""
REPLIES_MAX = 100_000
"""Replies awaited across restarts."""

_SCHEMA = """
CREATE TABLE letters (
    id INTEGER PRIMARY KEY,
    peer BLOB NOT NULL CHECK (length(peer) = 32),
    body BLOB NOT NULL,
    reply_to BLOB NOT NULL,
    in_reply_to BLOB NOT NULL,
    expires_at REAL NOT NULL,
    tried INTEGER NOT NULL,
    seal BLOB NOT NULL
) STRICT;
CREATE TABLE classes (
    name TEXT PRIMARY KEY,
    last INTEGER NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE replies (
    name BLOB PRIMARY KEY CHECK (length(name) = 32),
    peer BLOB NOT NULL CHECK (length(peer) = 32),
    class TEXT NOT NULL,
    number INTEGER NOT NULL,
    expires_at REAL NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE masters (
    master BLOB PRIMARY KEY CHECK (length(master) = 32),
    key BLOB NOT NULL CHECK (length(key) = 32),
    expires_at INTEGER NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE records (
    peer BLOB PRIMARY KEY CHECK (length(peer) = 32),
    record BLOB NOT NULL,
    saved_at REAL NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""
_LETTER = "id, peer, body, reply_to, in_reply_to, expires_at, tried"


class StoredLetter(NamedTuple):
    """A letter that waits for its receiver. Times are Unix time in seconds."""

    id: int
    peer: bytes
    body: bytes
    reply_to: bytes
    """Name of the handler that a reply is for, or b""."""
    in_reply_to: bytes
    expires_at: float
    tried: bool
    """It may have left: then it is never sent again."""


class AwaitedReply(NamedTuple):
    """Which handler a reply is for."""

    peer: bytes
    handlers: str
    """Its class."""
    number: int
    """Unique in the class."""


class PeerStore(Database):
    """The open file. Every method may raise StoreError, and blocks as long as the disk takes."""

    APPLICATION_ID = 0x51756F50  # "QuoP"
    SCHEMA_VERSION = 1
    SCHEMA = _SCHEMA

    def add_letter(self, letter: StoredLetter) -> int:
        """Keep a letter; its number, which is used once. What `letter.id` says does not matter."""
        with self.batch():
            number, count = self._all("SELECT coalesce(max(id), 0) + 1, count(*) FROM letters")[0]
            if count >= LETTERS_MAX:
                raise StoreError(f"more than {LETTERS_MAX} letters wait for their receivers")
            self._put("letters", number, *letter[1:-1], int(letter.tried))
        return int(number)

    def set_tried(self, letter: StoredLetter, tried: bool) -> None:
        """It is about to leave; or it is sure that it did not."""
        self._put("letters", *letter[:-1], int(tried))

    def letters(self) -> list[StoredLetter]:
        """All that wait, the oldest first."""
        rows = self._sealed("letters", _LETTER, "ORDER BY id")
        return [StoredLetter._make((*row[:6], bool(row[6]))) for row in rows]

    def forget_letter(self, number: int) -> None:
        """It has arrived, or it is given up."""
        self._run("DELETE FROM letters WHERE id = ?", number)

    def await_reply(self, name: bytes, peer: bytes, handlers: str, expires_at: float) -> int:
        """Give a handler of the class a number and a name. What has expired is forgotten."""
        with self.batch():
            if self._all("SELECT count(*) FROM replies")[0][0] >= REPLIES_MAX:
                raise StoreError(f"more than {REPLIES_MAX} replies are awaited")
            rows = self._sealed("classes", "name, last", "WHERE name = ?", handlers)
            number = int(rows[0][1]) + 1 if rows else 1
            self._put("classes", handlers, number)
            self._put("replies", name, peer, handlers, number, expires_at)
        return number

    def take_reply(self, name: bytes, peer: bytes, unix_s: float) -> AwaitedReply | None:
        """The handler a reply of that peer's is for, once; None if none awaits it."""
        with self.batch():
            self._run("DELETE FROM replies WHERE expires_at <= ?", unix_s)
            columns = "name, peer, class, number, expires_at"
            rows = self._sealed("replies", columns, "WHERE name = ? AND peer = ?", name, peer)
            if not rows:
                return None
            self._run("DELETE FROM replies WHERE name = ?", name)
        return AwaitedReply(*rows[0][1:4])

    def save_master(self, master: bytes, key: bytes, expires_at: int) -> None:
        """Keep the key that a master is known by."""
        self._put("masters", master, key, expires_at)

    def save_records(self, records: Iterable[tuple[bytes, bytes]], unix_s: float) -> None:
        """Keep the signed records of peers in place of those there were."""
        with self.batch():
            self._run("DELETE FROM records")
            for peer, record in records:
                self._put("records", peer, record, unix_s)

    def records(self) -> list[tuple[bytes, bytes, float]]:
        """Peer, record, and when it was kept."""
        rows = self._sealed("records", "peer, record, saved_at")
        return [(bytes(peer), bytes(record), at) for peer, record, at in rows]

    def masters(self) -> list[tuple[bytes, bytes, int]]:
        """All of them."""
        rows = self._sealed("masters", "master, key, expires_at")
        return [(bytes(master), bytes(key), until) for master, key, until in rows]
