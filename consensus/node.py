"""What a user opens: an identity, a socket, and the groups it is in."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from os import PathLike
from typing import Any

import anyio

from consensus.arguments import (
    TIMEOUT_MAX_S,
    check_handler,
    check_key,
    check_kind,
    check_kind_of,
    check_seconds,
    make_content,
)
from consensus.blobs.service import BlobService, OnProgress
from consensus.blobs.store import FetchReport
from consensus.config import NodeConfig
from consensus.core import outputs
from consensus.core.blob.tree import BlobRef
from consensus.core.config import GroupConfig
from consensus.decision import Decision, H
from consensus.groups.asking import Asking
from consensus.groups.certificates import SIGN, Certificates
from consensus.groups.handle import Group
from consensus.groups.invitations import ENQUIRE, JOIN, JOIN_TIMEOUT_S, Invitations
from consensus.groups.lifecycle import Lifecycle
from consensus.groups.replica import Replica, Replicas
from consensus.groups.vote_handlers import VoteHandlers
from consensus.groups.watch import Watch
from consensus.life import Life, Opening
from consensus.machine.addresses import checked
from consensus.machine.hosted_group import GroupEvent, PairEvent
from consensus.machine.machine import group_number
from consensus.network.connecting import Connecting
from consensus.network.introductions import Introducing
from consensus.network.letters import Letters
from consensus.network.services import Service, Services
from consensus.network.trust import SUCCEED, People
from consensus.node_context import NodeContext
from consensus.startup import new_machine
from consensus.status import NodeStatus, shown
from consensus.storage.durable_groups import DurableGroups, unwrapped
from consensus.storage.files import NodeFiles
from consensus.storage.node_store import GroupRecord, StoreError
from transport.channel import Channel
from transport.core.crypto.keys import Identity
from transport.core.events import ConnectFailed, PresenceUp
from transport.core.types import Address
from transport.endpoint import Endpoint
from transport.surroundings import current

log = logging.getLogger("quorate")


class Node:
    """An identity on the network. Open with `async with Node.open(...) as node`, or with
    `node = await Node.open(...)` and, in any task, `await node.aclose()`."""

    def __init__(
        self,
        files: NodeFiles,
        listen: str,
        advertise: Sequence[Address],
        config: NodeConfig,
        life: Life,
    ) -> None:
        stored = files.stored_groups()
        known = list(files.known_peers())
        context, self._asking = self._begin(files, stored, listen, checked(advertise), config)
        self._context = context
        self.key = context.key
        self._files, self._life = files, life
        self._groups: dict[int, Group] = {}
        self._services = Services(context.endpoint.open_channel)
        self._reaching = Connecting(context)
        self.people = People(context, files)
        self.introductions = Introducing(context, self._shares_group)
        self.letters = Letters(context, files, self._reaching)
        self.blobs = BlobService(
            files.blobs, config.blob_limit_bytes, self._services, self._shares_group
        )
        self._voting = VoteHandlers(context, self._asking, self.blobs)
        self._durables = durables = DurableGroups(context, files)
        self._invitations = invitations = Invitations(context, files)
        self._certificates = certificates = Certificates(context, self._groups)
        self._entering = Lifecycle(
            context, self._groups, files, durables, self.blobs, invitations, certificates
        )
        context.handlers |= {ENQUIRE: invitations.enquire, JOIN: invitations.join}
        context.handlers |= {SIGN: certificates.sign, SUCCEED: self.people.succeed}
        context.handlers |= self.introductions.handlers
        context.machine.absent = {group_number(row.id) for row in stored if row.lives}
        for peer, addresses in known:
            context.machine.contacts.know(peer, addresses)

    def _begin(
        self,
        files: NodeFiles,
        stored: Sequence[GroupRecord],
        listen: str,
        advertise: Sequence[Address],
        config: NodeConfig,
    ) -> tuple[NodeContext, Asking]:
        """The machine and its socket, and what everything else stands on."""
        machine = new_machine(files.identity, stored, config)
        endpoint = Endpoint(
            machine,
            files.identity.key,
            current().bind(listen),
            on_event=self._take,
            on_channel=self._channel_opened,
            busy_poll_s=config.attention_s,
        )
        asking = Asking(machine, endpoint)
        remember = files.remember if files.durable else None
        context = NodeContext(
            files.identity, machine, endpoint, advertise, asking.ask, remember
        )
        return context, asking

    @staticmethod
    def open(
        path: str | PathLike[str] | None = None,
        *,
        listen: str = "127.0.0.1:0",
        advertise: Sequence[Address] = (),
        passphrase: str | None = None,
        identity: Identity | None = None,
        config: NodeConfig | None = None,
    ) -> Opening[Node]:
        """Open the node whose identity, peers and blobs are in the file `path` (made, mode 0600,
        if there is none), or one that is forgotten at the end (None).

        `listen` is `host:port`; port 0 takes any. `advertise` is where others reach this node, if
        that is not where it listens: needed for invitations when it listens on all addresses.
        `identity`: whose node it is, a pseudonym for instance; else that of the file, or a new one.
        Raises StoreError, IdentityError, LocalError, GroupError for an argument that is none.
        """
        check_kind_of("path", path, str, PathLike)
        check_kind_of("listen", listen, str, needed=True)
        check_kind_of("passphrase", passphrase, str)
        check_kind_of("identity", identity, Identity)
        check_kind_of("config", config, NodeConfig)
        files = NodeFiles.open(path, passphrase, identity)
        config = config or NodeConfig()
        return Opening(lambda life: _opened(files, listen, advertise, config, life))

    @property
    def address(self) -> Address:
        """Where the socket is bound."""
        return self._context.endpoint.address

    @property
    def on_progress(self) -> OnProgress | None:
        """Called as blobs come that proposals name; None for nobody. May be set."""
        return self._voting.on_progress

    @on_progress.setter
    def on_progress(self, told: OnProgress | None) -> None:
        self._voting.on_progress = told

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups this node is a member of."""
        return tuple(group for group in self._groups.values() if group.ended is None)

    def status(self) -> NodeStatus:
        """How this node and its groups stand. Its text (`str`) says it in words, a line a group."""
        return NodeStatus(self.key, self.address, tuple(group.status() for group in self.groups))

    def __repr__(self) -> str:
        host, port = self.address
        return f"<Node {shown(self.key)} at {host}:{port}, {len(self.groups)} groups>"

    def on(self, kind: str) -> Callable[[H], H]:
        """Decorator: the function, plain or async, that votes on `kind`, whoever proposes it: in
        any group without a handler of its own for it, or by `ask`. It takes a Proposal and
        returns `accept(answer)` or `reject(reason)`. A plain one runs in the event loop."""
        check_kind(kind)

        def register(handler: H) -> H:
            check_handler(handler)
            self._context.handlers[kind] = handler
            return handler

        return register

    def know(self, peer: bytes, addresses: Iterable[Address]) -> None:
        """Where a peer may be found. Raises GroupError for what is no key or no address."""
        self._context.know(peer, addresses)

    async def connect(self, peer: bytes, *, timeout_s: float = 10.0) -> None:
        """Have a presence with a peer whose address is known. Raises TimeoutError, GroupError when
        no address is known, LocalError for a key that is none."""
        await self._reaching.connect(peer, timeout_s)

    async def connect_nameless(self, peer: bytes, *, timeout_s: float = 10.0) -> bytes:
        """As `connect`, without telling the peer who this is, which it must allow
        (`NodeConfig.serves_nameless`). What the peer goes by in `ask`, while this lasts."""
        return await self._reaching.connect_nameless(peer, timeout_s)

    def moved(self) -> tuple[bytes, ...]:
        """The node has, or is about to have, another address: go on with all peers that are up
        under other connection ids, so that nobody sees from the datagrams who it was before. Needs
        `NodeConfig.roams`. Returns the peers with whom that cannot be: they were met a moment
        ago, or not heard since two moves. Raises LocalError."""
        return self._reaching.moved()

    async def ask(
        self,
        peer: bytes,
        kind: str,
        body: Any = None,
        *,
        deadline_s: float = 10.0,
        timeout_s: float = 15.0,
    ) -> Any:
        """Ask one peer: a decision of two, in one round trip. Returns its answer.

        Raises Rejected with the peer's reason, TimeoutError, Unreachable when there was no way to
        the peer, OutcomeUnknown when it was lost before it answered, GroupError when it is not
        known where the peer is or an argument is none, ValueRefused for a body that cannot be
        carried.
        """
        check_key(peer)
        check_seconds("timeout_s", timeout_s, TIMEOUT_MAX_S)
        content = make_content(kind, body, (), deadline_s)
        return await self._asking.ask(peer, content, timeout_s)

    async def found(
        self,
        name: str,
        *,
        config: GroupConfig | None = None,
        replica: Replica | None = None,
        durable: bool = False,
    ) -> Group:
        """Found a group: a view of one, this node; `replica`: the state its members keep, see
        `Replica.found`; `durable`: it outlives its members' processes, see `resume`. Raises
        GroupError, StoreError."""
        check_kind_of("config", config, GroupConfig)
        check_kind_of("replica", replica, Replica)
        return await self._entering.found(name, config or GroupConfig(), replica, durable)

    async def join(
        self,
        token: str,
        *,
        sponsor: bytes | None = None,
        timeout_s: float = JOIN_TIMEOUT_S,
        replica: Replica | None = None,
    ) -> Group:
        """Join the group that an invitation is for; returns once this node is in its view.

        `sponsor`: the key of whom the invitation is expected from; give it where the text came by
        a way on which it could have been exchanged for another. `replica`: the state its members
        keep, see `Replica.join`.

        Raises TokenError when the invitation is no good here, Rejected when the group or the
        sponsor says no, TimeoutError, OutcomeUnknown.
        """
        check_kind_of("token", token, str, needed=True)
        check_kind_of("replica", replica, Replica)
        check_seconds("timeout_s", timeout_s, TIMEOUT_MAX_S)
        return await self._entering.join(token, sponsor, timeout_s, replica)

    async def resume(self, replicas: Replicas | None = None) -> tuple[Group, ...]:
        """Go on with the durable groups that are in the node's file, as the same life: all of them
        or none. Register handlers first: votes that were not given are asked for again. A group
        that keeps a state needs its replica, by the group's name (or its id). Raises StoreError
        when the file is damaged, GroupError without a replica, RestoreFailed."""
        return await self._entering.resume(replicas or {})

    def serve(self, name: str) -> Callable[[Service], Service]:
        """Decorator: the async function that is given each channel a peer opens to `name`."""

        def register(service: Service) -> Service:
            self._services.register(name, service)
            return service

        return register

    async def open_channel(self, peer: bytes, name: str) -> Channel:
        """A byte stream to a peer's service. Raises LocalError without a presence."""
        return await self._services.open(peer, name)

    async def share(self, path: str | PathLike[str], *, copy: bool = True) -> BlobRef:
        """Make a file available to the members of this node's groups. Without `copy` it is given
        from where it lies, and must not change. Raises BlobError."""
        return await self.blobs.share(path, copy)

    async def pin(self, ref: BlobRef, pinned: bool = True) -> None:
        """Keep a blob that is here whatever else needs room (`NodeConfig.blob_limit_bytes`), or
        no longer. Raises BlobError."""
        await self.blobs.pin(ref, pinned)

    async def fetch(
        self,
        ref: BlobRef,
        peers: Sequence[bytes],
        to: str | PathLike[str] | None = None,
        on_progress: OnProgress | None = None,
        timeout_s: float | None = None,
    ) -> FetchReport:
        """As `Group.fetch`, from peers with whom presences are up."""
        return await self.blobs.fetch(ref, peers, to, on_progress, timeout_s)

    def _take(self, event: object) -> None:
        if type(event) is GroupEvent:
            number, output = event
            group = self._groups.get(number)
            if group is None:
                return
            if type(output) is outputs.Decided:
                group.state.decided(output)
            elif type(output) is outputs.VoteWanted:
                self._voting.wanted_by_group(group, number, output.proposal)
            elif type(output) is outputs.Accused:
                who = output.member.key.hex()[:16]
                log.warning("%s: %s broke the protocol: %s", group.name, who, output.what)
            elif type(output) is outputs.Persist:
                self._durables.write(group.id, number, output)
            elif type(output) is outputs.Ended:
                self._entering.drop(group, "it has ended")
            else:
                group.state.take(output)
        elif type(event) is PairEvent:
            peer, output = event
            if type(output) is outputs.VoteWanted:
                self._voting.wanted_by_peer(peer, output.proposal)
            else:
                self._asking.take(peer, output)
        else:
            if isinstance(event, PresenceUp | ConnectFailed):
                self._reaching.take(event)
            if isinstance(event, PresenceUp) and not event.peer[-1] & 0x80:  # It has a name.
                self._context.remember(event.peer, event.address)
            self.letters.take(event)

    def _channel_opened(self, peer: bytes, channel: Channel) -> None:
        self._context.spawn(self._services.accept, channel)

    def _shares_group(self, peer: bytes) -> bool:
        return any(peer in group.peers() for group in self.groups)

    async def aclose(self) -> None:
        """Close the node: what was sent has a moment to arrive, and peers who share no group with
        it are told. From any task; cancelled, it is closed all the same before this raises. In one
        of the node's own handlers or services it only begins. Raises what the node has failed by.
        """
        await self._life.close()
        if self._life.failure is not None:
            raise self._life.failure

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[Node]:
        with self._context.endpoint.opened(), unwrapped(StoreError):
            async with anyio.create_task_group() as tasks:
                self._context.tasks = tasks
                tasks.start_soon(self._context.endpoint.run)
                tasks.start_soon(self._durables.run)
                tasks.start_soon(self._reaching.run)
                tasks.start_soon(self.letters.run)
                tasks.start_soon(Watch(lambda: self.groups).run)
                await self._reaching.restore(self._files)
                try:
                    yield self
                    await self._reaching.part()
                finally:
                    for group in self._groups.values():
                        group.close("the node was closed")
                    self._asking.close()
                    await self._reaching.keep(self._files)
                    tasks.cancel_scope.cancel()
            self.blobs.close()  # After the tasks: one of them may be about to open it.


@asynccontextmanager
async def _opened(
    opening: AbstractAsyncContextManager[NodeFiles],
    listen: str,
    advertise: Sequence[Address],
    config: NodeConfig,
    life: Life,
) -> AsyncIterator[Node]:
    async with opening as files, Node(files, listen, advertise, config, life)._running() as node:
        yield node


__all__ = ["Decision", "Node", "NodeConfig"]
