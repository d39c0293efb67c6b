"""Who is behind the keys: numbers that people compare, and keys that act for a master key.

A peer whose operating key is lost or worn out makes another one, has its master key sign it, and
tells whoever knows the master. From then on this node goes by the new key, also after a restart.
"""

from __future__ import annotations

from anyio import to_thread

from consensus.arguments import check_key
from consensus.codec import pack
from consensus.core.errors import GroupError
from consensus.decision import Accept, Proposal, Reject, accept, reject
from consensus.node_context import NodeContext
from consensus.storage.files import NodeFiles
from transport.core.crypto.pseudonym import CERTIFICATE_SIZE, Certificate, KnownMasters
from transport.core.errors import LocalError, WireError
from transport.identity import safety_number

__all__ = ["SUCCEED", "People"]

SUCCEED = "quorate.succeed"
ANNOUNCE_TIMEOUT_S = 10.0


class People:
    """A node's; `Node.people`."""

    def __init__(self, context: NodeContext, files: NodeFiles) -> None:
        self._context = context
        self._files = files
        self._masters: KnownMasters | None = None

    def safety_number(self, peer: bytes) -> str:
        """Twelve groups of five digits, the same on both sides: two people who read them to each
        other know that nobody stands between them. Raises GroupError for what is no key."""
        check_key(peer)
        return safety_number(self._context.key, peer)

    async def trust(self, master: bytes, operating_key: bytes) -> None:
        """Go by certificates of this master key, whose holder is reached by `operating_key` for
        now: the caller vouches for both. Raises GroupError, StoreError."""
        check_key(master)
        check_key(operating_key)
        known = await self._known()
        try:
            known.remember(master, operating_key)
        except LocalError as error:
            raise GroupError(str(error)) from error
        await self._save(master)

    async def key_of(self, master: bytes) -> bytes | None:
        """The key by which the master's holder is reached now; None for an unknown master."""
        return (await self._known()).operating_key(master)

    async def take(self, certificate: bytes) -> Certificate:
        """Take a certificate that came from anywhere: its key takes the place of the one before,
        and is looked for where that one was. Raises GroupError for one that does not count."""
        known = await self._known()
        try:
            master = certificate[:32]
            before = known.operating_key(master)
            taken = known.accept_untrusted(certificate, self._context.unix_time())
        except WireError as error:
            raise GroupError(f"the certificate does not count: {error}") from error
        await self._save(taken.master)
        if before is not None and before != taken.operating_key:
            # Its holder is where it was.
            where = self._context.look(lambda m, now: m.contacts.addresses(before))
            if where:
                self._context.know(taken.operating_key, where)
        return taken

    async def announce(self, peer: bytes, certificate: bytes) -> None:
        """Show a peer a certificate that a master key made: for this node's own key after it has
        changed, or for the next one before it does. Raises as `Node.ask` does; Rejected by who does
        not know the master."""
        limit = ANNOUNCE_TIMEOUT_S
        await self._context.ask_framework(peer, SUCCEED, pack(certificate), limit, limit)

    async def succeed(self, proposal: Proposal) -> Accept | Reject:
        """Handler: a peer shows a certificate."""
        body = proposal.body
        if not isinstance(body, bytes) or len(body) != CERTIFICATE_SIZE:
            return reject("not a certificate")
        try:
            await self.take(body)
        except GroupError as error:
            return reject(str(error))
        return accept()

    async def _known(self) -> KnownMasters:
        if self._masters is None:
            rows = await to_thread.run_sync(lambda: self._files.peer_store().masters())
            if self._masters is None:
                self._masters = KnownMasters(rows)
        return self._masters

    async def _save(self, master: bytes) -> None:
        rows = [row for row in (await self._known()).rows() if row[0] == master]
        await to_thread.run_sync(lambda: self._files.peer_store().save_master(*rows[0]))
