"""How long a member may be silent is what its peers' nodes were told, and nothing else ends it."""

import math

import pytest

import quorate
from consensus.config import NodeConfig
from consensus.core.config import DELAY_MAX_S, GroupConfig
from consensus.machine.machine import MachineConfig
from scenarios.world.network import Link
from tests.support.nodes.cast import Cast
from transport.core.config import TransportConfig
from transport.core.errors import LocalError

PRESETS = {"lan": quorate.lan, "internet": quorate.internet, "patient": quorate.patient}


@pytest.mark.parametrize("suspicion_s", [1.0, 12.0, 60.0, 600.0])
def test_silence_ends_when_suspicion_says_so_and_not_before(suspicion_s: float) -> None:
    transport = TransportConfig(
        suspicion_s=suspicion_s, silence_max_s=2 * suspicion_s, rekey_s=max(120.0, suspicion_s)
    )
    cast = Cast("abc", 1, Link(delay_s=0.01), config=MachineConfig(transport=transport))
    cast.gather("abc")
    cast.hosts["c"].crash()
    handle = cast.propose("a", b"open")
    cast.world.run(lambda: cast.in_view("ab"), limit_s=suspicion_s * 0.95)
    view = cast.view("a")
    assert view is not None
    assert len(view.members) == 3
    cast.until(lambda: cast.outcome("a", handle) is not None, suspicion_s * 0.2 + 2.0)
    cast.until(lambda: cast.in_view("ab"))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_what_its_page_says(name: str) -> None:
    preset = PRESETS[name]
    transport = preset.machine.transport
    assert 5 * transport.quick_probe_s <= transport.suspicion_s, "or five probes take longer"
    group = GroupConfig().outlasting(transport.suspicion_s)
    assert 2 * group.stall_s > transport.suspicion_s
    assert group.settle_s > transport.suspicion_s


def test_the_presets_differ_by_patience_and_the_first_is_the_default() -> None:
    times = [preset.machine.transport.suspicion_s for preset in PRESETS.values()]
    assert times == sorted(set(times))
    assert quorate.lan == NodeConfig()


CONTRADICTIONS = [
    ({"quick_probe_s": 0.3}, "quick_probe_s < suspicion_s"),
    ({"suspicion_s": 0.05}, "quick_probe_s < suspicion_s"),
    ({"suspicion_s": 30.0}, "suspicion_s < silence_max_s"),
    ({"suspicion_s": 240.0, "silence_max_s": 300.0}, r"suspicion_s < 2 \* rekey_s"),
    ({"rekey_s": 0.15}, r"suspicion_s < 2 \* rekey_s"),
    ({"suspicion_s": math.nan}, "suspicion_s must be positive"),
    ({"slow_probe_s": 0.04}, "quick probes are not slower"),
    ({"ack_delay_s": 0.1}, "ack_delay_s < rto_min_s"),
    ({"rto_min_s": 2.0}, "rto_min_s <= rto_initial_s"),
    ({"rto_initial_s": 9.0}, "rto_initial_s <= rto_max_s"),
]


@pytest.mark.parametrize(("settings", "said"), CONTRADICTIONS)
def test_what_contradicts_itself_is_refused_with_the_reason(
    settings: dict[str, float], said: str
) -> None:
    with pytest.raises(LocalError, match=said):
        TransportConfig(**settings)  # type: ignore[arg-type]


def test_more_patience_than_a_group_can_have_is_refused() -> None:
    beyond = TransportConfig(
        suspicion_s=DELAY_MAX_S + 1, silence_max_s=2 * DELAY_MAX_S, rekey_s=DELAY_MAX_S
    )
    with pytest.raises(LocalError, match="suspicion_s must be at most 3600"):
        MachineConfig(transport=beyond)
    most = GroupConfig().outlasting(DELAY_MAX_S)
    assert (most.stall_s, most.settle_s) == (DELAY_MAX_S, DELAY_MAX_S)
