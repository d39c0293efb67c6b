"""A node's files on a disk that is full, or a process that is killed, at each step of their making.

    python -m tests.support.disk.filled full|killed DIRECTORY

Prints how many steps there were. Run with the library of `room.c`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from consensus.storage.node_store import GroupRecord, NodeStore, StoreCorrupt, StoreError
from consensus.storage.peer_store import PeerStore
from tests.support.disk.room import KILLED, room_for, room_hit

GROUP = bytes(32)
ENTRY = bytes(6000)
ENTRIES = 4
PEER = bytes(32)


def live(directory: Path, kept: Callable[[str], object]) -> None:
    """One life of the files; says what is durable as soon as it is."""
    with NodeStore.open(directory / "n.db") as store:
        store.save_identity(b"me")
        kept("identity")
        store.save_group(GroupRecord(GROUP, "board", 1, b"origin"))
        kept("group")
        for number in range(ENTRIES):
            store.append_log(GROUP, ENTRY)
            kept(f"entry {number + 1}")
        with PeerStore.open(directory / "n.db.peers") as peers:
            peers.save_records([(PEER, b"record")], 1.0)
            kept("record")


def check(directory: Path, kept: list[str]) -> None:
    """There is room again: what was kept is there, and more can be."""
    with NodeStore.open(directory / "n.db") as store:
        entries = [f"entry {seq}" for seq, entry in store.replay_log(GROUP) if entry == ENTRY]
        found = entries + ["identity"] * (store.identity() == b"me")
        found += ["group"] * (store.group(GROUP) is not None)
        store.save_identity(b"me")
    with PeerStore.open(directory / "n.db.peers") as peers:
        found += ["record"] * bool(peers.records())
        peers.save_records([(PEER, b"record")], 2.0)
    assert set(kept) <= set(found), (kept, found)
    assert len(found) <= len(kept) + 1, (kept, found)
    assert {path.name for path in directory.iterdir()} == {"n.db", "n.db.peers"}


def filled(directory: Path, steps: int) -> bool:
    """The disk is full after so many steps. Whether it was before everything was done."""
    kept: list[str] = []
    room_for(steps)
    try:
        live(directory, kept.append)
    except StoreCorrupt:
        raise
    except StoreError:
        assert room_hit()
    hit = room_hit()
    if hit:
        try:  # Another start while there is no room.
            live(directory, kept.append)
        except StoreCorrupt:
            raise
        except StoreError:
            pass
    room_for(-1)
    check(directory, kept)
    return hit


def killed(directory: Path, steps: int) -> bool:
    """The process is killed after so many steps. Whether it was before everything was done."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        room_for(steps, killed=True)
        live(directory, lambda what: os.write(write, what.encode() + b"\n"))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        kept = said.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    check(directory, kept)
    return status == KILLED


def main(how: str, directory: str) -> None:
    """Once for each step there is."""
    steps = 0
    while True:
        place = Path(directory, str(steps))
        place.mkdir()
        if not {"full": filled, "killed": killed}[how](place, steps):
            break
        shutil.rmtree(place)
        steps += 1
    print(steps)


if __name__ == "__main__":
    main(*sys.argv[1:3])
