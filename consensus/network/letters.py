"""Letters: a word from one peer to another that nobody votes on, now or when it can be had.

A letter is one message of a presence (`transport.core.lane.message`): at most a kilobyte, handed up
at most once, its delivery known. A *stored* letter waits in the node's file until its receiver is
up, across restarts: it is marked in the file before it may leave, so that it leaves once. A reply
to it finds its handler by the handler's class and number, which are in the file too: also in a
process that was started since.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from consensus.arguments import check_key, check_seconds
from consensus.codec import ValueRefused, pack, unpack_untrusted
from consensus.core.errors import GroupError
from consensus.network.connecting import Connecting
from consensus.node_context import NodeContext
from consensus.storage.database import StoreError
from consensus.storage.files import NodeFiles
from consensus.storage.peer_store import StoredLetter
from transport.core.errors import LocalError
from transport.core.events import DeliveryKnown, MessageReceived, PresenceUp
from transport.core.lane.message import NAME_SIZE
from transport.core.types import Delivery, Message, Outcome, Ways

__all__ = ["Letter", "Letters", "Sent"]

log = logging.getLogger("quorate")
LETTER = 1
"""The kind of message that letters are."""
STORED_FOR_MAX_S = 365 * 86_400.0
RETRY_S = 15.0
"""How often a receiver of stored letters is tried."""
CONNECT_TIMEOUT_S = 10.0
_IN_TIME_S = 10.0  # for a stored letter to be acknowledged once it has left
_NONE = b""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a peer wrote."""

    peer: bytes
    kind: str
    body: Any
    name: bytes = field(repr=False)
    """What a reply to it names."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a letter."""

    outcome: Outcome
    reply: Any = None
    """With `Outcome.REPLIED`: its body."""


Handler = Callable[[Letter], Any]
ReplyHandler = Callable[[int, Letter], Any]
H = TypeVar("H", bound=Callable[..., Any])


class _Waiting:
    """Somebody waits for what becomes of a delivery."""

    def __init__(self, wants_reply: bool) -> None:
        self.wants_reply = wants_reply
        self.known = anyio.Event()
        self.reply: Letter | None = None


