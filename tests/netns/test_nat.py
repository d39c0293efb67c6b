"""A channel through a real NAT whose address changes in mid-transfer."""

import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.support.network.nat import Nat, has_nat
from tests.support.network.roaming import PIECE, PIECES

pytestmark = pytest.mark.skipif(not has_nat(), reason="needs root, network namespaces and nft")


def started(stack: ExitStack, before: list[str], *arguments: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [*before, sys.executable, "-m", "tests.support.network.roaming", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(child)
    stack.callback(child.kill)
    return child


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


@pytest.mark.parametrize("service", ["push", "pull"])
def test_another_address_of_the_nat_in_mid_transfer(service: str) -> None:
    with ExitStack() as stack:
        nat = stack.enter_context(Nat())
        server = started(stack, nat.server, nat.address)
        key, port = line(server).split()
        client = started(stack, nat.client, service, key, nat.address, port)
        writer, reader = (client, server) if service == "push" else (server, client)
        assert line(writer) == "under way\n"
        nat.move()
        assert int(line(reader)) == PIECES * len(PIECE)
