"""The command `quorate`."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import anyio

from consensus import __version__
from consensus.core.blob.tree import BlobRefError, parse_ref_untrusted
from consensus.core.errors import ConsensusError
from consensus.core.evidence.certificate import CERTIFICATE_SIZE_MAX
from consensus.core.evidence.founding import CertificateError
from consensus.groups.certificates import described, in_words, verify_certificate_untrusted
from quorate.cli.demo.story import DemoConfig, run_demo
from quorate.cli.demo.timeline import Timeline
from quorate.cli.share import Place, Teller, fetch, share, until_interrupted
from transport.core.errors import TransportError
from transport.core.types import Address

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
EXPECTED = (ConsensusError, TransportError, OSError)
"""What can go wrong without a fault of the program: told in one line."""
INTERRUPTED = 128 + signal.SIGINT
"""The status of a command that Ctrl-C ended."""


def _demo(arguments: argparse.Namespace) -> int:
    try:
        config = DemoConfig(members=arguments.members, blob_mib=arguments.blob_mib)
    except ValueError as error:
        print(f"quorate demo: {error}", file=sys.stderr)
        return 2
    return 0 if anyio.run(run_demo, config, Timeline(as_json=arguments.json)) else 1


def _place(arguments: argparse.Namespace) -> Place:
    return Place(arguments.node, arguments.listen, tuple(arguments.advertise))


def _share(arguments: argparse.Namespace) -> int:
    run = partial(
        share,
        arguments.file,
        _place(arguments),
        uses=arguments.uses,
        expires_in_s=3600 * arguments.hours,
        teller=Teller(as_json=arguments.json),
    )
    return _until_interrupted(run)


def _fetch(arguments: argparse.Namespace) -> int:
    to: Path = arguments.to
    try:
        ref = parse_ref_untrusted(arguments.ref)
    except BlobRefError as error:
        return _wrong(f"fetch: {error}")
    if to.is_dir():
        return _wrong(f"fetch: {to} is a directory: name the file")
    if to.is_symlink() or (to.exists() and not to.is_file()):
        return _wrong(f"fetch: {to} is no plain file, and is not replaced")
    if to.exists() and not arguments.force:
        return _wrong(f"fetch: {to} is there already: --force replaces it")
    token = sys.stdin.readline().strip() if arguments.invitation == "-" else arguments.invitation
    teller = Teller(as_json=arguments.json)
    run = partial(
        fetch,
        ref,
        token,
        to,
        _place(arguments),
        timeout_s=arguments.timeout,
        stay=arguments.stay,
        teller=teller,
    )
    status = _until_interrupted(run)
    if status != 0 and not teller.complete:
        print("\nquorate: the same command goes on where this one was", file=sys.stderr)
    return status


def _until_interrupted(run: Callable[[], Awaitable[None]]) -> int:
    ended_by = anyio.run(until_interrupted, run)
    if not ended_by:
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The interpreter would say where it was.
    return 128 + ended_by


def _wrong(text: str) -> int:
    print(f"quorate {text}", file=sys.stderr)
    return 2


def _verify(arguments: argparse.Namespace) -> int:
    try:
        with open(arguments.file, "rb") as file:
            data = file.read(CERTIFICATE_SIZE_MAX + 1)
        group = None if arguments.group is None else bytes.fromhex(arguments.group)
    except ValueError:
        print("quorate verify: a group's id is 64 hexadecimal digits", file=sys.stderr)
        return 2
    shown = verify_certificate_untrusted(data)
    if group is not None and shown.group != group:
        raise CertificateError(f"this is of another group, {shown.group.hex()}")
    print(json.dumps(described(shown)) if arguments.json else in_words(shown))
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a million")
    return value


def _address(text: str) -> Address:
    host, separator, port = text.rpartition(":")
    if not (separator and port.isascii() and port.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quorate", description="A few peers decide something together, without a server."
    )
    parser.add_argument("--version", action="version", version=f"quorate {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="a group of processes decides, shares and removes")
    demo.add_argument("--members", type=int, default=DemoConfig.members, metavar="N")
    demo.add_argument("--blob-mib", type=int, default=DemoConfig.blob_mib, metavar="M")
    demo.add_argument("--json", action="store_true", help="one JSON object a line")
    demo.set_defaults(run=_demo)
    _add_share(commands)
    _add_fetch(commands)
    verify = commands.add_parser(
        "verify", help="check a certificate of a decision; needs no network"
    )
    verify.add_argument("file", metavar="FILE")
    verify.add_argument("--group", metavar="ID", help="refuse another group's (64 hex digits)")
    verify.add_argument("--json", action="store_true", help="as one JSON object")
    verify.set_defaults(run=_verify)
    # Its own parser reads what follows it; see `main`.
    commands.add_parser(
        "scenario", help="the same code in a simulated world: explore, sweep, replay, check"
    )
    return parser


def _add_share(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    giving = commands.add_parser(
        "share",
        help="give a file to other machines, which get it with `quorate fetch`",
        description="Prints the command that gets the file, and gives it until interrupted. The"
        " file is given from where it lies and must not change meanwhile.",
    )
    giving.add_argument("file", metavar="FILE", type=Path)
    giving.add_argument(
        "--uses", type=int, default=100, metavar="N", help="how often it may be joined (100)"
    )
    giving.add_argument(
        "--hours", type=_positive, default=24.0, metavar="H", help="how long it is good for (24)"
    )
    giving.set_defaults(run=_share)
    _add_place(giving)


def _add_fetch(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    getting = commands.add_parser(
        "fetch",
        help="get a file that somebody gives with `quorate share`",
        description="Gets the file from all who have it, verifies every chunk, and passes on what"
        " it has to others who fetch. Interrupted or killed, the same command goes on from there.",
    )
    getting.add_argument("ref", metavar="REF", help="what `quorate share` printed: quorate-blob:…")
    getting.add_argument(
        "--with", dest="invitation", required=True, metavar="TOKEN",
        help="the invitation that it printed: quorate1:…, or - to read it from standard input",
    )  # fmt: skip
    getting.add_argument("--to", required=True, metavar="PATH", type=Path, help="the file to write")
    getting.add_argument("--force", action="store_true", help="replace PATH if it is there")
    getting.add_argument("--stay", action="store_true", help="then go on giving it to others")
    getting.add_argument(
        "--timeout", type=_positive, metavar="SECONDS", help="give up after so long (never)"
    )
    getting.set_defaults(run=_fetch)
    _add_place(getting)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="HOST:PORT", help="the UDP port others are answered from (any)"
    )
    parser.add_argument(
        "--advertise", type=_address, action="append", default=[], metavar="HOST:PORT",
        help="where others reach this machine, if that is not where it listens",
    )  # fmt: skip
    parser.add_argument(
        "--node", type=Path, metavar="FILE", help="an identity to keep (one for once)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. 0 when all came out as said, 1 when not, 2 for a wrong call."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["scenario"]:
            from scenarios.__main__ import main as scenario  # it brings the whole simulator in

            return scenario(given[1:], prog="quorate scenario")
        parsed = _parser().parse_args(given)
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return INTERRUPTED
    except EXPECTED as error:
        return _failed(error)
    except ExceptionGroup as group:  # What the tasks of a running command raised.
        if group.split(EXPECTED)[1] is not None:
            raise
        first: Exception = group
        while isinstance(first, ExceptionGroup):
            first = first.exceptions[0]
        return _failed(first)


def _failed(error: Exception) -> int:
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has gone, which is its right; nor is there more to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        text = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: {error.strerror}"
        print(f"quorate: {text}", file=sys.stderr)
    return 1

