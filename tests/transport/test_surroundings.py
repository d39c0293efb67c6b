"""What a node takes from the machine it runs on can be given to it."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from anyio import to_thread

from consensus import Node, TokenError
from transport.surroundings import REAL, Surroundings, current, using
from transport.udp_socket import bind
from utp_native import Pump

pytestmark = pytest.mark.anyio

EPOCH = 1_000_000_000.0


def drawn(seed: int) -> Surroundings:
    """Surroundings whose randomness can be foretold."""
    return replace(REAL, random=random.Random(seed).randbytes)


async def test_the_real_ones_are_there_without_being_asked_for() -> None:
    assert current() is REAL
    with using(drawn(1)):
        assert current() is not REAL
        assert await to_thread.run_sync(current) is current()
    assert current() is REAL


async def test_equal_randomness_makes_equal_nodes_on_disk_and_off(tmp_path: Path) -> None:
    lives = []
    for at in range(2):
        with using(drawn(7)):
            async with Node.open() as node, Node.open(tmp_path / f"{at}.db") as kept:
                group = await node.found("board")
                lives.append((node.key, kept.key, node._context.me, group.id))
    assert lives[0] == lives[1]
    with using(drawn(8)):
        async with Node.open() as other:
            assert other.key != lives[0][0]


async def test_a_node_goes_by_the_unix_time_it_is_given() -> None:
    with using(replace(REAL, unix_time=lambda: EPOCH)):
        async with Node.open() as past:
            token = (await past.found("board")).invite(expires_in_s=60.0)
    async with Node.open() as present:
        with pytest.raises(TokenError, match="expired"):
            await present.join(token)


async def test_socket_pump_and_instructions_are_those_given() -> None:
    bound: list[str] = []
    pumps: list[Pump] = []

    def bind_here(listen: str):  # type: ignore[no-untyped-def]
        bound.append(listen)
        return bind(listen)

    def pump_here(fd: int, *, random, now: float) -> Pump:  # type: ignore[no-untyped-def]
        pumps.append(Pump(fd, random=random, now=now))
        return pumps[-1]

    here = replace(
        REAL, bind=bind_here, pump=pump_here, stays_awake=False, has_aes=lambda: False,
        clock_reader=lambda: None,
    )  # fmt: skip
    with using(here):
        async with Node.open() as node:
            endpoint = node._context.endpoint
            assert bound == ["127.0.0.1:0"]
            assert pumps == [endpoint._pump]
            assert endpoint._busy_poll._limit_s == 0.0
            assert not node._context.machine.peers._context.config.handshake.aegis
