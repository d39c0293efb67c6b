"""The node's file, on a real disk."""

import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.storage import node_store as module
from consensus.storage.node_store import (
    GroupRecord,
    InvitationRecord,
    KnownPeer,
    NodeStore,
    StoreBusy,
    StoreCorrupt,
    StoreError,
)

GROUP = GroupRecord(b"g" * 32, "board", 2**64 - 1, b"view")
INVITATION = InvitationRecord(b"8 bytes.", GROUP.id, 1_900_000_000, 2, ())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alice.db"


def in_another_process(script: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def test_everything_outlives_the_process(path: Path) -> None:
    peer = KnownPeer(b"k" * 32, "Bob", (("192.0.2.1", 4711), ("::1", 1)), 1234.5)
    with NodeStore.open(path) as store:
        assert store.identity() is None
        store.save_identity(b"one")
        store.save_identity(b"two")
        store.remember_peer(peer)
        store.save_group(GROUP)
        store.append_decision(GROUP.id, 1, b"first")
        assert store.append_log(GROUP.id, b"entry") == 1
        store.save_state(GROUP.id, 1, b"then")
        store.save_state(GROUP.id, 3, b"now")
        store.save_invitation(INVITATION)
        store.save_invitation(replace(INVITATION, uses=1, taken_by=(b"k" * 32,)))
        store.save_invitation(replace(INVITATION, id=b"12345678"))
        store.forget_invitation(b"12345678")
    with NodeStore.open(path) as store:
        assert store.identity() == b"two"
        assert store.peers() == [peer]
        assert store.peer(b"k" * 32) == peer
        assert store.peer(b"l" * 32) is None
        assert store.groups() == [GROUP]
        assert store.state(GROUP.id) == (3, b"now")
        assert store.state_index(GROUP.id) == 3
        assert store.invitations(GROUP.id) == [
            replace(INVITATION, uses=1, taken_by=(b"k" * 32,))
        ]
        assert store.group(b"h" * 32) is None
        assert store.decisions(GROUP.id) == [(1, b"first")]
        assert list(store.replay_log(GROUP.id)) == [(1, b"entry")]


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        with NodeStore.open(path) as store:
            store.save_identity(b"secret")
            made = list(path.parent.iterdir())
            assert path in made
            for each in made:
                assert stat.S_IMODE(each.stat().st_mode) == 0o600, each
    finally:
        os.umask(before)
    path.chmod(0o640)
    with pytest.raises(StoreError, match="chmod 600"):
        NodeStore.open(path)


def test_it_is_written_through(path: Path) -> None:
    with NodeStore.open(path) as store:
        assert store._one("PRAGMA journal_mode") == ("wal",)
        assert store._one("PRAGMA synchronous") == (2,)  # FULL


def test_a_batch_is_whole_or_not_at_all(path: Path) -> None:
    with NodeStore.open(path) as store:

        def half_a_batch() -> None:
            with store.batch():
                store.save_group(GROUP)
                with store.batch():
                    store.append_log(GROUP.id, b"entry")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            half_a_batch()
        assert store.groups() == []
        with store.batch():
            store.save_group(GROUP)
            store.append_log(GROUP.id, b"entry")
        assert len(list(store.replay_log(GROUP.id))) == 1


def test_a_batch_is_one_transaction_however_many_writes(path: Path) -> None:
    with NodeStore.open(path) as store:
        seen: list[str] = []
        store.save_group(GROUP)
        store._connection.set_trace_callback(seen.append)
        with store.batch():
            for number in range(100):
                store.append_log(GROUP.id, b"%d" % number)
        assert sum(statement.startswith("COMMIT") for statement in seen) == 1


def test_a_batch_keeps_other_threads_out(path: Path) -> None:
    with NodeStore.open(path) as store:
        store.save_group(GROUP)
        started = threading.Event()

        def other() -> None:
            started.set()
            store.append_log(GROUP.id, b"other")

        thread = threading.Thread(target=other)
        with store.batch():
            thread.start()
            started.wait()
            store.append_log(GROUP.id, b"mine")
            store.append_log(GROUP.id, b"mine too")
        thread.join()
        entries = [entry for _, entry in store.replay_log(GROUP.id)]
        assert entries == [b"mine", b"mine too", b"other"]


def test_what_a_batch_wrote_survives_a_kill_and_the_rest_leaves_no_trace(path: Path) -> None:
    script = """
        import sys
        from consensus.storage.node_store import GroupRecord, NodeStore
        store = NodeStore.open(sys.argv[1])
        with store.batch():
            store.save_group(GroupRecord(b"g" * 32, "board", 1, b"view"))
            for number in range(50):
                store.append_log(b"g" * 32, b"%d" % number)
        with store.batch():
            store.append_log(b"g" * 32, b"never committed")
            print("ready", flush=True)
            sys.stdin.read()
    """
    with in_another_process(script, path) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.kill()
    with NodeStore.open(path) as store:
        entries = list(store.replay_log(b"g" * 32))
    assert entries == [(number + 1, b"%d" % number) for number in range(50)]


def test_two_nodes_do_not_share_a_file(path: Path) -> None:
    with NodeStore.open(path):
        with pytest.raises(StoreBusy, match="in use"):
            NodeStore.open(path)
        script = """
            import sys
            from consensus.storage.node_store import NodeStore, StoreBusy
            try:
                NodeStore.open(sys.argv[1])
            except StoreBusy as error:
                print(error)
        """
        with in_another_process(script, path) as child:
            said = child.communicate()[0]
        assert "in use by another node" in said
    NodeStore.open(path).close()


def test_a_refused_open_does_not_drop_the_lock(path: Path) -> None:
    """POSIX drops a process's locks when it closes any handle to the file; nothing here may."""
    with NodeStore.open(path):
        with pytest.raises(StoreBusy):
            NodeStore.open(path)
        script = """
            import sys
            from consensus.storage.node_store import NodeStore
            NodeStore.open(sys.argv[1])
        """
        with in_another_process(script, path) as child:
            child.communicate()
        assert child.returncode != 0


def test_the_tail_of_decisions_is_cut(path: Path) -> None:
    with NodeStore.open(path) as store:
        store.save_group(GROUP)
        for index in range(10):
            store.append_decision(GROUP.id, index, b"%d" % index)
        with pytest.raises(StoreError):
            store.append_decision(GROUP.id, 9, b"again")
        store.trim_decisions(GROUP.id, 20, 9)
        assert len(store.decisions(GROUP.id)) == 10
        assert store.decisions_kept(GROUP.id) == (10, 0, 9)
        store.trim_decisions(GROUP.id, 3, 2)
        assert len(store.decisions(GROUP.id)) == 7
        store.trim_decisions(GROUP.id, 3, 9)
        assert store.decisions(GROUP.id) == [(7, b"7"), (8, b"8"), (9, b"9")]
        assert store.decisions(GROUP.id, after=7, limit=1) == [(8, b"8")]
        store.trim_decisions(GROUP.id, 0, 9)
        assert store.decisions(GROUP.id) == []


def test_the_log_keeps_its_numbering_when_cut(path: Path) -> None:
    with NodeStore.open(path) as store:
        store.save_group(GROUP)
        with store.batch():
            for number in range(2500):
                store.append_log(GROUP.id, b"%d" % number)
        assert len(list(store.replay_log(GROUP.id))) == 2500
        assert next(store.replay_log(GROUP.id, after=2000)) == (2001, b"2000")
        store.trim_log(GROUP.id, 2500)
        assert list(store.replay_log(GROUP.id)) == [(2500, b"2499")]
        assert store.append_log(GROUP.id, b"next") == 2501


def test_forgetting_a_group_forgets_all_of_it(path: Path) -> None:
    with NodeStore.open(path) as store:
        store.save_group(GROUP)
        store.append_log(GROUP.id, b"entry")
        store.append_decision(GROUP.id, 1, b"decision")
        store.save_state(GROUP.id, 1, b"state")
        store.save_invitation(INVITATION)
        store.forget_group(GROUP.id)
        assert (store.state(GROUP.id), store.invitations(GROUP.id)) == (None, [])
        assert (store.groups(), store.decisions(GROUP.id)) == ([], [])
        assert list(store.replay_log(GROUP.id)) == []
        with pytest.raises(StoreError):
            store.append_log(GROUP.id, b"of a group that is not there")


def test_known_peers_and_their_addresses_are_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PEERS_MAX", 3)
    many = tuple(("192.0.2.1", port) for port in range(1, 20))
    with NodeStore.open(path) as store:
        for age in range(5):
            store.remember_peer(KnownPeer(bytes((age,)) * 32, "", many, float(age)))
        assert [peer.key[0] for peer in store.peers()] == [4, 3, 2]
        assert len(store.peers()[0].addresses) == module.ADDRESSES_MAX
        store.forget_peer(b"\x03" * 32)
        assert len(store.peers()) == 2
        with pytest.raises(StoreError):
            store.remember_peer(KnownPeer(b"short", "", (), 0.0))


def test_an_identity_is_bounded(path: Path) -> None:
    with NodeStore.open(path) as store:
        for data in (b"", bytes(module.IDENTITY_SIZE_MAX + 1)):
            with pytest.raises(StoreError):
                store.save_identity(data)


def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path) -> None:
    with NodeStore.open(path) as store:
        store.save_group(GROUP)
        with store.batch():
            for number in range(2000):
                store.append_log(GROUP.id, b"%d" % number * 20)
    good = path.read_bytes()
    damaged = {
        "header": b"not a database at all" + good[21:],
        "middle": good[: len(good) // 2] + bytes(4096) + good[len(good) // 2 + 4096 :],
        "cut": good[: len(good) // 2],
    }
    for what, data in damaged.items():
        path.write_bytes(data)
        with pytest.raises(StoreCorrupt, match=r"left as it is.*from a copy.*join again"):
            NodeStore.open(path)
        assert path.read_bytes() == data, what
    path.write_bytes(good)
    NodeStore.open(path).close()


def test_a_database_of_another_program_or_version_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="another program"):
        NodeStore.open(path)
    assert path.read_bytes() == before
    path.unlink()
    NodeStore.open(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="another version"):
        NodeStore.open(path)


def of_version_2(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 2")
    file.close()


def test_a_file_of_the_version_before_is_taken_on_unless_groups_are_in_it(path: Path) -> None:
    with NodeStore.open(path) as store:
        store.save_identity(b"somebody")
    of_version_2(path)
    with NodeStore.open(path) as store:
        assert store.identity() == b"somebody"
        store.save_group(GROUP)
    of_version_2(path)
    with pytest.raises(StoreError, match=r"another version \(schema 2, this is 3\)"):
        NodeStore.open(path)


def test_a_place_where_no_file_can_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be made"):
        NodeStore.open(tmp_path / "nowhere" / "alice.db")
    with pytest.raises(StoreError, match="not a file"):
        NodeStore.open(tmp_path)


def test_memory_only(tmp_path: Path) -> None:
    with NodeStore.open(":memory:") as store:
        store.save_group(GROUP)
        assert len(store.groups()) == 1
    with pytest.raises(StoreError):
        store.groups()
