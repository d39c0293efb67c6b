"""`quorate verify FILE` takes what a group decided and nothing else: each way to forge, shorten or
reorder a certificate is tried on true ones, through the command."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import anyio
import pytest

from consensus import Group, GroupConfig, Node, accept
from consensus.core.evidence.certificate import (
    HEAD_LABEL,
    LINK_LABEL,
    MAGIC,
    Certificate,
    decode_certificate_untrusted,
    follow,
    head_statement,
    link_statement,
)
from consensus.core.evidence.founding import decode_founding_untrusted, group_id
from consensus.core.types import Member
from quorate.cli.main import main
from tests.support.nodes.nodes import PATIENCE_S, open_nodes
from transport.core.crypto.keys import Identity

FLIPS = 150
STRANGER = Identity.generate(Random(5).randbytes)


class Made(NamedTuple):
    """Certificates of one group of three, vouched for in view 3."""

    group: bytes
    early: bytes
    """Of a decision before others: with what came after it."""
    late: bytes
    other: bytes
    """Of another group, of the same members."""
    data: Callable[[], Path]


async def gathered(nodes: list[Node], name: str) -> list[Group]:
    """A group of these in which it takes two of two to agree."""
    groups = [await nodes[0].found(name, config=GroupConfig(casting_vote=False))]
    for node in nodes[1:]:
        groups.append(await node.join(groups[0].invite(node.key)))
    for group in groups:
        group.on("work")(lambda proposal: accept())
    return groups


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    async def make() -> tuple[bytes, bytes, bytes, bytes]:
        async with open_nodes(3) as nodes:
            board, elsewhere = await gathered(nodes, "board"), await gathered(nodes, "elsewhere")
            with anyio.fail_after(PATIENCE_S):
                await board[1].propose("work", {"pay": 5})
                early = await board[0].certificate(1)  # a join, in view 1
                late = await board[0].propose("work", {"pay": 7})
                other = await elsewhere[0].propose("work", {"pay": 5})
                return board[0].id, early, await late.certificate(), await other.certificate()

    group, early, late, other = anyio.run(make)
    directory = tmp_path_factory.mktemp("certificates")
    return Made(group, early, late, other, lambda: directory / "decision.cert")


@pytest.fixture
def verify(made: Made, capsys: pytest.CaptureFixture[str]) -> Callable[[bytes], tuple[int, str]]:
    """Status and the one line that the command says when it refuses a file of these bytes."""

    def run(data: bytes) -> tuple[int, str]:
        path = made.data()
        path.write_bytes(data)
        capsys.readouterr()
        status = main(["verify", str(path), "--group", made.group.hex()])
        out, err = capsys.readouterr()
        if status:
            assert out == ""
            assert err.count("\n") == 1
            assert err.startswith("quorate: ")
        return status, err

    return run


Verify = Callable[[bytes], tuple[int, str]]


def test_true_ones_are_taken(made: Made, verify: Verify) -> None:
    assert verify(made.early)[0] == 0
    assert verify(made.late)[0] == 0
    status, why = verify(made.other)
    assert (status, "another group" in why) == (1, True)
    early, late = parts(made.early), parts(made.late)
    assert len(early.links) == len(late.links) == 2
    assert len(early.leaves) >= 3
    assert len(late.signatures) >= 2


def test_as_a_process(made: Made) -> None:
    path = made.data()
    for data, status in ((made.late, 0), (made.late[:-1], 1), (b"", 1)):
        path.write_bytes(data)
        command = [sys.executable, "-m", "quorate", "verify", str(path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status
        if status:
            assert (done.stdout, done.stderr.count("\n")) == ("", 1)
        else:
            assert json.loads(done.stdout)["body"] == {"pay": 7}


def test_no_flipped_bit_and_no_cut_off_end_passes(made: Made, verify: Verify) -> None:
    dice = Random(1)
    for data in (made.early, made.late):
        for _ in range(FLIPS):
            altered = bytearray(data)
            altered[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            assert verify(bytes(altered))[0] == 1
        for _ in range(40):
            assert verify(data[: dice.randrange(len(data))])[0] == 1
        assert verify(data + b"\0")[0] == 1
        assert verify(MAGIC + data)[0] == 1


def parts(data: bytes) -> Certificate:
    return decode_certificate_untrusted(data)


def swapped(values: tuple[Any, ...], one: int, other: int) -> tuple[Any, ...]:
    found = list(values)
    found[one], found[other] = found[other], found[one]
    return tuple(found)


def test_reordered_ones_are_refused(made: Made, verify: Verify) -> None:
    early, late = parts(made.early), parts(made.late)
    forged = [early._replace(links=swapped(early.links, 0, 1))]
    for one, other in combinations(range(len(early.leaves)), 2):
        forged.append(early._replace(leaves=swapped(early.leaves, one, other)))
    for certificate in (early, late):
        forged.append(certificate._replace(signatures=swapped(certificate.signatures, 0, 1)))
        (rank, one), (other, two), *_ = certificate.signatures
        forged.append(certificate._replace(signatures=((rank, two), (other, one))))
        links = [link._replace(signatures=swapped(link.signatures, 0, -1))
                 for link in certificate.links if len(link.signatures) > 1]  # fmt: skip
        assert links
        forged.append(certificate._replace(links=(certificate.links[0], *links)))
    for certificate in forged:
        assert verify(certificate.encode())[0] == 1


def test_partial_ones_are_refused(made: Made, verify: Verify) -> None:
    early, late = parts(made.early), parts(made.late)
    forged = [
        (early._replace(leaves=early.leaves[:-1]), "not part of what was signed"),
        (early._replace(leaves=early.leaves[1:]), "not part of what was signed"),
        (late._replace(before=parts(made.early).before), "not part of what was signed"),
    ]
    for certificate in (early, late):
        forged += [
            (certificate._replace(links=certificate.links[:-1]), "lead to view 2"),
            (certificate._replace(links=certificate.links[1:]), ""),
            (certificate._replace(links=()), "lead to view 1"),
            (certificate._replace(signatures=certificate.signatures[:1]), "no quorum"),
            (certificate._replace(signatures=certificate.signatures[:1] * 2), "doubled"),
            (certificate._replace(signatures=()), "no quorum"),
        ]
        bare = certificate.links[-1]._replace(signatures=())
        forged.append((certificate._replace(links=(*certificate.links[:-1], bare)), "no quorum"))
    for altered, why in forged:
        status, said = verify(altered.encode())
        assert status == 1
        assert why in said


def test_forged_ones_are_refused(made: Made, verify: Verify) -> None:
    """Pieces of other true certificates, and signatures by one who is no member."""
    early, late, other = parts(made.early), parts(made.late), parts(made.other)
    group = group_id(late.founding)
    views, _ = follow(late.founding, late.links, None)
    statement = head_statement(group, late.view, late.position, late.head)
    strange = STRANGER.sign(HEAD_LABEL, statement)
    over_link = STRANGER.sign(LINK_LABEL, link_statement(group, views[1], late.links[1]))
    founding = decode_founding_untrusted(late.founding)
    fields = {name: getattr(other, name) for name in Certificate._fields}
    forged = [
        late._replace(**{name: value})
        for name, value in fields.items()
        if value != getattr(late, name) and name not in ("view", "position")
    ]
    forged += [
        late._replace(record=early.record),
        late._replace(signatures=early.signatures),
        late._replace(signatures=tuple((rank, strange) for rank, _ in late.signatures)),
        late._replace(signatures=(*late.signatures, (3, strange))),
        late._replace(view=late.view - 1),
        late._replace(view=late.view + 1),
        late._replace(position=late.position + 1),
        late._replace(founding=founding._replace(name="mine").encode()),
        late._replace(founding=founding._replace(casting_vote=True).encode()),
        late._replace(founding=founding._replace(founder=Member(STRANGER.key, 1)).encode()),
    ]
    for link in (
        late.links[1]._replace(joiner=Member(STRANGER.key, 1)),
        late.links[1]._replace(kept=1),
        late.links[1]._replace(end=late.links[1].end + 1),
        late.links[1]._replace(head=bytes(32)),
        late.links[1]._replace(ballot=late.links[1].ballot + 16),
        late.links[1]._replace(signatures=((0, over_link), (1, over_link))),
        other.links[1],
    ):
        forged.append(late._replace(links=(late.links[0], link)))
    for altered in forged:
        status, said = verify(altered.encode())
        assert status == 1, altered
        assert said