class Letters:
    """A node's; `Node.letters`."""

    def __init__(self, context: NodeContext, files: NodeFiles, reaching: Connecting) -> None:
        self._context = context
        self._files = files
        self._reaching = reaching
        self._handlers: dict[str, Handler] = {}
        self._classes: dict[str, ReplyHandler] = {}
        self._waiting: dict[bytes, _Waiting] = {}
        self._stored: dict[bytes, list[StoredLetter]] = {}
        self._busy: set[bytes] = set()
        self.on_outcome: Callable[[int, Outcome], None] | None = None
        """Called with the number of a stored letter and what became of it."""

    # -- what a user asks for

    def on(self, kind: str) -> Callable[[H], H]:
        """Decorator: the function, plain or async, that gets letters of this kind. What it returns,
        if not None, is the body of the reply."""

        def register(handler: H) -> H:
            self._handlers[kind] = handler
            return handler

        return register

    def replies(self, handlers: str) -> Callable[[H], H]:
        """Decorator: the function, plain or async, for replies to letters that were stored with
        `reply=handlers`; it gets the number that `store` has returned, and the reply. Register it
        in the turn of the event loop in which the node was opened: replies may come at once."""

        def register(handler: H) -> H:
            self._classes[handlers] = handler
            return handler

        return register

    async def send(
        self,
        peer: bytes,
        kind: str,
        body: Any = None,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        timeout_s: float = 5.0,
        reply_timeout_s: float | None = None,
        idle_s: float | None = None,
        ways: Ways = Ways.ANY,
    ) -> Sent:
        """Write to a peer, and wait until it is known what became of it: that the peer's node has
        it, or with `reply_timeout_s` until the reply is here.

        `idle_s`: so long the presence is to be kept for what may follow. Raises TimeoutError
        without a presence in `connect_timeout_s`, ValueRefused, LocalError, GroupError.
        """
        check_key(peer)
        data = _encoded(kind, body)
        await self._reaching.connect(peer, connect_timeout_s)
        message = Message(LETTER, data)
        return await self._dispatch(peer, message, timeout_s, reply_timeout_s, idle_s, ways)

    async def store(
        self,
        peer: bytes,
        kind: str,
        body: Any = None,
        *,
        expires_in_s: float = 7 * 86_400.0,
        reply: str | None = None,
    ) -> int:
        """Have a letter delivered when the peer can be reached, and be it after a restart; a number
        that names it. It leaves at most once. `reply`: the class of handlers for a reply, which is
        given up at the same time.

        Without a file the node keeps it in memory. Raises StoreError, ValueRefused, GroupError.
        """
        check_key(peer)
        check_seconds("expires_in_s", expires_in_s, STORED_FOR_MAX_S)
        expires_at = self._context.unix_time() + expires_in_s
        data = _encoded(kind, body)
        reply_to = self._context.random(NAME_SIZE) if reply is not None else _NONE
        draft = StoredLetter(0, peer, data, reply_to, _NONE, expires_at, False)
        return await self._keep(draft, reply)

    # -- what happens

    def take(self, event: object) -> None:
        """Something the transport has to say."""
        if type(event) is MessageReceived and event.message.kind == LETTER:
            if not self._awaited(event):
                self._context.spawn(self._arrived, event)
        elif type(event) is DeliveryKnown:
            waiting = self._waiting.get(event.delivery.name)
            if waiting is not None:
                more = event.outcome is Outcome.SUCCEEDED and waiting.wants_reply
                if not more:
                    waiting.known.set()
        elif type(event) is PresenceUp and event.peer in self._stored:
            self._context.spawn(self._forward, event.peer)

    async def run(self) -> None:
        """Look after stored letters until cancelled."""
        if self._files.has_peer_store:
            for letter in await to_thread.run_sync(lambda: self._files.peer_store().letters()):
                if letter.tried:
                    # It was about to leave when the process ended: nobody knows whether it did.
                    await self._settle(letter, Outcome.UNKNOWN)
                else:
                    self._stored.setdefault(letter.peer, []).append(letter)
        while True:
            for peer in list(self._stored):
                self._context.spawn(self._forward, peer)
            await anyio.sleep(RETRY_S)

    async def _keep(self, draft: StoredLetter, handlers: str | None) -> int:
        def keep() -> int:
            store = self._files.peer_store()
            with store.batch():
                if handlers is not None:
                    until = draft.expires_at
                    number = store.await_reply(draft.reply_to, draft.peer, handlers, until)
                    store.add_letter(draft)
                    return number
                return store.add_letter(draft)

        number = await to_thread.run_sync(keep)
        rows = await to_thread.run_sync(lambda: self._files.peer_store().letters())
        self._stored[draft.peer] = [
            row for row in rows if row.peer == draft.peer and not row.tried
        ]
        self._context.spawn(self._forward, draft.peer)
        return number

    async def _forward(self, peer: bytes) -> None:
        """Send what is stored for the peer, one after the other; one such task a peer."""
        if peer in self._busy:
            return
        self._busy.add(peer)
        try:
            await self._forward_all(peer)
        except (LocalError, GroupError, TimeoutError, StoreError) as error:
            log.info("letters for %s wait: %s", peer.hex()[:16], error)
        finally:
            self._busy.discard(peer)

    async def _forward_all(self, peer: bytes) -> None:
        while letters := self._stored.get(peer):
            letter = letters[0]
            if letter.expires_at <= self._context.unix_time():
                letters.pop(0)
                await self._settle(letter, Outcome.FAILED)
                continue
            await self._reaching.connect(peer, CONNECT_TIMEOUT_S)
            outcome = await self._leave(letter)
            if outcome is Outcome.FAILED:
                return
            letters.pop(0)
            await self._settle(letter, outcome)
        self._stored.pop(peer, None)

    async def _leave(self, letter: StoredLetter) -> Outcome:
        await to_thread.run_sync(lambda: self._files.peer_store().set_tried(letter, True))
        message = Message(
            LETTER,
            letter.body,
            in_reply_to=letter.in_reply_to or None,
            reply_to=letter.reply_to or None,
        )
        try:
            sent = await self._dispatch(letter.peer, message, _IN_TIME_S, None, None, Ways.ANY)
            outcome = sent.outcome
        except LocalError:  # Nothing was queued.
            outcome = Outcome.FAILED
        if outcome is Outcome.FAILED:  # It is sure that it did not leave.
            await to_thread.run_sync(lambda: self._files.peer_store().set_tried(letter, False))
        return outcome

    async def _settle(self, letter: StoredLetter, outcome: Outcome) -> None:
        await to_thread.run_sync(lambda: self._files.peer_store().forget_letter(letter.id))
        if self.on_outcome is not None:
            self.on_outcome(letter.id, outcome)

    async def _dispatch(
        self,
        peer: bytes,
        message: Message,
        timeout_s: float,
        reply_timeout_s: float | None,
        idle_s: float | None,
        ways: Ways,
    ) -> Sent:
        waiting = _Waiting(reply_timeout_s is not None)
        delivery = self._context.do(
            lambda m, now: m.peers.send_message(
                peer,
                message,
                now,
                timeout_s=timeout_s,
                reply_timeout_s=reply_timeout_s,
                idle_s=idle_s,
                ways=ways,
            ),
            before=lambda made: self._expect(made, waiting),
        )
        try:
            await waiting.known.wait()
        finally:
            self._waiting.pop(delivery.name, None)
        return Sent(delivery.outcome, waiting.reply.body if waiting.reply is not None else None)

    def _expect(self, delivery: Delivery, waiting: _Waiting) -> None:
        self._waiting[delivery.name] = waiting

    def _awaited(self, event: MessageReceived) -> bool:
        """Whether somebody waits for this reply, who is told by the delivery that follows."""
        waiting = self._waiting.get(event.message.in_reply_to or _NONE)
        if waiting is None:
            return False
        with suppress(ValueRefused):
            kind, body = _decoded_untrusted(event.message.body)
            waiting.reply = Letter(event.peer, kind, body, event.name)
        return True

    async def _arrived(self, event: MessageReceived) -> None:
        """A letter has come: a reply to a stored one, or a new one."""
        message = event.message
        try:
            kind, body = _decoded_untrusted(message.body)
        except ValueRefused:
            return
        letter = Letter(event.peer, kind, body, event.name)
        if message.in_reply_to is not None:
            await self._replied(message.in_reply_to, letter)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            return
        answer = await _called(lambda: handler(letter))
        if answer is not None:
            await self._answer(letter, message.reply_to, answer)

    async def _replied(self, name: bytes, letter: Letter) -> None:
        if not self._files.has_peer_store:
            return
        awaited = await to_thread.run_sync(
            lambda: self._files.peer_store().take_reply(
                name, letter.peer, self._context.unix_time()
            )
        )
        if awaited is None:
            return
        handler = self._classes.get(awaited.handlers)
        if handler is None:
            log.warning("no handlers %r for a reply", awaited.handlers)
        else:
            await _called(lambda: handler(awaited.number, letter))

    async def _answer(self, letter: Letter, reply_to: bytes | None, answer: Any) -> None:
        try:
            data = _encoded(letter.kind, answer)
            if reply_to is None:
                reply = Message(LETTER, data, in_reply_to=letter.name)
                self._context.do(
                    lambda m, now: m.peers.send_message(letter.peer, reply, now)
                )
            else:
                until = self._context.unix_time() + STORED_FOR_MAX_S
                draft = StoredLetter(0, letter.peer, data, _NONE, reply_to, until, False)
                await self._keep(draft, None)
        except (LocalError, ValueRefused, StoreError) as error:
            log.warning("a reply to %s was not sent: %s", letter.peer.hex()[:16], error)


async def _called(call: Callable[[], Any]) -> Any:
    """What a handler of the user's returns; None where it fails."""
    try:
        result = call()
        if inspect.isawaitable(result):
            result = await _awaited(result)
    except Exception:
        log.exception("a handler of letters failed")
        return None
    return result


async def _awaited(result: Awaitable[Any]) -> Any:
    return await result


def _encoded(kind: str, body: Any) -> bytes:
    """Kind and body. Raises ValueRefused; what is too long, the transport refuses."""
    if not isinstance(kind, str) or not kind:
        raise GroupError("a letter's kind is a text")
    return pack([kind, body])


def _decoded_untrusted(data: bytes) -> tuple[str, Any]:
    match unpack_untrusted(data):
        case [str() as kind, body]:
            return kind, body
    raise ValueRefused("not a letter")
