"""A node's file: one SQLite database with what outlives the process.

The identity (as `transport.identity` encodes it), the peers the node has met (cold presences: no
secrets), its groups, the tails of their decisions, and the log that a durable group writes before
it sends what depends on it. The file is in WAL mode with `synchronous=FULL`: what a batch wrote
is on the disk when the batch ends, and a batch is written whole or not at all. One process at a
time holds the file.

The methods block for as long as the disk takes; an event loop calls them from a worker thread.
They may be called from any thread; a batch keeps the others out until it ends.
"""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgpack

from consensus.core.errors import ConsensusError

APPLICATION_ID = 0x51756F72  # "Quor"
SCHEMA_VERSION = 1
PEERS_MAX = 100_000
"""Known peers kept; the one not seen for longest goes first."""
ADDRESSES_MAX = 8
"""Addresses kept for a peer; the newest come first."""
IDENTITY_SIZE_MAX = 4096

Address = tuple[str, int]

_SCHEMA = """
CREATE TABLE identity (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    data BLOB NOT NULL
) STRICT;
CREATE TABLE peers (
    key BLOB PRIMARY KEY CHECK (length(key) = 32),
    name TEXT NOT NULL,
    addresses BLOB NOT NULL,
    seen_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX peers_by_age ON peers (seen_at);
CREATE TABLE groups (
    id BLOB PRIMARY KEY CHECK (length(id) = 32),
    name TEXT NOT NULL,
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 8),
    origin BLOB NOT NULL,
    mark INTEGER NOT NULL CHECK (mark >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    place INTEGER NOT NULL CHECK (place >= 0),
    data BLOB NOT NULL,
    PRIMARY KEY (group_id, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (
    group_id BLOB PRIMARY KEY REFERENCES groups (id) ON DELETE CASCADE,
    data BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE log (
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL CHECK (seq >= 1),
    entry BLOB NOT NULL,
    PRIMARY KEY (group_id, seq)
) STRICT, WITHOUT ROWID;
"""


class StoreError(ConsensusError):
    """The node's file cannot be used; the message says why and what to do."""


class StoreBusy(StoreError):
    """Another process, or another node of this one, holds the file."""


class StoreCorrupt(StoreError):
    """The file is not a node's, or it is damaged."""


@dataclass(frozen=True, slots=True)
class KnownPeer:
    """A cold presence: a peer the node has met, without anything secret."""

    key: bytes
    """Its Ed25519 key, 32 bytes."""
    name: str
    """What the user calls it; may be empty."""
    addresses: tuple[Address, ...]
    """Where it was reached, the newest first; at most ADDRESSES_MAX are kept."""
    seen_at: float
    """Unix time in seconds at which it was last heard."""


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group the node is or was a member of."""

    id: bytes
    """32 bytes."""
    name: str
    incarnation: int
    """This node's incarnation in it, 64 bits."""
    origin: bytes
    """What the group was made with, as `consensus.durable` encodes it."""
    mark: int
    """Index of the last decision delivered to the application; 0 before the first."""


