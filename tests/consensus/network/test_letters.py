"""Letters between nodes on real sockets: at once, stored, and replies after a restart."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consensus import Node
from consensus.codec import ValueRefused
from consensus.core.errors import GroupError
from consensus.network.letters import Letter, _decoded_untrusted
from consensus.storage.database import StoreError
from consensus.storage.peer_store import PeerStore, StoredLetter
from tests.support.network.ports import kept_port
from tests.support.nodes.nodes import PATIENCE_S
from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError
from transport.core.types import Outcome

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Got:
    """What handlers were called with."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._more = anyio.Event()

    def put(self, *what: Any) -> None:
        self.all.append(what if len(what) > 1 else what[0])
        self._more.set()
        self._more = anyio.Event()

    async def wait(self, number: int) -> list[Any]:
        with anyio.fail_after(PATIENCE_S):
            while len(self.all) < number:
                await self._more.wait()
        return self.all


async def test_a_letter_and_its_reply() -> None:
    async with Node.open() as one, Node.open() as two:
        got = Got()

        @two.letters.on("note")
        async def note(letter: Letter) -> Any:
            got.put(letter.peer, letter.kind, letter.body)
            return {"read": letter.body["text"]}

        one.know(two.key, [two.address])
        sent = await one.letters.send(
            two.key, "note", {"text": "x"}, timeout_s=PATIENCE_S, reply_timeout_s=PATIENCE_S
        )
        assert (sent.outcome, sent.reply) == (Outcome.REPLIED, {"read": "x"})
        assert got.all == [(one.key, "note", {"text": "x"})]
        # Without a reply wanted it is over when the peer's node has it, handler or not.
        sent = await one.letters.send(two.key, "other", 1, timeout_s=PATIENCE_S)
        assert sent.outcome is Outcome.SUCCEEDED
        with pytest.raises(LocalError):
            await one.letters.send(two.key, "note", bytes(1100))
        with pytest.raises(ValueRefused):
            await one.letters.send(two.key, "note", object())
        with pytest.raises(GroupError):
            await one.letters.send(two.key, "", None)


async def test_a_handler_that_fails_is_nobody_elses_fault(caplog: pytest.LogCaptureFixture) -> None:
    async with Node.open() as one, Node.open() as two:
        two.letters.on("bad")(lambda letter: 1 / 0)
        two.letters.on("odd")(lambda letter: object())
        one.know(two.key, [two.address])
        for kind in ("bad", "odd"):
            sent = await one.letters.send(two.key, kind, reply_timeout_s=0.3)
            assert sent.outcome is Outcome.UNKNOWN
        two.letters.on("good")(lambda letter: "fine")
        sent = await one.letters.send(
            two.key, "good", timeout_s=PATIENCE_S, reply_timeout_s=PATIENCE_S
        )
        assert sent.reply == "fine"


async def test_a_stored_letter_waits_for_its_receiver_and_its_reply_for_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consensus.network.letters.RETRY_S", 0.1)
    service = Identity.generate(os.urandom)
    address = ("127.0.0.1", kept_port())
    got, replies, outcomes = Got(), Got(), Got()
    async with Node.open(tmp_path / "me") as me:
        me.know(service.key, [address])
        numbers = [
            await me.letters.store(service.key, "order", n, reply="orders") for n in range(3)
        ]
        assert numbers == [1, 2, 3]
        assert await me.letters.store(service.key, "order", 9, reply="refunds") == 1
    # The process ended before anybody was there.
    listen = f"127.0.0.1:{address[1]}"
    async with Node.open(tmp_path / "service", identity=service, listen=listen) as there:
        held = anyio.Event()

        @there.letters.on("order")
        async def order(letter: Letter) -> Any:
            got.put(letter.body)
            await held.wait()  # The reply comes when the asking process is another one.
            return letter.body * 10

        async with Node.open(tmp_path / "me", listen="127.0.0.1:0") as me:
            me.letters.on_outcome = outcomes.put
            assert sorted(await got.wait(4)) == [0, 1, 2, 9]
            assert [outcome for _, outcome in await outcomes.wait(4)] == [Outcome.SUCCEEDED] * 4
        async with Node.open(tmp_path / "me", listen="127.0.0.1:0") as me:
            me.letters.replies("orders")(lambda n, letter: replies.put("orders", n, letter.body))
            me.letters.replies("refunds")(lambda n, letter: replies.put("refunds", n, letter.body))
            await me.connect(service.key)
            held.set()
            expected = [("orders", 1, 0), ("orders", 2, 10), ("orders", 3, 20), ("refunds", 1, 90)]
            assert sorted(await replies.wait(4)) == expected
        assert len(got.all) == 4, "once each"


