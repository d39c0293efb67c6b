"""One SQLite file of one process: opened, locked, written through, and told apart from damage.

The file is in WAL mode with `synchronous=FULL`: what a batch wrote is on the disk when the batch
ends, and a batch is written whole or not at all. One process at a time holds the file.

What can happen to a file and how it is noticed: SQLite finds a damaged structure, by the
`integrity_check` that it is asked for at each start; a row whose content was altered lacks the
**seal** that was written with it, a digest over its table and values; a file that was cut off to
nothing is not taken for a new one, unless its making was broken off (`consensus.storage.making`).
Frames of the write-ahead log carry checksums of SQLite's own: a damaged one ends the log, so that
what follows it is as if it had never been written. That cannot be told from here; whoever has heard
more of this node than it knows of itself can tell (`consensus.core.durable.durable_group`).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgpack

from consensus.core.errors import ConsensusError
from consensus.storage import making

SEAL_SIZE = 8
_FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite's own messages about a damaged schema may be, if they quote it."""
_PERSON = b"quorate row 1"


class StoreError(ConsensusError):
    """The node's file cannot be used; the message says why and what to do."""


class StoreBusy(StoreError):
    """Another process, or another node of this one, holds the file."""


class StoreCorrupt(StoreError):
    """The file is not a node's, or it is damaged."""


class Database:
    """The open file. Use `open`; every method may raise StoreError.

    The methods block for as long as the disk takes; an event loop calls them from a worker thread.
    They may be called from any thread; a batch keeps the others out until it ends.
    """

    APPLICATION_ID = 0
    SCHEMA_VERSION = 0
    SCHEMA = ""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._mutex = threading.RLock()
        self._depth = 0

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the file at `path`, making it (mode 0600) if there is none.

        `":memory:"` keeps everything in memory. Raises StoreBusy while another process has the
        file, StoreCorrupt if it is damaged or not a node's, StoreError for anything else.
        """
        name = os.fspath(path)
        in_memory = name == ":memory:"
        unfinished = in_memory or _claim(name)
        connection = None
        try:
            connection = sqlite3.connect(
                name, timeout=0, isolation_level=None, check_same_thread=False
            )
            # Text that is none must not stop anybody from finding out where it comes from.
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            cls._prepare(connection, name, unfinished)
            if unfinished and not in_memory:
                making.finished(name)
        except _FAULTS as error:
            if connection is not None:
                connection.close()
            raise _translated(error, name) from error
        except StoreError:
            if connection is not None:
                connection.close()
            raise
        return cls(connection, name)

    @classmethod
    def _statements(cls) -> dict[str, None]:
        statements = (statement.strip() for statement in cls.SCHEMA.split(";\n"))
        return dict.fromkeys(filter(None, statements))

    @classmethod
    def _prepare(cls, connection: sqlite3.Connection, path: str, unfinished: bool) -> None:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN IMMEDIATE")  # takes the lock that stays until the file is closed
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        objects = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if (application, version, objects) == (0, 0, 0):
            if not unfinished:
                raise StoreCorrupt(
                    f"{path} is empty: either it was cut off, and a copy of it has to be put back,"
                    " or it never was a node's, and can be removed"
                )
            for statement in cls._statements():
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {cls.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {cls.SCHEMA_VERSION}")
        elif application != cls.APPLICATION_ID:
            raise StoreCorrupt(f"{path} is a database of another program: choose another file")
        elif version != cls.SCHEMA_VERSION and not cls._taken_on(connection, version):
            raise StoreError(
                f"{path} was written by another version (schema {version}, this is"
                f" {cls.SCHEMA_VERSION}): use that version"
            )
        there = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        if {sql for (sql,) in there} != set(cls._statements()):
            raise StoreCorrupt(_damaged(path, "its tables are not those of this version"))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")  # not before it is known to be a node's
        # Not `quick_check`: with keys out of their order, rows that are there are not found.
        verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if verdict == "ok" and connection.execute("PRAGMA foreign_key_check").fetchone():
            verdict = "a row of no group"
        if verdict != "ok":
            raise StoreCorrupt(_damaged(path, str(verdict)))

    @classmethod
    def _taken_on(cls, connection: sqlite3.Connection, version: int) -> bool:
        """Whether a file of an earlier version is one of this version now."""
        return False

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

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def _run(self, statement: str, *values: Any) -> None:
        with self._mutex:
            try:
                self._connection.execute(statement, values)
            except _FAULTS as error:
                raise _translated(error, self._path) from error

    def _one(self, query: str, *values: Any) -> tuple[Any, ...] | None:
        rows = self._all(query, *values)
        return rows[0] if rows else None

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._mutex:
            try:
                return self._connection.execute(query, values).fetchall()
            except _FAULTS as error:
                raise _translated(error, self._path) from error

    def damaged(self, what: str) -> str:
        """What to say of damage that was found, with advice."""
        return _damaged(self._path, what)

    # rows with seals: the last column

    def _put(self, table: str, *values: Any, otherwise: str = "REPLACE") -> None:
        """Write a row and its seal; what to do about one with its key is SQLite's word for it."""
        marks = ", ".join("?" * (len(values) + 1))
        statement = f"INSERT OR {otherwise} INTO {table} VALUES ({marks})"
        self._run(statement, *values, _seal(table, values))

    def _sealed(
        self, table: str, columns: str, which: str = "", *values: Any
    ) -> list[tuple[Any, ...]]:
        """Rows, all of their columns, whose seals are whole. Raises StoreCorrupt."""
        query = f"SELECT {columns}, seal FROM {table} {which}"
        found = []
        for *row, seal in self._all(query, *values):
            if seal != _seal(table, row):
                raise StoreCorrupt(self.damaged(f"a row of {table} was altered"))
            found.append(tuple(row))
        return found


def _seal(table: str, values: Any) -> bytes:
    """What is written beside the values of a row. Against damage, not against an attacker: who may
    write the file may do anything in this node's name."""
    content = msgpack.packb([table, *values])
    return blake2b(content, digest_size=SEAL_SIZE, person=_PERSON).digest()


def _claim(path: str) -> bool:
    """Make the file private before SQLite opens it; refuse one that others may read. Whether its
    making is not known to be finished.

    SQLite gives its `-wal` file the permissions of the database.
    """
    try:
        unfinished = making.begin(path)
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
    return unfinished


def _translated(error: sqlite3.Error | UnicodeDecodeError, path: str) -> StoreError:
    if isinstance(error, UnicodeDecodeError):
        return StoreCorrupt(_damaged(path, "its tables are not those of this version"))
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(f"{path} is in use by another node: stop that one or use another file")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        # The last is what becomes of good statements where the tables are not what they were.
        return StoreCorrupt(_damaged(path, str(error)))
    if code == sqlite3.SQLITE_FULL:
        return StoreError(f"no room on the disk for {path}: nothing of this batch was kept")
    return StoreError(f"{path}: {error}")


def _damaged(path: str, what: str) -> str:
    what = " ".join(what.split())  # SQLite may quote whole tables.
    return (
        f"{path} is damaged ({what}): it was left as it is. If this node is in no durable group,"
        " restore it from a copy; else an older copy would have forgotten votes that were given, so"
        " move it away, have the others remove this member, and join again"
    )
