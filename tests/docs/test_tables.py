"""The tables of the documents hold what the code holds: frames, variants, patches; and events are
public and told. `tests/consensus/core/test_typed_messages.py` does the same for group messages.
"""

import re
from pathlib import Path
from typing import get_args

from transport.core import events, frames
from transport.core.handshake.variants import VARIANTS
from utp_native import patch

ROOT = Path(__file__).parents[2]
FRAME_ROW = r"^\| ([0-9a-f]{2})(?:(?:,| to) [0-9a-f]{2})? \| ([A-Z_]+) \|"


def rows(page: str, pattern: str) -> list[tuple[str, ...]]:
    return re.findall(pattern, (ROOT / "docs" / page).read_text(), re.MULTILINE)


def test_every_frame_is_in_its_table() -> None:
    listed = {name: int(number, 16) for number, name in rows("protocol/presence.md", FRAME_ROW)}
    kinds = {
        name: value
        for name, value in vars(frames).items()
        if re.fullmatch("[A-Z][A-Z_]+", name)
        and isinstance(value, int)
        and not name.endswith(("_SIZE", "_MASK"))
    }
    assert listed == kinds
    assert set(kinds) <= set(frames.__all__)


def test_every_variant_is_in_its_table() -> None:
    found = rows(
        "protocol/handshake.md",
        r"^\| ([a-z' ]+?)(?: \(0-RTT\))? \| (\d+) \| (\d+) \| (?:none: )?`(\w+)`",
    )
    assert set(found) == {(v.name, str(v.kind), str(v.mode), v.pattern) for v in VARIANTS}
    assert len(found) == len(VARIANTS)


def test_every_patch_is_in_its_table_with_its_test() -> None:
    listed = {row[0]: row[1] for row in rows("native.md", r"^\| (\d\d) \|.*\| `(.+)` \|$")}
    patches = patch.load_all(ROOT / "utp_native" / "patches")
    assert {one.name[:2] for one in patches} == set(listed)
    for one in patches:
        assert one.test.endswith(listed[one.name[:2]].rpartition("::")[2]), one.name


def test_every_event_is_public_and_told() -> None:
    core = "\n".join(path.read_text() for path in (ROOT / "transport/core").rglob("*.py"))
    for event in get_args(events.Event):
        assert event.__name__ in events.__all__
        assert re.search(rf"events\.append\(\s*(?:_\w+\()?{event.__name__}\b", core), event
