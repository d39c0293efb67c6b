"""A node's file: one SQLite database with what outlives the process.

The identity (as `transport.identity` encodes it), the peers the node has met (cold presences: no
secrets), its groups with the tails of their decisions, the states their replicas were saved in, the
invitations given out for them, and the log that a durable group writes before it sends what depends
on it. How it is kept whole is in `consensus.storage.database`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from consensus.storage.database import Database, StoreBusy, StoreCorrupt, StoreError

__all__ = [
    "OVER",
    "DecisionsKept",
    "GroupRecord",
    "InvitationRecord",
    "KnownPeer",
    "NodeStore",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
]

PEERS_MAX = 100_000
"""Known peers kept; the one not seen for longest goes first."""
ADDRESSES_MAX = 8
"""Addresses kept for a peer; the newest come first."""
IDENTITY_SIZE_MAX = 4096
OVER = b"\x00"
"""What the origin of a group begins with that has ended: nothing that is encoded does."""

Address = tuple[str, int]

_SCHEMA = """
CREATE TABLE identity (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    data BLOB NOT NULL,
    seal BLOB NOT NULL
) STRICT;
CREATE TABLE peers (
    key BLOB PRIMARY KEY CHECK (length(key) = 32),
    name TEXT NOT NULL,
    addresses BLOB NOT NULL,
    seen_at REAL NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX peers_by_age ON peers (seen_at);
CREATE TABLE groups (
    id BLOB PRIMARY KEY CHECK (length(id) = 32),
    name TEXT NOT NULL,
    incarnation BLOB NOT NULL CHECK (length(incarnation) = 8),
    origin BLOB NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE decisions (
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    place INTEGER NOT NULL CHECK (place >= 0),
    data BLOB NOT NULL,
    seal BLOB NOT NULL,
    PRIMARY KEY (group_id, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE states (
    group_id BLOB PRIMARY KEY REFERENCES groups (id) ON DELETE CASCADE,
    place INTEGER NOT NULL CHECK (place >= 0),
    data BLOB NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE invitations (
    id BLOB PRIMARY KEY CHECK (length(id) = 8),
    group_id BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    uses INTEGER NOT NULL CHECK (uses >= 0),
    taken_by BLOB NOT NULL,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX invitations_by_group ON invitations (group_id);
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
# Checkpoints and the log have no seals: `consensus.core.durable.durable_group` chains them by
# digests.


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
    """What the group was made with, as `consensus.storage.durable_groups` encodes it; once it has
    ended here, OVER and why, or nothing if that was this node's own wish."""

    @property
    def lives(self) -> bool:
        """Whether the node goes on in it."""
        return self.origin != b"" and not self.origin.startswith(OVER)


@dataclass(frozen=True, slots=True)
class InvitationRecord:
    """An invitation this node has given out. Whoever shows it has to show the node's signature, so
    that neither its content nor its secret needs to be here."""

    id: bytes
    """8 bytes."""
    group: bytes
    """The group's id, 32 bytes."""
    expires_at: int
    """Unix time in seconds, the first at which it is void."""
    uses: int
    """Admissions it is still good for."""
    taken_by: tuple[bytes, ...]
    """The keys of those who took a use whose outcome is not known."""


class DecisionsKept(NamedTuple):
    """Which decisions of a group are in the file."""

    number: int
    first: int
    last: int


class NodeStore(Database):
    """The open file of a node. Use `NodeStore.open`; every method may raise StoreError."""

    APPLICATION_ID = 0x51756F72  # "Quor"
    SCHEMA_VERSION = 3
    SCHEMA = _SCHEMA

    @classmethod
    def _taken_on(cls, connection: sqlite3.Connection, version: int) -> bool:
        # The logs of groups changed, and nothing else: who is in a group has to leave it first.
        if version != 2 or connection.execute("SELECT 1 FROM groups LIMIT 1").fetchone():
            return False
        connection.execute(f"PRAGMA user_version = {cls.SCHEMA_VERSION}")
        return True

    # the identity

    def identity(self) -> bytes | None:
        """The identity as `transport.identity` encoded it; None in a new file."""
        rows = self._sealed("identity", "only, data")
        if rows:
            return bytes(rows[0][1])
        for table in ("groups", "peers"):
            if self._one(f"SELECT 1 FROM {table} LIMIT 1") is not None:
                raise StoreCorrupt(self.damaged("the identity is missing"))
        return None

    def save_identity(self, data: bytes) -> None:
        """Keep the encoded identity; replaces the one there is (a new passphrase)."""
        if not 0 < len(data) <= IDENTITY_SIZE_MAX:
            raise StoreError("this is no encoded identity")
        self._put("identity", 1, data)

    # known peers

    def remember_peer(self, peer: KnownPeer) -> None:
        """Keep what is known of a peer; replaces what was."""
        addresses = msgpack.packb(peer.addresses[:ADDRESSES_MAX])
        with self.batch():
            self._put("peers", peer.key, peer.name, addresses, float(peer.seen_at))
            self._run(
                "DELETE FROM peers WHERE key IN (SELECT key FROM peers ORDER BY seen_at LIMIT"
                " max(0, (SELECT count(*) FROM peers) - ?))",
                PEERS_MAX,
            )

    def peer(self, key: bytes) -> KnownPeer | None:
        """What is known of the peer, if anything."""
        rows = self._sealed("peers", _PEER, "WHERE key = ?", key)
        return _peer(rows[0]) if rows else None

    def peers(self) -> list[KnownPeer]:
        """All known peers, the one seen last first."""
        rows = self._sealed("peers", _PEER, "ORDER BY seen_at DESC, key")
        return [_peer(row) for row in rows]

    def forget_peer(self, key: bytes) -> None:
        """Remove a peer; harmless if there is none."""
        self._run("DELETE FROM peers WHERE key = ?", key)

    # groups and their decisions

    def save_group(self, group: GroupRecord) -> None:
        """Keep the record of a group; one with its id must not be there."""
        life = group.incarnation.to_bytes(8, "big")
        self._put("groups", group.id, group.name, life, group.origin, otherwise="ABORT")

    def group(self, group: bytes) -> GroupRecord | None:
        """The record of a group, if there is one."""
        rows = self._sealed("groups", _GROUP, "WHERE id = ?", group)
        return _group(rows[0]) if rows else None

    def groups(self) -> list[GroupRecord]:
        """All groups, by name."""
        return [_group(row) for row in self._sealed("groups", _GROUP, "ORDER BY name, id")]

    def forget_group(self, group: bytes) -> None:
        """Remove a group with its decisions, its state, its invitations and its log."""
        self._run("DELETE FROM groups WHERE id = ?", group)

    def append_decision(self, group: bytes, index: int, data: bytes) -> None:
        """Add an encoded decision to the group's tail; an index is written once."""
        self._put("decisions", group, index, data, otherwise="ABORT")

    def decisions(
        self, group: bytes, after: int = -1, limit: int = 1000
    ) -> list[tuple[int, bytes]]:
        """Up to `limit` decisions of the tail with an index above `after`, in order."""
        which = "WHERE group_id = ? AND place > ? ORDER BY place LIMIT ?"
        rows = self._sealed("decisions", "group_id, place, data", which, group, after, limit)
        return [(place, bytes(data)) for _, place, data in rows]

    def decisions_kept(self, group: bytes) -> DecisionsKept:
        """How many decisions of the group there are, and from where to where."""
        rows = self._all(
            "SELECT count(*), coalesce(min(place), 0), coalesce(max(place), 0) FROM decisions"
            " WHERE group_id = ?",
            group,
        )
        return DecisionsKept(*rows[0])

    def trim_decisions(self, group: bytes, keep: int, through: int) -> None:
        """Forget all but the newest `keep` decisions of the group's tail, none above `through`."""
        self._run(
            "DELETE FROM decisions WHERE group_id = ?1 AND place <= ?3 AND place <= (SELECT place"
            " FROM decisions WHERE group_id = ?1 ORDER BY place DESC LIMIT 1 OFFSET ?2)",
            group,
            keep,
            through,
        )

    # the state that a group's decisions have made

    def save_state(self, group: bytes, index: int, data: bytes) -> None:
        """Keep the state after the decision `index`; replaces what was."""
        self._put("states", group, index, data)

    def state(self, group: bytes) -> tuple[int, bytes] | None:
        """The state kept last, and the index of the decision it is after."""
        rows = self._sealed("states", "group_id, place, data", "WHERE group_id = ?", group)
        return (rows[0][1], bytes(rows[0][2])) if rows else None

    def state_index(self, group: bytes) -> int:
        """The index of the decision that the state kept last is after; 0 without one."""
        row = self._one("SELECT place FROM states WHERE group_id = ?", group)
        return 0 if row is None else int(row[0])

    # invitations given out

    def save_invitation(self, invitation: InvitationRecord) -> None:
        """Keep an invitation; replaces what was known of it."""
        taken_by = msgpack.packb(invitation.taken_by)
        kept = invitation.id, invitation.group, invitation.expires_at, invitation.uses, taken_by
        self._put("invitations", *kept)

    def forget_invitation(self, invitation: bytes) -> None:
        """Remove an invitation; harmless if there is none."""
        self._run("DELETE FROM invitations WHERE id = ?", invitation)

    def invitations(self, group: bytes) -> list[InvitationRecord]:
        """The invitations kept for a group."""
        columns = "id, group_id, expires_at, uses, taken_by"
        rows = self._sealed("invitations", columns, "WHERE group_id = ? ORDER BY id", group)
        return [
            InvitationRecord(bytes(key), bytes(of), until, uses, tuple(msgpack.unpackb(taken)))
            for key, of, until, uses, taken in rows
        ]

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


_PEER = "key, name, addresses, seen_at"
_GROUP = "id, name, incarnation, origin"


def _peer(row: tuple[Any, ...]) -> KnownPeer:
    addresses = tuple((str(host), int(port)) for host, port in msgpack.unpackb(row[2]))
    return KnownPeer(bytes(row[0]), row[1], addresses, row[3])


def _group(row: tuple[Any, ...]) -> GroupRecord:
    incarnation = int.from_bytes(row[2], "big")
    return GroupRecord(bytes(row[0]), row[1], incarnation, bytes(row[3]))