async def test_what_may_have_left_is_not_sent_again(tmp_path: Path) -> None:
    """The process ended between the mark in the file and the acknowledgement."""
    async with Node.open(tmp_path / "me") as me, Node.open() as other:
        outcomes = Got()
        await me.letters.store(other.key, "order", 1)
        key = other.key
    with PeerStore.open(f"{tmp_path / 'me'}.peers") as store:
        (letter,) = store.letters()
        store.set_tried(letter, True)
    async with Node.open(tmp_path / "me") as me:
        me.letters.on_outcome = outcomes.put
        assert await outcomes.wait(1) == [(letter.id, Outcome.UNKNOWN)]
        assert me.letters._stored == {}
        assert key == letter.peer
    with PeerStore.open(f"{tmp_path / 'me'}.peers") as store:
        assert store.letters() == []


async def test_an_expired_letter_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Node.open() as me, Node.open() as other:
        outcomes = Got()
        me.letters.on_outcome = outcomes.put
        other.letters.on("late")(outcomes.put)
        await me.letters.store(other.key, "late", 1, expires_in_s=60.0)
        later = time.time() + 61.0
        monkeypatch.setattr("transport.surroundings.time.time", lambda: later)
        me.know(other.key, [other.address])
        await me.connect(other.key)
        assert await outcomes.wait(1) == [(1, Outcome.FAILED)]


def test_a_reply_is_taken_once_and_from_its_peer_only(tmp_path: Path) -> None:
    with PeerStore.open(tmp_path / "peers") as store:
        name, peer = b"n" * 32, b"p" * 32
        assert store.await_reply(name, peer, "class", 100.0) == 1
        assert store.await_reply(b"m" * 32, peer, "class", 10.0) == 2
        assert store.await_reply(b"o" * 32, peer, "other", 100.0) == 1
        assert store.take_reply(name, b"q" * 32, 50.0) is None
        found = store.take_reply(name, peer, 50.0)
        assert found is not None
        assert (found.handlers, found.number) == ("class", 1)
        assert store.take_reply(name, peer, 50.0) is None
        assert store.take_reply(b"m" * 32, peer, 50.0) is None, "it has expired"
        # A number is never given twice, whatever was forgotten meanwhile.
        assert store.await_reply(b"r" * 32, peer, "class", 100.0) == 3


def test_both_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus.storage.peer_store.LETTERS_MAX", 3)
    monkeypatch.setattr("consensus.storage.peer_store.REPLIES_MAX", 2)
    letter = StoredLetter(0, b"p" * 32, b"x", b"", b"", 1.0, False)
    with PeerStore.open(tmp_path / "peers") as store:
        for _ in range(3):
            store.add_letter(letter)
        with pytest.raises(StoreError):
            store.add_letter(letter)
        for number in range(2):
            store.await_reply(bytes([number]) * 32, b"p" * 32, "class", 1.0)
        with pytest.raises(StoreError):
            store.await_reply(b"z" * 32, b"p" * 32, "class", 1.0)
        assert len(store.letters()) == 3



@given(st.binary(max_size=200))
@example(b"\x92\xa1k")
@example(b"\x92\x01\x02")
def test_any_bytes_are_a_letter_or_raise_one_error(data: bytes) -> None:
    try:
        kind, _ = _decoded_untrusted(data)
    except ValueRefused:
        return
    assert isinstance(kind, str)