class NodeStore:
    """The open file of a node. Use `NodeStore.open`; every method may raise StoreError."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._mutex = threading.RLock()
        self._depth = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "NodeStore":
        """Open the node's file at `path`, making it (mode 0600) if there is none.

        `":memory:"` keeps everything in memory. Raises StoreBusy while another process has the
        file, StoreCorrupt if it is damaged or not a node's, StoreError for anything else.
        """
        name = os.fspath(path)
        if name != ":memory:":
            _claim(name)
        connection = None
        try:
            connection = sqlite3.connect(
                name, timeout=0, isolation_level=None, check_same_thread=False
            )
            _prepare(connection, name)
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise _translated(error, name) from error
        except StoreError:
            if connection is not None:
                connection.close()
            raise
        return cls(connection, name)

    def close(self) -> None:
        """Let the file go. Harmless when repeated."""
        with self._mutex:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """All writes inside are one write: on the disk together when the block ends, or not at all.

        A batch within a batch is part of the outer one.
        """
        with self._mutex:
            if self._depth == 0:
                self._run("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._rollback()
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._run("COMMIT")
                except StoreError:
                    self._rollback()
                    raise

    # the identity

    def identity(self) -> bytes | None:
        """The identity as `transport.identity` encoded it; None in a new file."""
        row = self._one("SELECT data FROM identity")
        return None if row is None else bytes(row[0])

    def save_identity(self, data: bytes) -> None:
        """Keep the encoded identity; replaces the one there is (a new passphrase)."""
        if not 0 < len(data) <= IDENTITY_SIZE_MAX:
            raise StoreError("this is no encoded identity")
        self._run("INSERT OR REPLACE INTO identity VALUES (1, ?)", data)

    # known peers

    def remember_peer(self, peer: KnownPeer) -> None:
        """Keep what is known of a peer; replaces what was."""
        addresses = msgpack.packb(peer.addresses[:ADDRESSES_MAX])
        with self.batch():
            self._run(
                "INSERT OR REPLACE INTO peers VALUES (?, ?, ?, ?)",
                peer.key,
                peer.name,
                addresses,
                float(peer.seen_at),
            )
            self._run(
                "DELETE FROM peers WHERE key IN (SELECT key FROM peers ORDER BY seen_at LIMIT"
                " max(0, (SELECT count(*) FROM peers) - ?))",
                PEERS_MAX,
            )

    def peer(self, key: bytes) -> KnownPeer | None:
        """What is known of the peer, if anything."""
        row = self._one("SELECT key, name, addresses, seen_at FROM peers WHERE key = ?", key)
        return None if row is None else _peer(row)

    def peers(self) -> list[KnownPeer]:
        """All known peers, the one seen last first."""
        query = "SELECT key, name, addresses, seen_at FROM peers ORDER BY seen_at DESC, key"
        return [_peer(row) for row in self._all(query)]

    def forget_peer(self, key: bytes) -> None:
        """Remove a peer; harmless if there is none."""
        self._run("DELETE FROM peers WHERE key = ?", key)

    # groups and their decisions

    def save_group(self, group: GroupRecord) -> None:
        """Keep a group's record; replaces the one there is and keeps its decisions and log."""
        self._run(
            "INSERT INTO groups VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " name = excluded.name, incarnation = excluded.incarnation,"
            " origin = excluded.origin, mark = excluded.mark",
            group.id,
            group.name,
            group.incarnation.to_bytes(8, "big"),
            group.origin,
            group.mark,
        )

    def set_mark(self, group: bytes, mark: int) -> None:
        """The application has taken the decisions up to index `mark`."""
        self._run("UPDATE groups SET mark = ? WHERE id = ?", mark, group)

    def group(self, group: bytes) -> GroupRecord | None:
        """The record of a group, if there is one."""
        query = "SELECT id, name, incarnation, origin, mark FROM groups WHERE id = ?"
        row = self._one(query, group)
        return None if row is None else _group(row)

    def groups(self) -> list[GroupRecord]:
        """All groups, by name."""
        query = "SELECT id, name, incarnation, origin, mark FROM groups ORDER BY name, id"
        return [_group(row) for row in self._all(query)]

    def forget_group(self, group: bytes) -> None:
        """Remove a group with its decisions and its log."""
        self._run("DELETE FROM groups WHERE id = ?", group)

    def append_decision(self, group: bytes, index: int, data: bytes) -> None:
        """Add an encoded decision to the group's tail; an index is written once."""
        self._run("INSERT INTO decisions VALUES (?, ?, ?)", group, index, data)

    def decisions(
        self, group: bytes, after: int = -1, limit: int = 1000
    ) -> list[tuple[int, bytes]]:
        """Up to `limit` decisions of the tail with an index above `after`, in order."""
        query = (
            "SELECT place, data FROM decisions WHERE group_id = ? AND place > ?"
            " ORDER BY place LIMIT ?"
        )
        return [(row[0], bytes(row[1])) for row in self._all(query, group, after, limit)]

    def trim_decisions(self, group: bytes, keep: int) -> None:
        """Forget all but the newest `keep` decisions of the group's tail."""
        self._run(
            "DELETE FROM decisions WHERE group_id = ?1 AND place <= (SELECT place FROM decisions"
            " WHERE group_id = ?1 ORDER BY place DESC LIMIT 1 OFFSET ?2)",
            group,
            keep,
        )

    # the log of a durable group

    def append_log(self, group: bytes, entry: bytes) -> int:
        """Add an entry to a group's log; its sequence number, from 1, without gaps."""
        rows = self._all(
            "INSERT INTO log SELECT ?1, coalesce(max(seq), 0) + 1, ?2 FROM log"
            " WHERE group_id = ?1 RETURNING seq",
            group,
            entry,
        )
        return int(rows[0][0])

    def replay_log(self, group: bytes, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """The entries of a group's log above `after`, in order, read a thousand at a time."""
        query = "SELECT seq, entry FROM log WHERE group_id = ? AND seq > ? ORDER BY seq LIMIT 1000"
        while rows := self._all(query, group, after):
            for seq, entry in rows:
                yield seq, bytes(entry)
            after = rows[-1][0]

    def trim_log(self, group: bytes, through: int) -> None:
        """Forget entries up to and with `through`, but the last: it carries the numbering on."""
        self._run(
            "DELETE FROM log WHERE group_id = ?1 AND seq <= ?2"
            " AND seq < (SELECT max(seq) FROM log WHERE group_id = ?1)",
            group,
            through,
        )

    def save_checkpoint(self, group: bytes, data: bytes) -> None:
        """Keep the whole state of a durable group; replaces the one before."""
        self._run("INSERT OR REPLACE INTO checkpoints VALUES (?, ?)", group, data)

    def checkpoint(self, group: bytes) -> bytes | None:
        """The last checkpoint of a group, if there is one."""
        row = self._one("SELECT data FROM checkpoints WHERE group_id = ?", group)
        return None if row is None else bytes(row[0])

    def _run(self, statement: str, *values: Any) -> None:
        with self._mutex:
            try:
                self._connection.execute(statement, values)
            except sqlite3.Error as error:
                raise _translated(error, self._path) from error

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        rows = self._all(query, *values)
        return rows[0] if rows else None

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._mutex:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _translated(error, self._path) from error

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _claim(path: str) -> None:
    """Make the file private before SQLite opens it; refuse one that others may read.

    SQLite gives its `-wal` file the permissions of the database.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreError(f"{path} cannot be made: {error.strerror}") from error
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise StoreError(f"{path} cannot be looked at: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise StoreError(f"{path} is not a file")
    if os.name == "posix" and mode & 0o077:
        raise StoreError(f"{path} can be read by other users: chmod 600 {path}")


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("BEGIN IMMEDIATE")  # takes the lock that stays until the file is closed
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if (application, version, objects) == (0, 0, 0):
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif application != APPLICATION_ID:
        raise StoreCorrupt(f"{path} is a database of another program: choose another file")
    elif version != SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by another version (schema {version}, this is {SCHEMA_VERSION}):"
            " use that version"
        )
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")  # not before it is known to be a node's file
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise StoreCorrupt(_damaged(path, str(verdict)))


def _translated(error: sqlite3.Error, path: str) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"{path} is in use by another node: stop that one or use another file")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(_damaged(path, str(error)))
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"no room on the disk for {path}: nothing of this batch was kept")
    return StoreError(f"{path}: {error}")


def _damaged(path: str, what: str) -> str:
    return (
        f"{path} is damaged ({what}): it was left as it is; restore it from a copy, or move it"
        " away and join your groups again"
    )


def _peer(row: tuple[Any, ...]) -> KnownPeer:
    addresses = tuple((str(host), int(port)) for host, port in msgpack.unpackb(row[2]))
    return KnownPeer(bytes(row[0]), row[1], addresses, row[3])


def _group(row: tuple[Any, ...]) -> GroupRecord:
    incarnation = int.from_bytes(row[2], "big")
    return GroupRecord(bytes(row[0]), row[1], incarnation, bytes(row[3]), row[4])
