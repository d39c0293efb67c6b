"""`quorate share` and `quorate fetch`: a file from one machine to others, by two commands.

The sharer founds a group and prints the command that joins it and fetches; whoever fetches is a
member meanwhile, and passes on what it has to the others who do.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from consensus.blobs.errors import BlobDamaged, BlobError
from consensus.blobs.store import FetchReport
from consensus.core.blob.tree import BlobRef
from consensus.core.errors import ConsensusError
from consensus.core.evidence.founding import NAME_SIZE_MAX
from consensus.core.evidence.invitation_text import parse_untrusted
from consensus.decision import ViewChanged
from consensus.groups.handle import Group
from consensus.node import Node, NodeConfig
from quorate.cli.progress import Bar, size_text
from transport.core.crypto.keys import verify
from transport.core.errors import TransportError
from transport.core.types import Address

LEAVE_TIMEOUT_S = 5.0
BLOB_LIMIT_BYTES = 1 << 46
"""No limit but the disk's: what is fetched was asked for by its name."""
SOMEWHERE: Address = ("192.0.2.1", 9)
"""An address of RFC 5737, which is nobody's: asked which way out it is, not sent to."""


class Teller:
    """What the commands say: in words, or as one JSON object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._bar = Bar(sys.stderr)
        self.complete = False
        """A file was fetched."""

    def say(self, event: str, text: str, **fields: Any) -> None:
        """One thing that happened."""
        self._bar.end()
        if self._as_json:
            text = json.dumps({"event": event, **fields}, ensure_ascii=False)
        encoding = sys.stdout.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:  # A file's name may be any bytes.
            if self._as_json:
                text = json.dumps({"event": event, **fields})
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        print(text, flush=True)

    def progress(self, ref: BlobRef, done: int, total: int) -> None:
        """Called as a blob comes."""
        if self._as_json:
            self.say("progress", "", blob=str(ref), done=done, total=total)
        else:
            self._bar.show(done, total)

    def fetched(self, to: Path, report: FetchReport, took_s: float) -> None:
        """All of it is there."""
        self.complete = True
        came = report.received_size
        self.say(
            "fetched",
            f"{to}: {size_text(report.ref.size)}, verified; {size_text(came)} came in"
            f" {took_s:.1f} s ({size_text(came / max(took_s, 1e-3))}/s)",
            blob=str(report.ref),
            to=str(to),
            received_size=came,
            resumed_chunks=report.resumed_chunks,
            seconds=round(took_s, 3),
            dropped=[[each.peer.hex(), each.reason.name.lower()] for each in report.dropped],
        )

    def end(self) -> None:
        """No more progress will come."""
        self._bar.end()


async def until_interrupted(run: Callable[[], Awaitable[None]]) -> int:
    """Run one of the commands; the number of the signal that ended it, 0 for none. The first Ctrl-C
    or SIGTERM ends it in order, which takes seconds at most; those after it change nothing, so that
    what is kept stays whole."""
    ended_by = 0
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                nonlocal ended_by
                async for number in signals:
                    ended_by = ended_by or number
                    tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            await run()
            tasks.cancel_scope.cancel()
    return ended_by


def own_address(towards: Address = SOMEWHERE) -> str:
    """The address of this machine that datagrams to `towards` leave from; loopback where there is
    no way to it. Nothing is sent."""
    family = socket.AF_INET6 if ":" in towards[0] else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(towards)
            return str(probe.getsockname()[0])
    except OSError:
        return "::1" if family == socket.AF_INET6 else "127.0.0.1"


def listen_text(host: str) -> str:
    """Any port of `host`, as `Node.open` takes it."""
    return f"[{host}]:0" if ":" in host else f"{host}:0"


@dataclass(frozen=True)
class Place:
    """Where one of the commands works."""

    node_file: Path | None
    """The node's file; None: an identity for once."""
    listen: str | None
    """`host:port`; None: any port of the address that leads to the others."""
    advertise: tuple[Address, ...] = ()

    def open(
        self, file: Path | None, towards: Address = SOMEWHERE
    ) -> AbstractAsyncContextManager[Node]:
        """The command's node."""
        return Node.open(
            file,
            listen=self.listen or listen_text(own_address(towards)),
            advertise=self.advertise,
            config=NodeConfig(blob_limit_bytes=BLOB_LIMIT_BYTES),
        )


