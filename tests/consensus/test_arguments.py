"""What a user gets wrong is said at once, by one clear error, and costs nothing."""

import math
from typing import Any

import pytest

from consensus import (
    GroupConfig,
    GroupError,
    Node,
    NodeConfig,
    Proposal,
    Rejected,
    ValueRefused,
    accept,
    reject,
)
from consensus.core.config import ANSWER_SIZE_MAX, DELAY_MAX_S
from tests.support.nodes.nodes import gather_group, open_nodes

pytestmark = pytest.mark.anyio


class Odd:
    """Nothing that could be sent."""


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"kind": 7}, GroupError, "a kind is text, not an int"),
        ({"kind": b"price"}, GroupError, "a kind is text, not a bytes of 5"),
        ({"kind": "quorate.join"}, GroupError, "the framework's own"),
        ({"kind": "\ud800"}, GroupError, "text that is none"),
        ({"kind": ""}, GroupError, "1 to 64 bytes"),
        ({"body": Odd()}, ValueRefused, "cannot be put into a message"),
        ({"body": {(1, 2): 3}}, ValueRefused, "a dict's keys are"),
        ({"body": [[{(): 3}]]}, ValueRefused, "a dict's keys are"),
        ({"body": list(range(65_537))}, ValueRefused, "at most 65536 items"),
        ({"body": 1 << 64}, ValueRefused, "cannot be put into a message"),
        ({"body": "\ud800"}, ValueRefused, "cannot be put into a message"),
        ({"body": bytes(50_000)}, GroupError, "at most 49152 bytes"),
        ({"deadline_s": math.nan}, GroupError, "deadline_s is above 0 .*, not nan"),
        ({"deadline_s": -1}, GroupError, "deadline_s is above 0 .*, not -1"),
        ({"deadline_s": 0}, GroupError, "deadline_s is above 0"),
        ({"deadline_s": math.inf}, GroupError, "at most 86400 seconds, not inf"),
        ({"deadline_s": "10"}, GroupError, "a number of seconds, not a str"),
        ({"deadline_s": True}, GroupError, "a number of seconds, not a bool"),
        ({"timeout_s": math.nan}, GroupError, "timeout_s is above 0"),
        ({"timeout_s": -3.0}, GroupError, "timeout_s is above 0"),
        ({"timeout_s": "1"}, GroupError, "a number of seconds"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_odd_questions_and_proposals(
    arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    good = {"kind": "work", "body": 1}
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        with pytest.raises(error, match=said) as asked:
            await nodes[0].ask(nodes[1].key, **good | arguments)
        with pytest.raises(error, match=said):
            await groups[0].propose(**good | arguments)
        assert "\n" not in str(asked.value)
        assert len(nodes[0]._asking._pending) == 0
        assert await nodes[0].ask(nodes[1].key, **good) == 1
        assert (await groups[0].propose(**good, timeout_s=None)).committed


async def test_peers_are_named_by_keys_and_blobs_by_references() -> None:
    async with open_nodes(1) as (node,):
        group = await node.found("board")
        for key in ("bob", b"bob", None, bytes(33)):
            with pytest.raises(GroupError, match="named by its key of 32 bytes"):
                await node.ask(key, "work")  # type: ignore[arg-type]
            with pytest.raises(GroupError, match="named by its key of 32 bytes"):
                node.know(key, [("127.0.0.1", 5)])  # type: ignore[arg-type]
            with pytest.raises(GroupError, match="named by its key of 32 bytes"):
                await node.connect(key)  # type: ignore[arg-type]
        with pytest.raises(GroupError, match="parse_ref_untrusted"):
            await group.propose("work", blobs=["quorate-blob:abc:1"])  # type: ignore[list-item]
        for timeout_s in (0, math.nan, None):
            with pytest.raises(GroupError, match="timeout_s"):
                await node.join("quorate1:abc", timeout_s=timeout_s)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"uses": 0}, "at least one use"), ({"uses": 1.5}, "at least one use"),
        ({"uses": True}, "at least one use"), ({"expires_in_s": math.nan}, "expires_in_s"),
        ({"expires_in_s": 0}, "expires_in_s"), ({"expires_in_s": math.inf}, "expires_in_s"),
        ({"key": "bob"}, "named by its key"), ({"key": bytes(31)}, "named by its key"),
    ],
)  # fmt: skip
async def test_odd_invitations(arguments: dict[str, Any], said: str) -> None:
    async with open_nodes(1) as (node,):
        group = await node.found("board")
        with pytest.raises(GroupError, match=said):
            group.invite(**arguments)


