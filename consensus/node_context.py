"""What the parts of a node are given: who it is, its machine and socket, and what to do with them.

A node builds one of these and hands it to its parts. None of them knows the node, so that each can
be read by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from math import ceil
from typing import Any, TypeVar

from anyio.abc import TaskGroup

from consensus.arguments import check_key
from consensus.core.types import Content, Member
from consensus.decision import Handler
from consensus.machine.addresses import is_wildcard
from consensus.machine.machine import Machine
from transport.core.crypto.keys import Identity
from transport.core.types import Address, RandomBytes
from transport.endpoint import Endpoint
from transport.surroundings import current

__all__ = ["Ask", "NodeContext", "Remember"]

T = TypeVar("T")
Ask = Callable[[bytes, Content, float], Coroutine[Any, Any, Any]]
"""`ask(peer, content, timeout_s)`: as `consensus.groups.asking.Asking.ask`."""
Remember = Callable[[bytes, Iterable[Address]], Coroutine[Any, Any, None]]
"""`remember(peer, addresses)`: as `consensus.storage.files.NodeFiles.remember`."""


class NodeContext:
    """One node's, from before its tasks run until after they have ended."""

    def __init__(
        self,
        identity: Identity,
        machine: Machine,
        endpoint: Endpoint,
        advertise: Sequence[Address],
        ask: Ask,
        remember: Remember | None,
    ) -> None:
        """`advertise`: the addresses to tell others, if not those of the socket. `remember`: None
        for a node of which nothing outlives it."""
        self.key = identity.key
        self.sign = identity.sign
        self.machine = machine
        self.endpoint = endpoint
        self.clock = endpoint.clock
        """The clock the machine goes by, in seconds."""
        self.new_waiter = endpoint.waiter
        self._spawn = endpoint.spawn
        here = current()
        self.random: RandomBytes = here.random
        self.unix_time = here.unix_time
        self.handlers: dict[str, Handler] = {}
        """Who votes on what a peer asks this node alone, and where a group has nobody of its own;
        by kind."""
        self.tasks: TaskGroup | None = None
        """Set while the node runs."""
        self._advertise = tuple(advertise)
        self._ask = ask
        self._remember = remember

    @property
    def me(self) -> Member:
        """This life of the node."""
        return self.machine.me

    def member(self, peer: bytes, generation: int = 0) -> Member:
        """A peer in its present life. Raises GroupError without a presence."""
        return self.machine.contacts.member(peer, generation)

    def advertised(self) -> tuple[Address, ...]:
        """The addresses to tell others; none when nobody said where a socket that is bound to all
        addresses is reached."""
        if self._advertise:
            return self._advertise
        address = self.endpoint.address
        return () if is_wildcard(address[0]) else (address,)

    def know(self, peer: bytes, addresses: Iterable[Address]) -> None:
        """Where a peer may be found. Raises GroupError for what is no key or no address."""
        check_key(peer)
        self.machine.contacts.know(peer, tuple(addresses))
        self.remember(peer)

    def remember(self, peer: bytes, *newest: Address) -> None:
        """Have where the peer is known to be kept for the next process, if there is a file."""
        if self._remember is not None and self.tasks is not None:
            found = (*newest, *self.machine.contacts.addresses(peer))
            self.spawn(self._remember, peer, tuple(dict.fromkeys(found)))

    def spawn(self, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        """Run something beside everything else, until the node closes."""
        assert self.tasks is not None
        self._spawn(self.tasks, function, *arguments)

    def look(self, action: Callable[[Machine, float], T]) -> T:
        """Do something with the machine that may leave nothing to be carried out. Raises
        EndpointClosed once the node is."""
        self.endpoint.check_open()
        return action(self.machine, self.clock())

    def do(
        self,
        action: Callable[[Machine, float], T],
        before: Callable[[T], None] | None = None,
        *,
        together: bool = False,
    ) -> T:
        """Do something with the machine and have it carried out; `before` that, its result is
        made known. `together`: with what else is asked for in this turn of the event loop, and
        not at once. Raises EndpointClosed once the node is."""
        self.endpoint.check_open()
        result = action(self.machine, self.clock())
        if before is not None:
            before(result)
        self.endpoint.touch(together=together)
        return result

    async def ask_framework(
        self, peer: bytes, kind: str, body: bytes, deadline_s: float, timeout_s: float
    ) -> Any:
        """`Node.ask` one of the framework's own questions, with its body packed."""
        content = Content(kind, body, (), ceil(1000 * deadline_s))
        return await self._ask(peer, content, timeout_s)
