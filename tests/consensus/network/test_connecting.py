"""What a user switches on a node, on real sockets: circles, namelessness, roaming, identities."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio
import pytest

from consensus import Node, NodeConfig, Rejected, accept
from consensus.codec import pack
from consensus.core.errors import GroupError
from consensus.machine.contacts import Contacts
from consensus.network.introductions import MEET
from consensus.storage.peer_store import PeerStore
from tests.support.network.ports import kept_port
from tests.support.nodes.nodes import PATIENCE_S, until
from tests.support.pair.stack import SERVES_ANYBODY, Stack
from transport.core.crypto.keys import Identity
from transport.core.crypto.pseudonym import MasterKey, Scope
from transport.core.errors import LocalError
from transport.core.events import PresenceUp
from transport.core.initiator.initiator import Initiator
from transport.identity import IdentityError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def circle(*secrets: bytes) -> NodeConfig:
    return NodeConfig(circles=secrets)


async def test_members_of_a_circle_meet_and_to_others_nothing_listens() -> None:
    async with (
        Node.open(config=circle(b"s" * 32)) as one,
        Node.open(config=circle(b"s" * 32)) as two,
        Node.open(config=circle(b"o" * 32)) as other,
        Node.open() as stranger,
    ):
        two.on("hello")(lambda proposal: accept("among us"))
        for node in (one, other, stranger):
            node.know(two.key, [two.address])
        assert await one.ask(two.key, "hello") == "among us"
        for node in (other, stranger):
            with pytest.raises(TimeoutError):
                await node.connect(two.key, timeout_s=0.7)


async def test_a_clock_that_was_set_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus.network.connecting.UNIX_TIME_EVERY_S", 0.05)
    real = time.time
    async with (
        Node.open(config=circle(b"s" * 32)) as one,
        Node.open(config=circle(b"s" * 32)) as two,
    ):
        one.know(two.key, [two.address])
        circles = [node._context.machine.peers._responder._circles for node in (one, two)]
        before = [circle._unix_offset_s for circle in circles if circle is not None]
        assert len(before) == 2
        # Both machines slept for a day, which the monotonic clock has not noticed.
        monkeypatch.setattr("transport.surroundings.time.time", lambda: real() + 86_400.0)

        def moved() -> list[float]:
            now = [circle._unix_offset_s for circle in circles if circle is not None]
            return [later - earlier for earlier, later in zip(before, now, strict=True)]

        await until(lambda: min(moved()) > 80_000.0)
        assert moved() == pytest.approx([86_400.0] * 2, abs=3600.0)
        await one.connect(two.key, timeout_s=PATIENCE_S)


async def test_a_question_without_a_name() -> None:
    asked: list[bytes] = []
    async with (
        Node.open(config=NodeConfig(serves_nameless=True)) as service,
        Node.open() as wants_names,
        Node.open() as somebody,
    ):

        @service.on("question")
        def answer(proposal):  # type: ignore[no-untyped-def]
            asked.append(proposal.proposer)
            return accept("answer")

        somebody.know(service.key, [service.address])
        somebody.know(wants_names.key, [wants_names.address])
        for _ in range(2):
            alias = await somebody.connect_nameless(service.key)
            assert await somebody.ask(alias, "question") == "answer"
        assert await somebody.ask(service.key, "question") == "answer"
        assert len(set(asked)) == 3
        assert [key for key in asked if key == somebody.key] == asked[2:]
        with pytest.raises(TimeoutError):
            await somebody.connect_nameless(wants_names.key, timeout_s=0.7)
        with pytest.raises(GroupError):
            await somebody.connect_nameless(os.urandom(32))


async def test_a_node_that_moves_goes_on_under_other_ids() -> None:
    async with (
        Node.open(config=NodeConfig(roams=True)) as roaming,
        Node.open() as other,
    ):
        other.on("where")(lambda proposal: accept(len(proposal.proposer)))
        roaming.know(other.key, [other.address])
        for _ in range(2):
            assert await roaming.ask(other.key, "where") == 32
        peers = roaming._context.machine.peers
        before = peers._context.by_key[other.key].current
        assert before is not None
        assert roaming.moved() == ()
        after = peers._context.by_key[other.key].current
        assert after is not None
        assert after.message_cid != before.message_cid
        assert await roaming.ask(other.key, "where") == 32
        with pytest.raises(LocalError):
            other.moved()


async def test_a_pseudonym_for_each_responder_and_one_for_each_group(tmp_path: Path) -> None:
    master = MasterKey(Identity.generate(os.urandom))
    async with Node.open() as one, Node.open() as two:
        names = {}
        for service in (one, two):
            service.on("who")(lambda proposal: accept(proposal.proposer))
            pseudonym = master.pseudonym(Scope.responder(service.key))
            async with Node.open(tmp_path / service.key.hex(), identity=pseudonym) as me:
                me.know(service.key, [service.address])
                names[service.key] = await me.ask(service.key, "who")
                assert names[service.key] == me.key
            # The same again from the file, and nobody else's file.
            async with Node.open(tmp_path / service.key.hex()) as again:
                assert again.key == names[service.key]
        assert len({*names.values(), master.key}) == 3
        with pytest.raises(IdentityError):
            async with Node.open(tmp_path / one.key.hex(), identity=Identity.generate(os.urandom)):
                pass


async def test_a_replaced_key_is_taken_and_remembered(tmp_path: Path) -> None:
    master = MasterKey(Identity.generate(os.urandom))
    old, new = (Identity.generate(os.urandom) for _ in range(2))
    expires = int(time.time()) + 3600
    first, second = master.certify(old.key, expires), master.certify(new.key, expires + 1)
    port = kept_port()
    listen = f"127.0.0.1:{port}"
    async with (
        Node.open(tmp_path / "me") as me,
        Node.open(identity=old, listen=listen) as service,
    ):
        me.know(service.key, [service.address])
        await me.people.trust(master.key, old.key)
        await me.people.take(first)
        await me.connect(old.key)
        # It says beforehand what its next key will be.
        service.know(me.key, [me.address])
        await service.people.announce(me.key, second)
        assert await me.people.key_of(master.key) == new.key
    async with Node.open(tmp_path / "me") as me, Node.open(identity=new, listen=listen) as service:
        service.on("hello")(lambda proposal: accept("it is me"))
        key = await me.people.key_of(master.key)
        assert key == new.key
        # It is looked for where the old one was.
        assert await me.ask(key, "hello") == "it is me"
        # The certificate of the old key does not come back, nor does a stranger's count.
        with pytest.raises(GroupError):
            await me.people.take(first)
        stranger = MasterKey(Identity.generate(os.urandom))
        with pytest.raises(GroupError):
            await me.people.take(stranger.certify(old.key, expires + 9))
        service.know(me.key, [me.address])
        altered = second[:-1] + bytes([second[-1] ^ 1])
        for bad in (stranger.certify(new.key, expires + 9), first, altered):
            with pytest.raises(Rejected):
                await service.people.announce(me.key, bad)
        assert await me.people.key_of(master.key) == new.key
        assert await me.people.key_of(stranger.key) is None


async def test_two_people_read_each_other_the_same_number() -> None:
    async with Node.open() as one, Node.open() as two, Node.open() as between:
        number = one.people.safety_number(two.key)
        assert number == two.people.safety_number(one.key)
        assert len(number.split()) == 12
        assert number != one.people.safety_number(between.key)
        with pytest.raises(GroupError):
            one.people.safety_number(b"short")



async def test_after_a_restart_a_peer_is_reached_without_a_first_contact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hellos: list[bytes] = []
    hello = Initiator.hello

    def counted(self: Initiator, now: float) -> bytes:
        hellos.append(self.peer)
        return hello(self, now)

    monkeypatch.setattr(Initiator, "hello", counted)
    async with Node.open() as service, Node.open() as other:
        service.on("hello")(lambda proposal: accept("again"))
        other.on("hello")(lambda proposal: accept("again"))
        async with Node.open(tmp_path / "me") as me:
            me.know(service.key, [service.address])
            assert await me.ask(service.key, "hello") == "again"
        assert len(hellos) == 1
        # Another process: nobody tells it where the peer is, and it says no hello.
        async with Node.open(tmp_path / "me") as me:
            assert await me.ask(service.key, "hello") == "again"
        assert len(hellos) == 1
        # What is too old, or of another peer, is not believed; then it is a first contact.
        with PeerStore.open(f"{tmp_path / 'me'}.peers") as store:
            ((peer, record, _),) = store.records()
            assert peer == service.key
            assert len(record) == 176
            store.save_records([(peer, record)], time.time() - 1000.0)
        async with Node.open(tmp_path / "me") as me:
            assert await me.ask(service.key, "hello") == "again"
        assert len(hellos) == 2
        with PeerStore.open(f"{tmp_path / 'me'}.peers") as store:
            store.save_records([(other.key, record)], time.time())
        async with Node.open(tmp_path / "me") as me:
            me.know(other.key, [other.address])
            assert await me.ask(other.key, "hello") == "again"
        assert len(hellos) == 3


async def test_no_file_holds_a_secret_of_a_presence(tmp_path: Path) -> None:
    async with Node.open() as service:
        service.on("hello")(lambda proposal: accept())
        async with Node.open(tmp_path / "me") as me:
            me.know(service.key, [service.address])
            await me.ask(service.key, "hello")
            presence = me._context.machine.peers._context.by_key[service.key].current
            assert presence is not None
            secrets = [bytes(presence._secrets[at : at + 32]) for at in range(0, 288, 32)]
            for node in (service, me):
                responder = node._context.machine.peers._responder
                secrets.append(responder._transients.current.pair.secret)
            await me.letters.store(service.key, "kind", "body", reply="class")
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
        assert service.key in kept
        assert not [secret for secret in secrets if secret in kept]


async def test_two_that_do_not_know_where_the_other_is_are_introduced() -> None:
    async with Node.open() as one, Node.open() as two, Node.open() as third:
        for node in (one, two):
            third.know(node.key, [node.address])
            node.on("hello")(lambda proposal: accept("met"))
            with pytest.raises(Rejected):
                await third.introductions.introduce(one.key, two.key)
            node.introductions.allow(third.key)
        with pytest.raises(GroupError):
            await one.ask(two.key, "hello")
        await third.introductions.introduce(one.key, two.key)
        for here, there in ((one, two), (two, one)):
            with anyio.fail_after(PATIENCE_S):
                await here._reaching._up(there.key, PATIENCE_S)
            assert await here.ask(there.key, "hello") == "met"


async def test_introductions_that_are_none_are_refused() -> None:
    async with Node.open() as one, Node.open() as hostile, Node.open() as other:
        one.introductions.allow(hostile.key)
        hostile.know(one.key, [one.address])
        record = other._context.machine.peers.introductions.published(other._context.clock())
        good = {
            "peer": other.key, "token": bytes(16), "own": record, "record": record,
            "where": [["127.0.0.1", 9]], "rtt_ms": 1,
        }  # fmt: skip
        for change in (
            {"peer": one.key},
            {"peer": b"x"},
            {"token": bytes(15)},
            {"record": bytes(176)},
            {"record": b""},
            {"where": []},
            {"where": [["224.0.0.1", 9], ["name", 1], [1, 2], 3]},
            {"where": [["127.0.0.1", 9]] * 9},
            {"rtt_ms": "soon"},
            {"peer": None},
        ):
            body = pack({**good, **change})
            with pytest.raises(Rejected):
                await hostile._context.ask_framework(one.key, MEET, body, PATIENCE_S, PATIENCE_S)
        assert one._context.machine.peers._context.attempts == 0


def test_who_gave_no_name_is_not_called_back_and_that_ends_nothing() -> None:
    stack = Stack(SERVES_ANYBODY)
    here, there = stack.add("here"), stack.add("there")
    alias = here.call(
        lambda n, now: n.connect_anonymously(stack.key(there), [there.address], now)
    )
    stack.run(1.0)
    (handle,) = [event.peer for _, event in there.events if isinstance(event, PresenceUp)]
    for host, peer in ((there, handle), (here, alias)):
        contacts = Contacts(host.node)
        assert contacts.addresses(peer)
        stack.world.cut(["here"], ["there"])
        host.call(lambda n, now, peer=peer: n.watch(peer, True, now))
        stack.run(8.0)
        assert host.node.status(peer).silent
        contacts.renew(peer, stack.world.now)
        host.node.close(peer, 1, stack.world.now)
        contacts.reconnect(peer, stack.world.now)
        assert host.node._context.attempts == 0
