"""The command `quorate`."""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence

import anyio

from consensus.certificates import described, in_words, verify_certificate_untrusted
from consensus.core.certificate import CERTIFICATE_SIZE_MAX
from consensus.core.errors import ConsensusError
from consensus.core.founding import CertificateError
from consensus.demo.story import DemoConfig, run_demo
from consensus.demo.timeline import Timeline
from transport.core.errors import TransportError

EXPECTED = (ConsensusError, TransportError, OSError)
"""What can go wrong without a fault of the program: told in one line."""


def _demo(arguments: argparse.Namespace) -> int:
    try:
        config = DemoConfig(members=arguments.members, blob_mib=arguments.blob_mib)
    except ValueError as error:
        print(f"quorate demo: {error}", file=sys.stderr)
        return 2
    return 0 if anyio.run(run_demo, config, Timeline(as_json=arguments.json)) else 1


def _scenario(arguments: argparse.Namespace) -> int:
    # The scenarios stand above this package; only their command line is reached from here.
    main = importlib.import_module("scenarios.__main__").main
    return int(main(arguments.rest))


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quorate", description="A few peers decide something together, without a server."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="a group of processes decides, shares and removes")
    demo.add_argument("--members", type=int, default=DemoConfig.members, metavar="N")
    demo.add_argument("--blob-mib", type=int, default=DemoConfig.blob_mib, metavar="M")
    demo.add_argument("--json", action="store_true", help="one JSON object a line")
    demo.set_defaults(run=_demo)
    verify = commands.add_parser(
        "verify", help="check a certificate of a decision; needs no network"
    )
    verify.add_argument("file", metavar="FILE")
    verify.add_argument("--group", metavar="ID", help="refuse another group's (64 hex digits)")
    verify.add_argument("--json", action="store_true", help="as one JSON object")
    verify.set_defaults(run=_verify)
    scenario = commands.add_parser(
        "scenario", help="the same code in a simulated world: explore, sweep, replay"
    )
    scenario.add_argument("rest", nargs=argparse.REMAINDER, metavar="...")
    scenario.set_defaults(run=_scenario)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. 0 when all came out as said, 1 when not, 2 for a wrong call."""
    try:
        parsed = _parser().parse_args(arguments)
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return 130
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
        print(f"quorate: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