async def share(
    path: Path, place: Place, *, uses: int, expires_in_s: float, teller: Teller
) -> None:
    """Give a file to whoever has the command that this prints, until cancelled. The file is given
    from where it lies. Raises ConsensusError, TransportError."""
    async with place.open(place.node_file) as node:
        group = await node.found(group_name(path.name))
        ref = await group.share(path, copy=False)
        token = group.invite(uses=uses, expires_in_s=expires_in_s)
        name = shlex.quote(path.name) if path.name.isprintable() else "FILE"
        host, port = node.address
        teller.say(
            "shared",
            f"{path} ({size_text(ref.size)}) is shared from {host} port {port}.\n"
            "On the other machines, while this runs:\n\n"
            f"    quorate fetch {ref} --with {token} --to {name}\n\n"
            f"Whoever has this text can get the file, for {expires_in_s / 3600:g} hours."
            " Ctrl-C ends it.",
            blob=str(ref),
            token=token,
            address=[host, port],
        )
        await follow(group, teller)


async def fetch(
    ref: BlobRef,
    token: str,
    to: Path,
    place: Place,
    *,
    timeout_s: float | None,
    stay: bool,
    teller: Teller,
) -> None:
    """Get a file that somebody shares. What came is kept beside `to` until all of it is there, so
    that the same call goes on where it was. Raises ConsensusError, TransportError, TimeoutError."""
    sponsor_at = parse_untrusted(token, verify).addresses[0]
    with kept(to, place.node_file) as file:
        async with place.open(file, sponsor_at) as node:
            where = f"{sponsor_at[0]} port {sponsor_at[1]}"
            teller.say("joining", f"asking {where} to be let in", address=list(sponsor_at))
            group = await node.join(token)
            others = len(group.view.members) - 1
            teller.say("joined", f"in the group with {others} more", group=group.name)
            began = time.monotonic()
            linked = place.node_file is None
            try:
                try:
                    report = await _get(node, group, ref, to, linked, timeout_s, teller)
                except BlobDamaged:  # By an earlier attempt, or by the disk: once more mends it.
                    report = await _get(node, group, ref, to, linked, timeout_s, teller)
            finally:
                teller.end()
            teller.fetched(to, report, time.monotonic() - began)
            if stay:
                await follow(group, teller)
            with suppress(ConsensusError, TransportError, TimeoutError):
                await group.leave(timeout_s=LEAVE_TIMEOUT_S)


async def _get(
    node: Node,
    group: Group,
    ref: BlobRef,
    to: Path,
    linked: bool,
    timeout_s: float | None,
    teller: Teller,
) -> FetchReport:
    """Have the blob at `to`. A store of the user's goes on with its own copy: one that was
    `linked` would change with the user's file."""
    copy_to = None if linked else to
    report = await group.fetch(ref, copy_to, on_progress=teller.progress, timeout_s=timeout_s)
    if linked:
        await node.blobs.put(ref, to)
    return report


@contextmanager
def kept(to: Path, node_file: Path | None) -> Iterator[Path]:
    """The node's file: the user's, or one in a directory beside `to` that goes when all is done."""
    if node_file is not None:
        yield node_file
        return
    directory = to.with_name(f".{to.name}.quorate")
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise BlobError(f"{to} cannot be written: {error.strerror}") from error
    file = directory / "node.db"
    if file.exists() and file.stat().st_size == 0:
        file.unlink()  # Of a process that was killed before it had written anything.
    try:
        yield file
    except BaseException:
        if not any(any(directory.glob(f"*.blobs/*.{end}")) for end in ("part", "blob")):
            shutil.rmtree(directory, ignore_errors=True)  # There is nothing to go on from.
        raise
    shutil.rmtree(directory, ignore_errors=True)


async def follow(group: Group, teller: Teller) -> None:
    """Say who comes and goes, until the group ends."""
    async for event in group.events(from_now=True):
        if isinstance(event, ViewChanged):
            for key in event.joined:
                teller.say("came", f"{key.hex()[:16]} has come", key=key.hex())
            for key in event.left:
                teller.say("went", f"{key.hex()[:16]} has gone", key=key.hex())


def group_name(file_name: str) -> str:
    """A group's name after a file's, whatever that is made of."""
    plain = "".join(c if c.isprintable() else "?" for c in file_name)
    return plain.encode()[:NAME_SIZE_MAX].decode(errors="ignore") or "file"