async def test_handlers_are_registered_for_kinds_and_can_be_called() -> None:
    async with open_nodes(1) as (node,):
        group = await node.found("board")
        for register in (node.on, group.on):
            with pytest.raises(GroupError, match="a kind is text, not a function"):
                register(lambda proposal: accept())  # type: ignore[arg-type]
            with pytest.raises(GroupError, match="a function that takes a Proposal"):
                register("work")(7)  # type: ignore[type-var]
            with pytest.raises(GroupError, match="the framework's own"):
                register("quorate.join")


@pytest.mark.parametrize("name", ["", 65 * "x", "a\nb", "\ud800", 7, None])
async def test_names_of_groups(name: Any) -> None:
    async with open_nodes(1) as (node,):
        with pytest.raises(GroupError, match="a group's name"):
            await node.found(name)
        assert (await node.found("Räte und 委員会")).invite()


async def test_an_answer_that_nobody_could_read_is_refused_where_it_is_made() -> None:
    for answer in ({(1, 2): 3}, Odd(), {"x": {(): 1}}, "x" * ANSWER_SIZE_MAX):
        with pytest.raises(ValueRefused):
            accept(answer)
    seen: list[Exception] = []
    async with open_nodes(2) as (asker, asked):

        @asked.on("odd")
        def odd(proposal: Proposal) -> Any:
            try:
                return accept({(1, 2): 3})
            except ValueRefused as error:
                seen.append(error)
                return reject(str(error))

        with pytest.raises(Rejected, match="nobody could read it"):
            await asker.ask(asked.key, "odd")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("casting_vote", "no"), ("casting_vote", 0), ("durable", None), ("kicks_liars", "kick"),
        ("on_silence_kick", 1), ("window_total", 7.0), ("window_total", True),
        ("window_total", 0), ("window_total", 257), ("settle_s", math.nan), ("join_s", math.inf),
        ("kick_s", -1.0), ("linger_s", DELAY_MAX_S + 1), ("lease_s", math.nan), ("lost_s", "3"),
        ("takeover_s", True),
    ],
)  # fmt: skip
def test_a_config_of_wrong_types_or_bounds_is_refused(field: str, value: Any) -> None:
    with pytest.raises(GroupError, match=field):
        GroupConfig(**{field: value})


async def test_what_is_the_engines_own_is_not_taken_in_silence() -> None:
    async with open_nodes(1) as (node,):
        for config, said in (
            (GroupConfig(ordered=False), "views of two"),
            (GroupConfig(changes=False), "views of two"),
            (GroupConfig(asks_for_snapshots=True), "replica"),
        ):
            with pytest.raises(GroupError, match=said):
                await node.found("board", config=config)
        assert not node.groups


async def test_a_joiner_takes_over_what_members_must_agree_on() -> None:
    config = GroupConfig(
        casting_vote=False,
        kicks_liars=False,
        on_silence_kick=True,
        asks_application_about_joins=True,
        window_total=32,
        settle_s=1.0,
    )
    async with open_nodes(3) as (alice, bob, carol):
        group = await alice.found("board", config=config)
        group.on("@join")(lambda proposal: accept())
        joined = await bob.join(group.invite())
        agreed = GroupConfig(**{**vars(config), "settle_s": GroupConfig().settle_s})
        assert joined.config == agreed
        asked: list[bytes | None] = []

        @joined.on("@join")
        def judge(proposal: Proposal) -> Any:
            asked.append(proposal.subject)
            return reject("nobody else")

        with pytest.raises(Rejected, match="nobody else"):
            await carol.join(group.invite())
        assert asked == [carol.key]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"path": 7}, "path is text or PathLike, not an int"),
        ({"listen": 4000}, "listen is text, not an int"),
        ({"listen": None}, "listen is text, not a NoneType"),
        ({"passphrase": b"secret"}, "passphrase is text, not a bytes of 6"),
        ({"identity": "me"}, "identity is Identity, not a str"),
        ({"config": GroupConfig()}, "config is NodeConfig, not a GroupConfig"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_odd_settings_of_a_node(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(GroupError, match=said):
        Node.open(**arguments)


async def test_odd_settings_of_a_group() -> None:
    config: Any = NodeConfig()
    replica: Any = "state"
    token: Any = b"x"
    async with open_nodes(1) as (node,):
        with pytest.raises(GroupError, match="config is GroupConfig, not a NodeConfig"):
            await node.found("board", config=config)
        with pytest.raises(GroupError, match="replica is Replica, not a str"):
            await node.found("board", replica=replica)
        with pytest.raises(GroupError, match="token is text, not a bytes of 1"):
            await node.join(token)
        with pytest.raises(GroupError, match="timeout_s is above 0"):
            await node.join("token", timeout_s=math.nan)
        with pytest.raises(GroupError, match="timeout_s is above 0"):
            await node.connect(bytes(32), timeout_s=math.nan)
